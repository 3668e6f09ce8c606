"""The keys of params, metrics and tags, for completion: cheap, and honest about its cuts."""

from __future__ import annotations

from typing import Final

from projections.connection import Connection
from projections.read_models import KeyKind, KeySearch
from projections.search.access_sqlite import is_in_experiments
from projections.search.dialect import SQLITE, Dialect
from projections.search.sql_text import Sql

# Keys of an experiment are those of so many of its latest runs.
LATEST_RUNS_MAX: Final = 1_000

_TABLES: Final = {
    KeyKind.PARAMS: ("run_param", "run_param_value", ""),
    KeyKind.METRICS: ("run_metric", "run_metric_last", ""),
    KeyKind.TAGS: ("run_tag", "run_tag_value", " AND v.value IS NOT NULL"),
}


def find_keys(
    connection: Connection, search: KeySearch, dialect: Dialect = SQLITE
) -> tuple[list[str], bool]:
    """(keys in order, whether there may be more)."""
    begins = _begins_with(search.prefix)
    if search.experiment_ids:
        return _of_experiments(connection, search, begins, dialect)
    table, index, present = _TABLES[search.kind]
    rows = connection.execute(
        f"SELECT k.key FROM key k WHERE {begins.text} AND EXISTS "
        f"(SELECT 1 FROM {table} v{dialect.by_index(index)} WHERE v.key_id = k.key_id{present}) "
        "ORDER BY k.key LIMIT ?",
        (*begins.params, search.max_results + 1),
    ).fetchall()
    return _cut(rows, search.max_results, is_reduced=False)


def _of_experiments(
    connection: Connection, search: KeySearch, begins: Sql, dialect: Dialect
) -> tuple[list[str], bool]:
    table, _, present = _TABLES[search.kind]
    inside = is_in_experiments(search.experiment_ids, dialect)
    runs = connection.execute(
        f"SELECT r.run_no FROM run r WHERE {inside.text} ORDER BY r.start_us DESC LIMIT ?",
        (*inside.params, LATEST_RUNS_MAX + 1),
    ).fetchall()
    run_nos = [run_no for (run_no,) in runs[:LATEST_RUNS_MAX]]
    of_runs, join = dialect.numbers_table(run_nos, "j"), dialect.ordered_join
    rows = connection.execute(
        f"SELECT DISTINCT k.key FROM {of_runs.text}{join}{table} v ON v.run_no = j.value"
        f"{join}key k ON k.key_id = v.key_id WHERE {begins.text}{present} "
        "ORDER BY k.key LIMIT ?",
        (*of_runs.params, *begins.params, search.max_results + 1),
    ).fetchall()
    return _cut(rows, search.max_results, is_reduced=len(runs) > LATEST_RUNS_MAX)


def _begins_with(prefix: str) -> Sql:
    """The range of the key's index that holds what begins with `prefix`, and the check."""
    condition = Sql("k.key >= ? AND substr(k.key, 1, ?) = ?", (prefix, len(prefix), prefix))
    if prefix and ord(prefix[-1]) not in (0xD7FF, 0x10FFFF):
        condition += Sql(" AND k.key < ?", (prefix[:-1] + chr(ord(prefix[-1]) + 1),))
    return condition


def _cut(rows: list[tuple[str]], most: int, *, is_reduced: bool) -> tuple[list[str], bool]:
    keys = [key for (key,) in rows]
    return keys[:most], is_reduced or len(keys) > most
