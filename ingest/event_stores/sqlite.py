"""The event store on one SQLite file: the default, and enough for one server.

One server owns the file; a lock beside it gives a second one a clear refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ingest.archive.archiving import Removed
from ingest.errors import StoreUnavailable
from ingest.event_stores.base import AppendResult, BatchToAppend, WriterState
from ingest.event_stores.file_lock import FileLock
from ingest.event_stores.group import Append, ClientAppend, DecisionAppend
from ingest.event_stores.importing import checked_import
from ingest.event_stores.leases import LeaseRow, load_leases, save_leases
from ingest.event_stores.migrations import migrate
from ingest.event_stores.pending import PendingAppend
from ingest.event_stores.sqlite_detaching import detach
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.event_stores.sqlite_state import PAGE_BYTES, CommittedState
from ingest.event_stores.sqlite_writer import CommitThread
from ingest.event_stores.statistics import CommitStatistics
from ingest.event_stores.wakeups import Wakeups
from projections.log import GENESIS_CHAIN, LogHead, StoredBatch
from tracker.events.errors import TrackerError
from tracker.events.ids import DEFAULT_WORKSPACE
from tracker.events.types import Event

_WRITER_CACHE_KIB: Final = 8192


class StoreMismatch(TrackerError):
    """The file is a store, but not the one that was asked for."""


class SqliteEventStore:
    """See base.EventStore. `open` it; use it from any event loop; `aclose` it."""

    def __init__(
        self, *, lock: FileLock, connection: sqlite3.Connection, path: Path, workspace: str
    ) -> None:
        self._lock = lock
        self._connection = connection
        store_id = connection.execute("SELECT store_id FROM store").fetchone()[0]
        self._state = CommittedState(connection, workspace=workspace, store_id=store_id)
        self._wakeups = Wakeups(self._state.head.next_position - 1)
        self._thread = CommitThread(connection, path, self._state, self._wakeups)
        self._reader = SqliteLogReader(path)
        self._leases = load_leases(connection)
        self._is_closed = False
        self._thread.start()

    @classmethod
    async def open(cls, path: Path, *, workspace: str = DEFAULT_WORKSPACE) -> SqliteEventStore:
        """Open or create the store. Raises StoreInUse, StoreMismatch or MigrationMismatch."""
        return await asyncio.to_thread(cls._open, path, workspace)

    @classmethod
    def _open(cls, path: Path, workspace: str) -> SqliteEventStore:
        path = path.absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock.acquire(path.with_name(path.name + ".lock"), what=str(path))
        try:
            connection = _open_for_writing(path, workspace)
            return cls(lock=lock, connection=connection, path=path, workspace=workspace)
        except BaseException:
            lock.release()
            raise

    async def append(self, batch: BatchToAppend) -> AppendResult:
        return await self._submit(ClientAppend(batch, hashlib.sha256(batch.payload).digest()))

    async def append_decision(
        self, *, run_id: str, events: Sequence[Event], decided_at: int
    ) -> AppendResult:
        return await self._submit(DecisionAppend(run_id, tuple(events), decided_at))

    async def import_batches(self, batches: Sequence[StoredBatch]) -> LogHead:
        append = await asyncio.to_thread(checked_import, batches)
        if batches:
            await self._submit(append)
            return LogHead(batches[-1].last_position + 1, batches[-1].chain_sha256)
        return self._state.head

    async def _submit(self, append: Append) -> AppendResult:
        if self._is_closed:
            raise StoreUnavailable("the event log is closed; send it again", retry_after_s=1.0)
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self._thread.submit(PendingAppend(append, future))
        return await future

    async def head(self) -> LogHead:
        return self._state.head

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        return await self._reader.read(
            after=after, batches_max=batches_max, bytes_max=bytes_max, run_id=run_id, until=until
        )

    async def writer(self, writer_id: str) -> WriterState | None:
        cached = self._state.cached_writer(writer_id)
        return cached if cached is not None else await self._reader.writer(writer_id)

    async def writers(self, run_id: str) -> Sequence[WriterState]:
        return await self._reader.writers(run_id)

    async def wait_for(self, position: int, *, timeout_s: float) -> int:
        return await self._wakeups.wait_for(position, timeout_s=timeout_s)

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._thread.stop()
        self._wakeups.close()
        self._reader.close()
        # The last connection to close copies the WAL into the database.
        self._connection.close()
        self._lock.release()

    async def detach_below(self, location: str, head: LogHead) -> Removed:
        """See archive.archiving.DetachableStore."""
        if self._is_closed:
            raise StoreUnavailable("the event log is closed")
        return await detach(self._thread.submit, location, head)

    # -- beyond the interface: leases and what is measured --------------------------------

    @property
    def statistics(self) -> CommitStatistics:
        return self._thread.statistics

    @property
    def queue_length(self) -> int:
        return self._thread.queue_length

    def saved_leases(self) -> Sequence[LeaseRow]:
        """What was saved when the store was opened."""
        return self._leases

    def save_leases(self, leases: Sequence[LeaseRow]) -> None:
        """Replace what is saved, some time soon."""
        if not self._is_closed:
            self._thread.submit(lambda connection: save_leases(connection, leases))


def _open_for_writing(path: Path, workspace: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, workspace)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be opened as a store: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection, workspace: str) -> None:
    # Every commit writes whole pages to the WAL, most of them of indexes: small ones are less.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # for a new file only
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
    migrate(connection)
    row = connection.execute("SELECT workspace FROM store").fetchone()
    if row is None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO store VALUES (?, ?, ?)",
            (os.urandom(16).hex(), workspace, time.time_ns() // 1000),
        )
        connection.execute("INSERT INTO head VALUES (?, 1, ?)", (workspace, GENESIS_CHAIN))
        connection.execute("COMMIT")
    elif row[0] != workspace:
        raise StoreMismatch(
            f"the store holds workspace {row[0]!r}, not {workspace!r}; one file holds one workspace"
        )
