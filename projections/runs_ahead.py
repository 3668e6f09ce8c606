"""What a round of batches will ask the store of runs, asked at once.

The fold loads a run, a writer or a key when it meets it. Where every question is a round trip
this would be most of its time, so a database that is far away is told beforehand what comes
(`connection.prefetch`); what is not foreseen here is still found, one by one. To SQLite it
says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from projections.connection import Connection, Prefetching, prefetch
from projections.projection import DecodedBatch
from projections.runs_fold import RunsFold
from projections.runs_rows import SQL
from tracker.events.types import EventType

_SAYING_DETAILS = frozenset(
    {
        EventType.RUN_STARTED,
        EventType.PARAMS_LOGGED,
        EventType.TAGS_SET,
        EventType.TAG_DELETED,
    }
)


def load_ahead(connection: Connection, fold: RunsFold, batches: Sequence[DecodedBatch]) -> None:
    """Ask for what `fold` does not have in memory and these batches are about."""
    if not isinstance(connection, Prefetching):
        return
    saying: set[str] = set()
    measuring: set[str] = set()
    reading: set[str] = set()
    keys: set[str] = set()
    places: set[tuple[str, str]] = set()
    experiments: set[str] = set()
    names: set[str] = set()
    for batch, columns in batches:
        if columns.metrics:
            measuring.add(batch.run_id)
            keys.update(key for frame in columns.metrics for key in frame.keys)
        for item in columns.events:
            data = item.event.data
            if item.event.type in _SAYING_DETAILS:
                saying.add(batch.run_id)
                keys.update(data.get("params") or ())
                keys.update(data.get("tags") or ())
            elif item.event.type == EventType.INPUT_LOGGED:
                reading.add(batch.run_id)
            elif item.event.type in (EventType.ARTIFACT_LOGGED, EventType.ARTIFACT_DELETED):
                places.add((data.get("model_id") or batch.run_id, data["path"]))
            if data.get("experiment_id"):
                experiments.add(data["experiment_id"])
            if data.get("experiment_name"):
                names.add(data["experiment_name"])
    run_ids, writer_ids, unknown_keys = fold.unknown(
        run_ids={batch.run_id for batch, _ in batches if batch.run_id},
        writer_ids={batch.writer_id for batch, _ in batches},
        keys=keys,
    )
    prefetch(connection, SQL["run"], _each(run_ids))
    prefetch(connection, SQL["writer"], _each(writer_ids))
    prefetch(connection, SQL["key_id"], _each(unknown_keys))
    prefetch(connection, SQL["experiment"], _each(sorted(experiments)))
    prefetch(connection, SQL["experiments_named"], _each(sorted(names)))
    prefetch(connection, SQL["artifact"], sorted(places))
    for part, statements, of_runs in (
        ("details", ("params", "conflicts", "tags"), saying),
        ("metrics", ("metrics",), measuring),
        ("inputs", ("inputs", "input_tags"), reading),
    ):
        run_nos = _each(fold.run_nos_without(part, of_runs - {""}))
        for statement in statements:
            prefetch(connection, SQL[statement], run_nos)


def _each(values: Sequence[object]) -> list[tuple[object]]:
    return [(value,) for value in values]
