"""Groups of runs on one connection: the search's own plan, then one GROUP BY."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from projections.connection import Connection
from projections.run_groups import (
    GROUP_ATTRIBUTES,
    GroupSearch,
    MetricGroup,
    RunGroup,
)
from projections.runs_search import matching_runs
from projections.search.dialect import SQLITE, Dialect
from projections.search.errors import InvalidQuery
from projections.search.sql_text import Sql

_COLUMNS = {"run_name": "name"}
_TABLES = {"params": "run_param", "tags": "run_tag"}
_Key = tuple[str | None, ...]


def find_groups(
    connection: Connection, asked: GroupSearch, dialect: Dialect = SQLITE
) -> tuple[list[RunGroup], int, bool]:
    """(groups, runs that match, whether there are more groups). Raises InvalidQuery."""
    matching = matching_runs(connection, asked.search, dialect)
    found = Sql("WITH found (run_no) AS MATERIALIZED (") + matching + Sql(") ")
    counting = found + Sql("SELECT count(*) FROM found")
    runs = int(connection.execute(counting.text, counting.params).fetchone()[0])
    if not asked.fields and not asked.metrics:
        return [RunGroup((), runs)], runs, False
    joins, values = _fields(connection, asked.fields)
    listed = ", ".join(values) or "CAST(NULL AS TEXT)"
    ordered = ", ".join(f"{value} NULLS FIRST" for value in values) or "1"
    grouping = found + Sql(
        f"SELECT count(*), {listed} FROM found f{dialect.ordered_join}"
        f"run r ON r.run_no = f.run_no{joins} "
        f"GROUP BY {listed} ORDER BY 1 DESC, {ordered} LIMIT ?",
        (asked.max_results + 1,),
    )
    rows = connection.execute(grouping.text, grouping.params).fetchall()
    metrics = _metrics(connection, asked.metrics, found, joins, listed, dialect)
    groups = []
    for count, *row in rows[: asked.max_results]:
        key = tuple(row)
        of_group = {name: of_key[key] for name, of_key in metrics.items() if key in of_key}
        groups.append(RunGroup(key if asked.fields else (), count, of_group))
    return groups, runs, len(rows) > asked.max_results


def _fields(connection: Connection, fields: Sequence[str]) -> tuple[str, list[str]]:
    """(joins, expressions) of the fields; keys enter as the integers they are stored by."""
    joins: list[str] = []
    values: list[str] = []
    for number, name in enumerate(fields):
        kind, _, key = name.partition(".")
        if kind in _TABLES and key:
            key_id = _key_id(connection, key)
            alias = f"g{number}"
            joins.append(
                f" LEFT JOIN {_TABLES[kind]} {alias} "
                f"ON {alias}.run_no = f.run_no AND {alias}.key_id = {key_id}"
            )
            values.append(f"{alias}.value")
        elif name in GROUP_ATTRIBUTES:
            values.append(f"r.{_COLUMNS.get(name, name)}")
        else:
            raise InvalidQuery(
                f"cannot group by {name[:64]!r}; "
                f"use params.KEY, tags.KEY or one of {', '.join(sorted(GROUP_ATTRIBUTES))}"
            )
    return "".join(joins), values


def _key_id(connection: Connection, key: str) -> int:
    found = connection.execute("SELECT key_id FROM key WHERE key = ?", (key,)).fetchone()
    return 0 if found is None else int(found[0])


def _metrics(
    connection: Connection,
    keys: Sequence[str],
    found: Sql,
    joins: str,
    listed: str,
    dialect: Dialect,
) -> dict[str, dict[_Key, MetricGroup]]:
    metrics: defaultdict[str, dict[_Key, MetricGroup]] = defaultdict(dict)
    if not keys:
        return metrics
    wanted, join = dialect.texts_table(keys, "j"), dialect.ordered_join
    aggregating = found + Sql(
        "SELECT k.key, count(m.last_value), avg(m.last_value), min(m.last_value), "
        f"max(m.last_value), {listed} FROM found f{join}run r ON r.run_no = f.run_no{joins} "
        f"CROSS JOIN {wanted.text}{join}key k ON k.key = j.value"
        f"{join}run_metric m ON m.run_no = f.run_no AND m.key_id = k.key_id "
        f"GROUP BY k.key, {listed}",
        wanted.params,
    )
    for key, count, mean, least, most, *values in connection.execute(
        aggregating.text, aggregating.params
    ):
        metrics[key][tuple(values)] = MetricGroup(count, mean, least, most)
    return metrics
