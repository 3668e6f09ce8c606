"""What every event store promises of imports (ingest/event_stores/base.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import ImportRefused, SequenceGap
from ingest.event_stores.base import AppendOutcome, EventStore
from ingest.event_stores.memory import MemoryEventStore
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.event_stores.sqlite import SqliteEventStore
from projections.log import StoredBatch
from tests.support.imports import a_log, rechained
from tests.support.log_checks import head_after, numbered_batch, whole_log
from tracker.events.types import Event


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    opened: EventStore
    if request.param == "memory":
        opened = MemoryEventStore()
    elif request.param == "postgres":
        dsn = request.getfixturevalue("postgres_dsn")
        opened = await PostgresEventStore.open(PostgresOptions(dsn))
    else:
        opened = await SqliteEventStore.open(tmp_path / "copy.db")
    yield opened
    await opened.aclose()


@pytest.fixture
async def rows() -> list[StoredBatch]:
    return await a_log()


async def test_an_import_is_the_same_log(store: EventStore, rows: list[StoredBatch]) -> None:
    head = await store.import_batches(rows)

    assert await whole_log(store) == rows
    assert head == await store.head()
    assert head == head_after(rows)


async def test_an_import_goes_on_where_the_last_one_ended(
    store: EventStore, rows: list[StoredBatch]
) -> None:
    for row in rows:
        await store.import_batches([row])

    assert await whole_log(store) == rows


async def test_an_import_of_nothing_changes_nothing(
    store: EventStore, rows: list[StoredBatch]
) -> None:
    await store.import_batches(rows)

    assert await store.import_batches([]) == await store.head()
    assert await whole_log(store) == rows


async def test_writers_go_on_after_an_import(store: EventStore, rows: list[StoredBatch]) -> None:
    await store.import_batches(rows)

    known = await store.writer("w1")
    duplicate = await store.append(numbered_batch(1, 3))
    with pytest.raises(SequenceGap) as gap:
        await store.append(numbered_batch(50, 1))
    appended = await store.append(numbered_batch(6, 2))

    assert known is not None
    assert (known.run_id, known.epoch, known.next_seq) == ("run-1", 1, 6)
    assert known.received_at_us == max(r.received_at_us for r in rows if r.writer_id == "w1")
    assert duplicate.outcome is AppendOutcome.DUPLICATE
    assert gap.value.details["next_seq"] == 6
    assert (appended.outcome, appended.next_seq) == (AppendOutcome.APPENDED, 8)
    assert {w.writer_id for w in await store.writers("run-1")} == {
        row.writer_id for row in rows if row.run_id == "run-1"
    }


async def test_decisions_go_on_after_an_import(store: EventStore, rows: list[StoredBatch]) -> None:
    head = await store.import_batches(rows)
    event = Event("tags.set", 1, {"tags": {"a": "b"}}, 1)

    await store.append_decision(run_id="run-1", events=[event], decided_at=head.next_position - 1)

    assert (await whole_log(store))[-1].run_id == "run-1"


async def test_clocks_never_fall_after_an_import_from_the_future(store: EventStore) -> None:
    rows = await a_log()
    future = rechained([replace(row, received_at_us=2**52) for row in rows])
    await store.import_batches(future)

    await store.append(numbered_batch(6, 1))

    times = [row.received_at_us for row in await whole_log(store)]
    assert times == sorted(times)


async def refuses(store: EventStore, batches: list[StoredBatch], *, because: str) -> ImportRefused:
    """The import is refused for that reason, and nothing of it was stored."""
    before, head = await whole_log(store), await store.head()
    with pytest.raises(ImportRefused, match=because) as refusal:
        await store.import_batches(batches)
    assert await whole_log(store) == before
    assert await store.head() == head
    return refusal.value


async def test_a_gap_an_overlap_and_a_repetition_are_refused(
    store: EventStore, rows: list[StoredBatch]
) -> None:
    await refuses(store, rows[1:], because="does not follow")
    await store.import_batches(rows[:2])

    await refuses(store, rows[1:], because="does not follow")
    refusal = await refuses(store, rows[3:], because="does not follow")
    await refuses(store, [rows[2], rows[2]], because="does not follow")

    assert refusal.details["next_position"] == rows[2].first_position


async def test_a_log_that_went_another_way_is_refused(
    store: EventStore, rows: list[StoredBatch]
) -> None:
    await store.append(numbered_batch(1, rows[0].n, writer_id="somebody-else"))

    await refuses(store, rows[1:], because="the two logs differ")


@pytest.mark.parametrize(
    "change", [{"run_id": "other"}, {"received_at_us": 5}, {"records_crc": 7}, {"epoch": 3}]
)
async def test_a_row_that_was_changed_is_refused(
    store: EventStore, rows: list[StoredBatch], change: dict[str, Any]
) -> None:
    changed = [*rows[:2], replace(rows[2], **change), *rows[3:]]

    await refuses(store, changed, because="the two logs differ")


async def test_a_payload_that_was_changed_is_refused(
    store: EventStore, rows: list[StoredBatch]
) -> None:
    changed = [replace(rows[0], payload=rows[0].payload + b"\0"), *rows[1:]]

    await refuses(store, changed, because="not what was recorded")


async def test_a_newer_schema_is_refused_with_what_to_do(
    store: EventStore, rows: list[StoredBatch]
) -> None:
    newer = rechained([replace(rows[0], schema=99)])

    await refuses(store, newer, because="newer version")


async def test_a_writer_whose_sequence_has_a_hole_is_refused(
    store: EventStore, rows: list[StoredBatch]
) -> None:
    of_w1 = [i for i, row in enumerate(rows) if row.writer_id == "w1"]
    holed = rechained([*rows[: of_w1[0]], *rows[of_w1[0] + 1 :]])

    await refuses(store, holed, because="does not continue writer w1")


async def test_an_import_is_on_disk_when_it_returns(
    tmp_path: Path, rows: list[StoredBatch]
) -> None:
    store = await SqliteEventStore.open(tmp_path / "log.db")
    await store.import_batches(rows)
    await store.aclose()

    again = await SqliteEventStore.open(tmp_path / "log.db")
    assert await whole_log(again) == rows
    assert (await again.append(numbered_batch(6, 1))).outcome is AppendOutcome.APPENDED
    await again.aclose()
