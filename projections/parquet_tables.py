"""Runs, params, tags, artifacts, inputs and experiments as Arrow tables, from a runs build."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, Final

TEXT: Final = "string"
NUMBER: Final = "int64"
TIME: Final = "time"

_ROWS_A_TABLE: Final = 200_000

# table -> (columns with their types, query). Every query's rows begin with experiment_id and
# the run that they are of; the tables of experiments have none.
TABLES: Final[dict[str, tuple[tuple[tuple[str, str], ...], str]]] = {
    "runs": (
        (
            ("experiment_id", TEXT), ("run_id", TEXT), ("name", TEXT), ("user_id", TEXT),
            ("status", TEXT), ("lifecycle_stage", TEXT), ("parent_run_id", TEXT),
            ("start_time", TIME), ("end_time", TIME), ("end_reason", TEXT),
            ("end_detail", TEXT), ("dropped", NUMBER),
        ),
        "SELECT experiment_id, run_id, name, user_id, status, lifecycle_stage, parent_run_id,"
        " start_us, end_us, end_reason, end_detail, dropped FROM run ORDER BY run_no",
    ),
    "params": (
        (("experiment_id", TEXT), ("run_id", TEXT), ("key", TEXT), ("value", TEXT)),
        "SELECT r.experiment_id, r.run_id, k.key, p.value FROM run r"
        " JOIN run_param p USING (run_no) JOIN key k USING (key_id) ORDER BY r.run_no, k.key",
    ),
    "tags": (
        (("experiment_id", TEXT), ("run_id", TEXT), ("key", TEXT), ("value", TEXT)),
        "SELECT r.experiment_id, r.run_id, k.key, t.value FROM run r"
        " JOIN run_tag t USING (run_no) JOIN key k USING (key_id)"
        " WHERE t.value IS NOT NULL ORDER BY r.run_no, k.key",
    ),
    "artifacts": (
        (
            ("experiment_id", TEXT), ("run_id", TEXT), ("path", TEXT), ("digest", TEXT),
            ("size", NUMBER), ("media_type", TEXT), ("uri", TEXT), ("etag", TEXT),
            ("time", TIME),
        ),
        "SELECT r.experiment_id, r.run_id, a.path, a.digest, a.size, a.media_type, a.uri, a.etag,"
        " a.time_us FROM artifact a JOIN run r ON r.run_id = a.owner"
        " WHERE a.is_deleted = 0 ORDER BY r.run_no, a.path",
    ),
    "inputs": (
        (
            ("experiment_id", TEXT), ("run_id", TEXT), ("name", TEXT), ("digest", TEXT),
            ("source_type", TEXT), ("source", TEXT), ("schema", TEXT), ("profile", TEXT),
        ),
        "SELECT r.experiment_id, r.run_id, i.name, i.digest, i.source_type, i.source, i.schema,"
        " i.profile FROM run r JOIN run_input i USING (run_no) ORDER BY r.run_no, i.name, i.digest",
    ),
    "experiments": (
        (
            ("experiment_id", TEXT), ("name", TEXT), ("lifecycle_stage", TEXT),
            ("artifact_location", TEXT), ("created_time", TIME), ("updated_time", TIME),
        ),
        "SELECT experiment_id, name, lifecycle_stage, artifact_location, created_us, updated_us"
        " FROM experiment ORDER BY experiment_id",
    ),
}  # fmt: skip


def experiments_of_runs(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT run_id, experiment_id FROM run"))


def tables_of(
    connection: sqlite3.Connection, name: str, *, run_ids: Collection[str] | None
) -> Iterator[Any]:
    """A table in pieces of bounded size, at least one, of these runs only if given."""
    columns, query = TABLES[name]
    rows: list[tuple[Any, ...]] = []
    is_of_runs = columns[1][0] == "run_id"
    has_any = False
    for row in connection.execute(query):
        if run_ids is not None and is_of_runs and row[1] not in run_ids:
            continue
        rows.append(row)
        if len(rows) >= _ROWS_A_TABLE:
            yield _table(columns, rows)
            rows, has_any = [], True
    if rows or not has_any:
        yield _table(columns, rows)


def _table(columns: tuple[tuple[str, str], ...], rows: list[tuple[Any, ...]]) -> Any:
    import pyarrow as pa

    kinds = {TEXT: pa.string(), NUMBER: pa.int64(), TIME: pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns])
    by_column: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) or [() for _ in columns]
    arrays = []
    for (_, kind), values in zip(columns, by_column, strict=True):
        array = pa.array(values, pa.int64() if kind == TIME else kinds[kind])
        arrays.append(array.cast(kinds[kind]) if kind == TIME else array)
    return pa.Table.from_arrays(arrays, schema=schema)
