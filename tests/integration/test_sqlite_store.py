"""What only the SQLite store promises: one owner, recovery, and that one failure is one failure."""

from __future__ import annotations

import asyncio
import sqlite3
from array import array
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from ingest.errors import StoreUnavailable
from ingest.event_stores import sqlite_writer
from ingest.event_stores.base import BatchToAppend
from ingest.event_stores.file_lock import StoreInUse
from ingest.event_stores.leases import LeaseRow
from ingest.event_stores.migrations import MigrationMismatch, sqlite_migrations
from ingest.event_stores.sqlite import SqliteEventStore, StoreMismatch
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.event_stores.sqlite_rows import insert_batches
from tracker.events import wire


def batch(first_seq: int, n: int = 1, *, writer_id: str = "w1") -> BatchToAppend:
    frame = wire.metrics_frame(
        offsets=range(n),
        keys=["loss"],
        steps=array("q", range(n)),
        times=array("q", range(n)),
        values=[array("d", [0.5]) * n],
    )
    payload = wire.encode_payload([frame])
    header = wire.BatchHeader("run-1", writer_id, 1, first_seq, n, crc32(payload))
    return BatchToAppend(header, payload)


async def test_appends_that_come_together_are_committed_together(tmp_path: Path) -> None:
    store = await SqliteEventStore.open(tmp_path / "log.db")

    await asyncio.gather(*(store.append(batch(1, writer_id=f"w{i}")) for i in range(200)))

    assert store.statistics.batches == 200
    assert store.statistics.groups < 100
    await store.aclose()


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk is full"), ValueError("a bug")])
async def test_what_fails_one_append_of_a_group_fails_no_other(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The insert of one writer's rows fails, whatever group it is in."""
    store = await SqliteEventStore.open(tmp_path / "log.db")
    insert = insert_batches

    def failing(connection: sqlite3.Connection, workspace: str, rows: Any) -> None:
        insert(connection, workspace, rows)
        if any(row.writer_id == "w7" for row in rows):
            raise error

    monkeypatch.setattr(sqlite_writer, "insert_batches", failing)
    outcomes = await asyncio.gather(
        *(store.append(batch(1, writer_id=f"w{i}")) for i in range(20)), return_exceptions=True
    )
    monkeypatch.undo()

    failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert failed == [7]
    assert isinstance(
        outcomes[7], StoreUnavailable if error.args == ("disk is full",) else ValueError
    )
    assert (await store.head()).next_position == 20
    assert (await store.append(batch(1, writer_id="w7"))).position == 20
    await store.aclose()


async def test_what_was_appended_outlives_the_process_that_took_it(tmp_path: Path) -> None:
    """A copy of database and WAL, taken while the store is open, is what a crash leaves."""
    store = await SqliteEventStore.open(tmp_path / "log.db")
    for seq in range(1, 6):
        await store.append(batch(seq))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("log.db", "log.db-wal"):
        (crashed / name).write_bytes((tmp_path / name).read_bytes())
    head = await store.head()
    await store.aclose()

    again = await SqliteEventStore.open(crashed / "log.db")

    assert await again.head() == head
    state = await again.writer("w1")
    assert state is not None
    assert state.next_seq == 6
    assert (await again.append(batch(6))).position == 6
    await again.aclose()


async def test_a_store_has_one_owner_at_a_time(tmp_path: Path) -> None:
    store = await SqliteEventStore.open(tmp_path / "log.db")

    with pytest.raises(StoreInUse, match=r"log\.db is in use by another server"):
        await SqliteEventStore.open(tmp_path / "log.db")

    await store.aclose()
    await (await SqliteEventStore.open(tmp_path / "log.db")).aclose()


async def test_a_store_keeps_to_its_workspace(tmp_path: Path) -> None:
    await (await SqliteEventStore.open(tmp_path / "log.db", workspace="mine")).aclose()

    with pytest.raises(StoreMismatch, match="'mine', not 'yours'"):
        await SqliteEventStore.open(tmp_path / "log.db", workspace="yours")

    await (await SqliteEventStore.open(tmp_path / "log.db", workspace="mine")).aclose()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"this is no database, and long enough to tell" * 100)

    with pytest.raises(StoreUnavailable, match="cannot be opened as a store"):
        await SqliteEventStore.open(tmp_path / "log.db")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE migration SET sha256 = 'other'", "is not what the store was made with"),
        ("INSERT INTO migration VALUES (9999, 'later', 'x', 1)", "a newer version|newer version"),
    ],
)
async def test_a_store_laid_out_by_other_migrations_is_refused(
    change: str, said: str, tmp_path: Path
) -> None:
    await (await SqliteEventStore.open(tmp_path / "log.db")).aclose()
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.execute(change)
    connection.commit()
    connection.close()

    with pytest.raises(MigrationMismatch, match=said):
        await SqliteEventStore.open(tmp_path / "log.db")


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [m.number for m in sqlite_migrations()] == [*range(1, len(sqlite_migrations()) + 1)]


