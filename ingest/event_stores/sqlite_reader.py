"""Reading a log database: read-only connections that never write and never checkpoint.

SQLite before 3.51.3 can corrupt a database when two connections checkpoint at once, so
only the store's writing connection does. A reader opens the file with mode=ro; it also
serves to look at a store whose server is not running.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from ingest.archive.detached import Detached, DetachedReader, stitched
from ingest.errors import StoreUnavailable
from ingest.event_stores.base import WriterState
from projections.log import LogHead, StoredBatch

T = TypeVar("T")

_READ_THREADS: Final = 2
_BUSY_TIMEOUT_S: Final = 5.0

_COLUMNS: Final = (
    "first_position, n, run_id, writer_id, epoch, first_seq, records_crc, "
    "received_at_us, schema, payload_sha256, chain_sha256, payload"
)
# Positions are dense, so the batch that holds after + 1 is the last that begins at or
# before it.
_READ: Final = f"""
SELECT {_COLUMNS} FROM batch
WHERE first_position >= coalesce(
    (SELECT first_position FROM batch WHERE first_position <= :after + 1
     ORDER BY first_position DESC LIMIT 1), 0)
  AND first_position + n - 1 > :after AND first_position <= :until
ORDER BY first_position LIMIT :batches_max
"""
_READ_RUN: Final = f"""
SELECT {_COLUMNS} FROM batch
WHERE run_id = :run_id AND first_position >= coalesce(
    (SELECT first_position FROM batch WHERE run_id = :run_id AND first_position <= :after + 1
     ORDER BY first_position DESC LIMIT 1), 0)
  AND first_position + n - 1 > :after AND first_position <= :until
ORDER BY first_position LIMIT :batches_max
"""
# A store that no newer server has opened yet has no such table.
_HAS_ARCHIVE: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'archive'"
_ARCHIVE: Final = """
SELECT a.location, s.workspace, a.last_position FROM archive a, store s
WHERE a.last_position > ?
"""
_WRITER_COLUMNS: Final = "writer_id, run_id, epoch, next_seq, position, received_at_us"


def connect_read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_TIMEOUT_S,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


class SqliteLogReader:
    """An EventLogReader on a log database. Usable from any event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._detached = DetachedReader()
        self._pool = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="log-reader")

    async def head(self) -> LogHead:
        def query(connection: sqlite3.Connection) -> LogHead:
            row = connection.execute("SELECT next_position, chain_sha256 FROM head").fetchone()
            return LogHead(*row) if row else LogHead()

        return await self._run(query)

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        """Batches that were detached are read from the archive, as if they were here."""
        here = after
        while True:
            parameters = {
                "after": here,
                "run_id": run_id,
                "until": 2**63 - 1 if until is None else until,
                "batches_max": batches_max,
            }
            batches, detached = await self._run(
                partial(_read, parameters=parameters, bytes_max=bytes_max)
            )
            if detached is None:
                return batches
            found, following = await stitched(
                self._detached,
                detached,
                after=here,
                batches_max=batches_max,
                bytes_max=bytes_max,
                run_id=run_id,
                until=until,
            )
            if following is None:
                return found
            here = following

    async def writer(self, writer_id: str) -> WriterState | None:
        sql = f"SELECT {_WRITER_COLUMNS} FROM writer WHERE writer_id = ?"
        found = await self._run(lambda connection: connection.execute(sql, (writer_id,)).fetchone())
        return WriterState(*found) if found else None

    async def writers(self, run_id: str) -> Sequence[WriterState]:
        sql = f"SELECT {_WRITER_COLUMNS} FROM writer WHERE run_id = ? ORDER BY writer_id"
        rows = await self._run(lambda connection: connection.execute(sql, (run_id,)).fetchall())
        return [WriterState(*row) for row in rows]

    async def all_writers(self) -> Sequence[WriterState]:
        """Every writer's state, for who proves that the log and its watermarks agree."""
        sql = f"SELECT {_WRITER_COLUMNS} FROM writer ORDER BY writer_id"
        rows = await self._run(lambda connection: connection.execute(sql).fetchall())
        return [WriterState(*row) for row in rows]

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Finish the reads that run, then close. Blocks."""
        self._detached.close()
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    async def _run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._query, query)

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return query(self._connection())
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"the event log cannot be read: {error}", retry_after_s=1.0
            ) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect_read_only(self._path)
            self._connections.append(connection)
        return connection


def _read(
    connection: sqlite3.Connection, *, parameters: Mapping[str, object], bytes_max: int
) -> tuple[list[StoredBatch], Detached | None]:
    """The batches, or where they were detached to; of one state of the file."""
    connection.execute("BEGIN")
    try:
        if connection.execute(_HAS_ARCHIVE).fetchone() is not None:
            row = connection.execute(_ARCHIVE, (parameters["after"],)).fetchone()
            if row is not None:
                return [], Detached(*row)
        batches: list[StoredBatch] = []
        size = 0
        cursor = connection.execute(
            _READ if parameters["run_id"] is None else _READ_RUN, parameters
        )
        for row in cursor:
            batches.append(StoredBatch(*row))
            size += len(batches[-1].payload)
            if size >= bytes_max:
                break
        cursor.close()
        return batches, None
    finally:
        connection.execute("ROLLBACK")  # nothing was written
