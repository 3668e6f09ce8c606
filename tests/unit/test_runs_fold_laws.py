"""The laws of the runs fold: arrival order, cutting and restarts do not matter.

Writers' records are made at random, cut into batches at random, and interleaved in two
ways. Rows are compared with the numbers of runs and keys resolved to their names, and
without the three things that do tell the order of arrival.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections import runs_fold
from projections.file_tables import FileTables
from projections.projection import DecodedBatch
from projections.runs_store import LIVE_TABLES, RunsProjection, put_first_rows
from projections.sqlite import FileRows
from projections.table_rows import canonical
from tests.support.logs import Dropped, LogOfBatches, Metrics, Record, width_of
from tracker.events.ids import experiment_id_for
from tracker.events.types import Event

WRITERS = {"w0": "run-a", "w1": "run-a", "w2": "run-a", "w3": "run-b", "w4": "", "w5": "run-b"}
ARRIVAL = {"run_no", "key_id", "first_position", "last_position", "updated_us", "position"}

times = st.integers(0, 8).map(lambda tens: tens * 10)
keys = st.sampled_from(["a", "b", "ü"])
texts = st.sampled_from(["", "1", "2", "z"])
names = st.sampled_from(["exp-1", "exp-2", "Default"])
statuses = st.sampled_from(["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"])
floats = st.one_of(
    st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 5e-324]),
    st.floats(width=32),
    st.integers(-3, 3).map(float),
)
maps = st.dictionaries(keys, texts, max_size=2)


def facts(type: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    data = st.fixed_dictionaries(
        {k: v for k, v in fields.items() if not k.startswith("_")},
        optional={k[1:]: v for k, v in fields.items() if k.startswith("_")},
    )
    return st.builds(Event, st.just(type), times, data, st.just(1))


def experiment(type: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    named = names.map(lambda name: {"experiment_id": experiment_id_for(name), "name": name})
    return st.builds(
        lambda base, time_us, more: Event(
            type, time_us, {**base, **more} if type == "experiment.created" else
            {"experiment_id": base["experiment_id"], **more}
        ),
        named, times, st.fixed_dictionaries(fields),
    )  # fmt: skip


paths = st.sampled_from(["a", "a/b", "a/c/d", "e/ü.txt", "e/f"])


def artifact_facts(**owner: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    kept = facts(
        "artifact.logged",
        path=paths,
        digest=st.sampled_from(["0" * 64, "f" * 64]),
        size=st.integers(0, 3),
        _media_type=texts,
        **owner,
    )
    reference = facts(
        "artifact.logged", path=paths, uri=st.just("s3://b/k"), _etag=texts, _size=times, **owner
    )
    return st.one_of(kept, reference, facts("artifact.deleted", path=paths, **owner))


models = st.sampled_from(["m-1", "m-2"])
points = st.lists(
    st.tuples(
        keys, st.sampled_from([0.5, 1, "NaN"]), st.integers(0, 2), times,
        st.sampled_from([None, "d"]), st.just(None),
    ).map(list),
    max_size=2,
)  # fmt: skip
model_facts = st.one_of(
    facts(
        "model.created", model_id=models, experiment_id=st.sampled_from(["0", "7"]),
        _name=texts, _source_run_id=st.just("p1"), _params=maps, _tags=maps,
    ),
    facts(
        "model.finalized", model_id=models, status=st.sampled_from(["PENDING", "READY", "FAILED"])
    ),
    facts("model.deleted", model_id=models),
    facts("model.params_logged", model_id=models, params=maps),
    facts("model.tags_set", model_id=models, tags=maps),
    facts("model.tag_deleted", model_id=models, key=keys),
    facts("model.metrics_logged", model_id=models, metrics=points),
    facts("model_input.logged", model_id=models),
    facts("model_output.logged", model_id=models, _step=st.integers(0, 2)),
)  # fmt: skip
run_records = st.one_of(
    st.builds(
        Metrics,
        st.dictionaries(keys, floats, min_size=1, max_size=3),
        st.integers(-2, 3),
        times,
    ),
    st.builds(Dropped, st.integers(1, 5), times),
    facts(
        "run.started",
        _experiment_name=names,
        _name=texts,
        _parent_run_id=st.sampled_from(["p1", "p2"]),
        _user=texts,
        _start_time_us=times,
        _status=statuses,
        _tags=maps,
    ),
    facts("run.resumed"),
    facts("run.joined", _host=texts, _pid=st.integers(1, 9)),
    facts("run.updated", _name=texts, _status=statuses, _end_time_us=times, _user=texts),
    facts("run.ended", status=statuses, _end_time_us=times, _reason=texts, _detail=texts),
    facts(
        "run.ended",
        status=statuses,
        _reason=texts,
        guessed_writer_id=st.sampled_from(sorted(WRITERS)),
        guessed_seq=st.integers(0, 12),
    ),
    facts("run.deleted"),
    facts("run.restored"),
    facts("params.logged", params=maps),
    facts("tags.set", tags=maps),
    facts("tag.deleted", key=keys),
    facts("events.dropped", reason=st.just("full"), count=st.integers(0, 9)),
    facts("something.new", _x=texts),
    model_facts,
    st.one_of(artifact_facts(), artifact_facts(_model_id=st.sampled_from(["m-1", "m-2"]))),
    facts(
        "input.logged",
        name=keys,
        digest=st.sampled_from(["d1", "d2"]),
        _source=texts,
        _profile=texts,
        _tags=maps,
    ),
)
experiment_records = st.one_of(
    experiment("experiment.created", artifact_location=texts, tags=maps),
    experiment("experiment.tags_set", tags=maps),
    experiment("experiment.tag_deleted", key=keys),
)
decisions = st.one_of(
    experiment("experiment.renamed", name=st.sampled_from(["exp-1", "exp-2", "exp-3"])),
    experiment("experiment.deleted"),
    experiment("experiment.restored"),
)
histories = st.fixed_dictionaries(
    {
        writer: st.lists(run_records if run else experiment_records, max_size=8)
        for writer, run in WRITERS.items()
    }
)
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(histories, st.integers(0, 2**32), st.integers(0, 2**32))
def test_any_interleaving_and_any_cutting_gives_the_same_rows(
    history: dict[str, list[Record]], seed: int, other_seed: int
) -> None:
    one = state_of(in_transactions(interleaved(history, seed), seed))
    other = state_of(in_transactions(interleaved(history, other_seed), other_seed))

    assert one == other


@many
@given(
    histories,
    st.lists(st.one_of(experiment_records, decisions), max_size=6),
    st.integers(0, 2**32),
    st.integers(0, 2**32),
)
def test_transactions_and_forgetting_do_not_change_a_single_row(
    history: dict[str, list[Record]], decided: list[Record], seed: int, other_seed: int
) -> None:
    batches = interleaved({**history, "w4": history["w4"] + decided}, seed)

    at_once = hashes_of([batches])
    in_pieces = hashes_of(in_transactions(batches, other_seed))
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("ENTRIES", "WRITERS", "KEYS", "EXPERIMENTS", "ARTIFACTS"):
            patch.setattr(runs_fold, f"{limit}_CACHED_MAX", 0)
        loaded_anew = hashes_of(in_transactions(batches, other_seed))

    assert at_once == in_pieces == loaded_anew


@many
@given(histories, st.integers(0, 2**32))
def test_batches_seen_before_change_nothing(history: dict[str, list[Record]], seed: int) -> None:
    batches = interleaved(history, seed)
    transactions = list(in_transactions(batches, seed))
    repeated = [t for i in range(len(transactions)) for t in transactions[max(0, i - 1) : i + 1]]

    assert hashes_of(repeated) == hashes_of(transactions)


def interleaved(history: dict[str, list[Record]], seed: int) -> list[DecodedBatch]:
    """Cut every writer's records into batches and shuffle these, each writer's in order."""
    rng = random.Random(seed)
    left = {writer: list(records) for writer, records in history.items() if records}
    log = LogOfBatches()
    while left:
        writer = rng.choice(sorted(left))
        size = rng.randint(1, len(left[writer]))
        log.append(WRITERS[writer], writer, left[writer][:size])
        left[writer] = left[writer][size:]
        if not left[writer]:
            del left[writer]
    assert sum(b.n for b in log.batches) == sum(width_of(r) for h in history.values() for r in h)
    return log.decoded()


def in_transactions(batches: list[DecodedBatch], seed: int) -> Iterator[list[DecodedBatch]]:
    rng = random.Random(seed)
    while batches:
        size = rng.randint(1, len(batches))
        yield batches[:size]
        batches = batches[size:]


def tables_after(transactions: Iterator[list[DecodedBatch]] | Sequence[Any]) -> FileTables:
    tables = FileTables(Path(":memory:"), "runs", put_first_rows)
    projection = RunsProjection(tables)
    for transaction in transactions:
        asyncio_run(projection.apply(transaction))
    return tables


def asyncio_run(coroutine: Any) -> Any:
    """Run what never waits, without the cost of a loop per call."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("a projection's method waited")


def hashes_of(transactions: Any) -> dict[str, str]:
    tables = tables_after(transactions)
    hashes = asyncio_run(tables.hashes(without=LIVE_TABLES))
    asyncio.run(tables.aclose())
    return dict(hashes)


def state_of(transactions: Any) -> dict[str, list[Any]]:
    """All rows, with numbers resolved and without what tells the order of arrival."""
    tables = tables_after(transactions)
    connection = tables.connection
    runs = dict(connection.execute("SELECT run_no, run_id FROM run").fetchall())
    key_names = dict(connection.execute("SELECT key_id, key FROM key").fetchall())
    source = FileRows(connection)
    state = {}
    for table, columns in source.tables().items():
        rows = []
        for row in source.rows(table):
            fields = dict(zip(columns, row, strict=True))
            resolved = (runs.get(fields.get("run_no")), key_names.get(fields.get("key_id")))
            shown = {k: v for k, v in fields.items() if k not in ARRIVAL}
            if table == "run_writer":
                shown["position"] = None
            rows.append((canonical((*resolved, *shown.values())), resolved, shown))
        state[table] = sorted(rows, key=lambda row: row[0])
    asyncio.run(tables.aclose())
    return state