async def test_a_log_is_read_without_its_server(tmp_path: Path) -> None:
    store = await SqliteEventStore.open(tmp_path / "log.db")
    await store.append(batch(1, 3))
    for is_open in (True, False):
        if not is_open:
            await store.aclose()
        reader = SqliteLogReader(tmp_path / "log.db")
        assert (await reader.head()).next_position == 4
        assert [row.n for row in await reader.read(after=0, batches_max=9, bytes_max=9)] == [3]
        assert [state.next_seq for state in await reader.all_writers()] == [4]
        await reader.aclose()


async def test_readers_cannot_write(tmp_path: Path) -> None:
    from ingest.event_stores.sqlite_reader import connect_read_only

    await (await SqliteEventStore.open(tmp_path / "log.db")).aclose()
    connection = connect_read_only(tmp_path / "log.db")

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM batch")

    connection.close()


async def test_the_wal_is_copied_back_and_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "CHECKPOINT_BYTES", 64 * 1024)
    monkeypatch.setattr(sqlite_writer, "WAL_BYTES_MAX", 256 * 1024)
    store = await SqliteEventStore.open(tmp_path / "log.db")

    for seq in range(1, 401):
        await store.append(batch(seq))

    assert store.statistics.checkpoints > 0
    assert (tmp_path / "log.db-wal").stat().st_size < 2 * 1024 * 1024
    await store.aclose()
    assert not (tmp_path / "log.db-wal").exists()


async def test_leases_are_saved_and_found_again(tmp_path: Path) -> None:
    store = await SqliteEventStore.open(tmp_path / "log.db")
    store.save_leases([LeaseRow("old", "run-0", 1)])
    store.save_leases([LeaseRow("w1", "run-1", 5), LeaseRow("w2", "run-1", 6)])
    await store.aclose()

    again = await SqliteEventStore.open(tmp_path / "log.db")

    assert list(again.saved_leases()) == [LeaseRow("w1", "run-1", 5), LeaseRow("w2", "run-1", 6)]
    await again.aclose()


async def test_waiting_and_reading_work_from_another_event_loop(tmp_path: Path) -> None:
    """The projection runner has a loop and a thread of its own."""
    store = await SqliteEventStore.open(tmp_path / "log.db")

    async def follow() -> tuple[int, int]:
        reached = await store.wait_for(2, timeout_s=60)
        return reached, len(await store.read(after=0, batches_max=9, bytes_max=10**6))

    following = asyncio.create_task(asyncio.to_thread(asyncio.run, follow()))
    await asyncio.sleep(0.05)
    await store.append(batch(1))
    await store.append(batch(2))

    assert await following == (2, 2)
    await store.aclose()


async def test_an_append_whose_caller_gave_up_is_stored_all_the_same(tmp_path: Path) -> None:
    store = await SqliteEventStore.open(tmp_path / "log.db")
    appending = asyncio.create_task(store.append(batch(1)))
    await asyncio.sleep(0)
    appending.cancel()

    assert await store.wait_for(1, timeout_s=60) == 1
    assert (await store.append(batch(2))).position == 2
    await store.aclose()
