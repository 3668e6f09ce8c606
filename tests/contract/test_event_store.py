"""What every event store promises (ingest/event_stores/base.py), held to every backend."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.errors import (
    SequenceGap,
    SequenceReused,
    StoreUnavailable,
    StreamMoved,
    WriterFenced,
    WriterMoved,
)
from ingest.event_stores.base import AppendOutcome, BatchToAppend, EventStore
from ingest.event_stores.memory import MemoryEventStore
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.event_stores.sqlite import SqliteEventStore
from projections.columns import decode_payload
from projections.log import StoredBatch
from tests.support.log_checks import check_log, numbered_batch, whole_log
from tracker.events import wire
from tracker.events.types import Event

EVERYTHING = 10**9


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def event_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    store: EventStore
    if request.param == "memory":
        store = MemoryEventStore()
    elif request.param == "postgres":
        dsn = request.getfixturevalue("postgres_dsn")
        store = await PostgresEventStore.open(PostgresOptions(dsn))
    else:
        store = await SqliteEventStore.open(tmp_path / "log.db")
    yield store
    await store.aclose()


def steps_of(row: StoredBatch) -> list[int]:
    return [s for f in decode_payload(row.payload, n=row.n).metrics for s in f.steps.tolist()]


async def test_an_append_answers_with_the_next_sequence_and_its_last_position(
    event_store: EventStore,
) -> None:
    first = await event_store.append(numbered_batch(1, 3))
    second = await event_store.append(numbered_batch(4, 2))

    assert (first.outcome, first.next_seq, first.position) == (AppendOutcome.APPENDED, 4, 3)
    assert (second.outcome, second.next_seq, second.position) == (AppendOutcome.APPENDED, 6, 5)
    assert (await event_store.head()).next_position == 6
    check_log(await whole_log(event_store), steps_of=())


async def test_a_batch_sent_twice_changes_nothing(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 3))
    before = await whole_log(event_store)

    again = await event_store.append(numbered_batch(1, 3))

    assert (again.outcome, again.next_seq, again.position) == (AppendOutcome.DUPLICATE, 4, 3)
    assert await whole_log(event_store) == before


async def test_a_range_seen_with_other_boundaries_is_a_duplicate(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 3))
    await event_store.append(numbered_batch(4, 3))

    for first_seq, n in ((1, 6), (2, 1), (1, 2), (3, 4)):
        result = await event_store.append(numbered_batch(first_seq, n))
        assert (result.outcome, result.next_seq) == (AppendOutcome.DUPLICATE, 7)

    assert len(await whole_log(event_store)) == 2


async def test_an_overlap_is_cut_and_the_rest_appended(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 3))

    result = await event_store.append(numbered_batch(2, 5))

    assert (result.outcome, result.next_seq, result.position) == (AppendOutcome.TRIMMED, 7, 6)
    rows = await whole_log(event_store)
    assert steps_of(rows[1]) == [4, 5, 6]
    check_log(rows, steps_of=())


async def test_what_a_cut_left_may_be_sent_again_on_its_own(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 3))
    await event_store.append(numbered_batch(2, 5))

    result = await event_store.append(numbered_batch(4, 3))

    assert result.outcome is AppendOutcome.DUPLICATE


async def test_a_cut_keeps_events_and_splits_a_dropped_range(event_store: EventStore) -> None:
    event = Event("run.resumed", 1, {})
    frames = [
        wire.events_frame(offsets=[0, 11], events=[event, event]),
        wire.dropped_frame(offset=1, width=10, time_us=5, reason="disk full"),
    ]
    whole = BatchToAppend(wire.BatchHeader("run-1", "w1", 1, 1, 12, 7), wire.encode_payload(frames))
    await event_store.append(numbered_batch(1, 4))

    await event_store.append(whole)

    row = (await whole_log(event_store))[1]
    columns = decode_payload(row.payload, n=row.n)
    assert (row.first_seq, row.n) == (5, 8)
    assert [(d.offset, d.width) for d in columns.dropped] == [(0, 7)]
    assert [e.offset for e in columns.events] == [7]


async def test_a_gap_is_refused_with_the_sequence_expected(event_store: EventStore) -> None:
    for first_seq, expected in ((2, 1), (5, 4)):
        with pytest.raises(SequenceGap) as refusal:
            await event_store.append(numbered_batch(first_seq, 1))
        assert refusal.value.details == {"next_seq": expected}
        await event_store.append(numbered_batch(1, 3))

    assert len(await whole_log(event_store)) == 1


async def test_a_lower_epoch_is_fenced_and_a_higher_one_goes_on(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 2, epoch=2))
    await event_store.append(numbered_batch(3, 2, epoch=3))

    with pytest.raises(WriterFenced) as refusal:
        await event_store.append(numbered_batch(5, 1, epoch=2))

    assert refusal.value.details == {"epoch": 3}
    state = await event_store.writer("w1")
    assert state is not None
    assert (state.epoch, state.next_seq) == (3, 5)


async def test_the_same_sequence_with_other_contents_is_refused(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 3, value=0.5))

    with pytest.raises(SequenceReused):
        await event_store.append(numbered_batch(1, 3, value=0.25))


async def test_a_writer_stays_with_its_run(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 1))

    with pytest.raises(WriterMoved) as refusal:
        await event_store.append(numbered_batch(2, 1, run_id="run-2"))

    assert refusal.value.details == {"run_id": "run-1"}


async def test_writers_are_known_with_their_watermarks(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 2, writer_id="b"))
    await event_store.append(numbered_batch(1, 3, writer_id="a"))
    await event_store.append(numbered_batch(1, 1, writer_id="c", run_id="run-2"))

    assert await event_store.writer("nobody") is None
    states = await event_store.writers("run-1")
    assert [(s.writer_id, s.next_seq, s.position) for s in states] == [("a", 4, 5), ("b", 3, 2)]


async def test_reading_stops_at_its_limits_and_goes_on_where_it_stopped(
    event_store: EventStore,
) -> None:
    for i in range(5):
        await event_store.append(numbered_batch(1, 2, writer_id=f"w{i}", run_id=f"run-{i % 2}"))

    by_count = await event_store.read(after=0, batches_max=2, bytes_max=EVERYTHING)
    by_bytes = await event_store.read(after=0, batches_max=9, bytes_max=1)
    inside = await event_store.read(after=3, batches_max=9, bytes_max=EVERYTHING)
    of_run = await event_store.read(after=1, batches_max=9, bytes_max=EVERYTHING, run_id="run-0")
    until = await event_store.read(after=0, batches_max=9, bytes_max=EVERYTHING, until=3)
    beyond = await event_store.read(after=10, batches_max=9, bytes_max=EVERYTHING)

    assert [row.first_position for row in by_count] == [1, 3]
    assert [row.first_position for row in by_bytes] == [1]
    assert [row.first_position for row in inside] == [3, 5, 7, 9]
    assert [row.first_position for row in of_run] == [1, 5, 9]
    assert [row.first_position for row in until] == [1, 3]
    assert beyond == []


async def test_a_run_is_read_from_between_its_batches(event_store: EventStore) -> None:
    for i in range(6):
        await event_store.append(numbered_batch(1, 2, writer_id=f"w{i}", run_id=f"run-{i % 3}"))

    for after, expected in ((0, [1, 7]), (2, [7]), (7, [7]), (8, []), (3, [7])):
        rows = await event_store.read(
            after=after, batches_max=9, bytes_max=EVERYTHING, run_id="run-0"
        )
        assert [row.first_position for row in rows] == expected


async def test_a_decision_is_appended_by_the_servers_own_writer(event_store: EventStore) -> None:
    await event_store.append(numbered_batch(1, 3))
    ended = Event("run.ended", 5, {"status": "FAILED"})

    first = await event_store.append_decision(run_id="run-1", events=[ended], decided_at=3)
    second = await event_store.append_decision(run_id="run-1", events=[ended], decided_at=4)

    assert (first.position, second.position) == (4, 5)
    rows = await whole_log(event_store)
    assert rows[1].writer_id == rows[2].writer_id != "w1"
    assert [e.event for e in decode_payload(rows[1].payload, n=1).events] == [ended]
    check_log(rows, steps_of=())


async def test_a_decision_that_was_overtaken_is_refused(event_store: EventStore) -> None:
    event = Event("run.deleted", 5, {})
    await event_store.append_decision(run_id="run-1", events=[event] * 3, decided_at=0)
    await event_store.append(numbered_batch(1, 1, writer_id="w2", run_id="run-2"))

    for decided_at in (0, 2):
        with pytest.raises(StreamMoved):
            await event_store.append_decision(run_id="run-1", events=[event], decided_at=decided_at)

    await event_store.append_decision(run_id="run-1", events=[event], decided_at=3)
    await event_store.append_decision(run_id="", events=[event], decided_at=0)
    with pytest.raises(StreamMoved):
        await event_store.append_decision(run_id="", events=[event], decided_at=0)


async def test_a_decision_stands_when_only_metrics_have_come_since(
    event_store: EventStore,
) -> None:
    for seq in (1, 4, 7):
        await event_store.append(numbered_batch(seq, 3))

    result = await event_store.append_decision(
        run_id="run-1", events=[Event("run.deleted", 5, {})], decided_at=2
    )

    assert result.position == 10


async def test_of_decisions_that_race_one_wins(event_store: EventStore) -> None:
    event = Event("experiment.created", 1, {"experiment_id": "1", "name": "a"})
    racing = [
        event_store.append_decision(run_id="", events=[event], decided_at=0) for _ in range(8)
    ]

    outcomes = await asyncio.gather(*racing, return_exceptions=True)

    assert sum(isinstance(outcome, StreamMoved) for outcome in outcomes) == 7
    assert (await event_store.head()).next_position == 2


async def test_whoever_waits_for_a_position_is_woken_by_its_commit(event_store: EventStore) -> None:
    assert await event_store.wait_for(1, timeout_s=0.01) == 0
    waiting = asyncio.create_task(event_store.wait_for(3, timeout_s=60))
    await asyncio.sleep(0)
    await event_store.append(numbered_batch(1, 2))
    assert not waiting.done()

    await event_store.append(numbered_batch(3, 2))

    assert await waiting == 4
    assert await event_store.wait_for(2, timeout_s=60) == 4


async def test_closing_lets_everybody_go_and_refuses_appends(event_store: EventStore) -> None:
    waiting = asyncio.create_task(event_store.wait_for(3, timeout_s=60))
    await asyncio.sleep(0)

    await event_store.aclose()

    assert await waiting == 0
    with pytest.raises(StoreUnavailable):
        await event_store.append(numbered_batch(1, 1))


async def test_what_was_read_up_to_a_position_never_changes_below_it(
    event_store: EventStore,
) -> None:
    """Racing writers with duplicates and overlaps; a reader that follows sees each row once."""
    chance = random.Random(7)

    async def write(writer_id: str) -> None:
        next_seq = 1
        while next_seq <= 60:
            first = chance.randint(max(1, next_seq - 4), next_seq)
            n = chance.randint(1, 5)
            answer = await event_store.append(numbered_batch(first, n, writer_id=writer_id))
            next_seq = answer.next_seq

    async def follow() -> list[StoredBatch]:
        seen: list[StoredBatch] = []
        while not done.is_set() or seen[-1:] != (await whole_log(event_store))[-1:]:
            after = seen[-1].last_position if seen else 0
            await event_store.wait_for(after + 1, timeout_s=0.05)
            seen += await event_store.read(after=after, batches_max=3, bytes_max=EVERYTHING)
        return seen

    done = asyncio.Event()
    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(f"w{i}") for i in range(5)))
    done.set()
    seen = await following

    assert seen == await whole_log(event_store)
    check_log(seen, steps_of=())
    total = sum(len(steps_of(row)) for row in seen)
    assert total == (await event_store.head()).next_position - 1
