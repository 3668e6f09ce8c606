"""Everything but points as Arrow tables, from a runs build: runs, params, models, inputs, …"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from projections.arrow_arrays import optional_numbers, texts
from projections.model_rules import ModelState
from projections.sqlite import statements
from tracker.events.ids import DEFAULT_EXPERIMENT_ID

SQL: Final = statements("export_tables.sql")

_Row = tuple[Any, ...]

_FILE: Final = "path digest size:int media_type uri etag time:time"

# Columns are text unless they say otherwise.
TABLES: Final = {
    "runs": (
        "experiment_id run_id name user_id status lifecycle_stage parent_run_id start_time:time"
        " end_time:time end_reason end_detail dropped:int"
    ),
    "params": "experiment_id run_id key value",
    "param_conflicts": "experiment_id run_id key value writer_id",
    "tags": "experiment_id run_id key value",
    "artifacts": f"experiment_id run_id {_FILE}",
    "inputs": "experiment_id run_id name digest source_type source schema profile",
    "input_tags": "experiment_id run_id name digest key value",
    "model_links": "experiment_id run_id kind model_id step:int",
    "models": (
        "experiment_id model_id name source_run_id model_type status status_message"
        " lifecycle_stage created_time:time updated_time:time"
    ),
    "model_params": "experiment_id model_id key value",
    "model_tags": "experiment_id model_id key value",
    "model_metrics": (
        "experiment_id model_id run_id key value:float step:int time:time dataset_name"
        " dataset_digest"
    ),
    "model_artifacts": f"experiment_id model_id {_FILE}",
    "experiments": (
        "experiment_id name lifecycle_stage artifact_location created_time:time updated_time:time"
    ),
    "experiment_tags": "experiment_id key value",
}
# These are small and about experiments themselves: one file each.
WHOLE_TABLES: Final = frozenset({"experiments", "experiment_tags"})

_ROWS_A_TABLE: Final = 200_000


def experiments_of_runs(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT run_id, experiment_id FROM run"))


def tables_of(connection: sqlite3.Connection, name: str) -> Iterator[Any]:
    """A table in pieces of bounded size, at least one."""
    rows = _rows_of(connection, name)
    columns = [column.partition(":")[::2] for column in TABLES[name].split()]
    piece = list(islice(rows, _ROWS_A_TABLE))
    yield _table(columns, piece)
    while piece := list(islice(rows, _ROWS_A_TABLE)):
        yield _table(columns, piece)


def _rows_of(connection: sqlite3.Connection, name: str) -> Iterator[_Row]:
    of_model = _OF_MODEL.get(name)
    if of_model is None:
        yield from connection.execute(SQL[name])
        return
    for row in connection.execute(SQL["models"]):
        model = ModelState.of_row(*row)
        if model.is_born:
            yield from of_model(model)


def _model(model: ModelState) -> Iterator[_Row]:
    born = model.born
    _, status, message = model.status
    yield (
        _experiment_of(model), model.model_id, born.get("name", ""), born.get("source_run_id"),
        born.get("model_type"), status, message or None,
        "deleted" if model.is_deleted else "active",
        model.created_us, max(model.updated_us, model.created_us),
    )  # fmt: skip


def _model_params(model: ModelState) -> Iterator[_Row]:
    for key, (_, value) in sorted(model.params.items()):
        yield _experiment_of(model), model.model_id, key, value


def _model_tags(model: ModelState) -> Iterator[_Row]:
    for key, (_, value) in sorted(model.tags.items()):
        if value is not None:
            yield _experiment_of(model), model.model_id, key, value


_OF_MODEL: Final[dict[str, Callable[[ModelState], Iterator[_Row]]]] = {
    "models": _model,
    "model_params": _model_params,
    "model_tags": _model_tags,
}


def _experiment_of(model: ModelState) -> str:
    return model.born.get("experiment_id", DEFAULT_EXPERIMENT_ID)


def _table(columns: list[tuple[str, str]], rows: list[_Row]) -> Any:
    import pyarrow as pa

    time = pa.timestamp("us", tz="UTC")
    kinds = {"": pa.string(), "int": pa.int64(), "float": pa.float64(), "time": time}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns])
    by_column: list[_Row] = list(zip(*rows, strict=True)) or [() for _ in columns]
    return pa.Table.from_arrays(
        [_array(kinds[kind], values) for (_, kind), values in zip(columns, by_column, strict=True)],
        schema=schema,
    )


def _array(kind: Any, values: _Row) -> Any:
    import pyarrow as pa

    if pa.types.is_string(kind):
        return texts(values)
    if pa.types.is_floating(kind):  # kept as text, which has a word for NaN
        values = tuple(map(float, values))
    return optional_numbers(values, kind)
