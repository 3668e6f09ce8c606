"""Reading a log in PostgreSQL: single statements, so that each sees one state of the log.

Rows become visible in the order of their positions (postgres_state), so the state that a
statement sees has every position up to its last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from ingest.archive.detached import Detached, DetachedReader, stitched
from ingest.event_stores.base import WriterState
from ingest.event_stores.postgres_connections import Connection, Connections, PostgresOptions
from ingest.event_stores.postgres_errors import DRIVER_ERRORS, DatabaseRefused, unavailable
from ingest.event_stores.postgres_rows import BATCH_COLUMNS
from ingest.event_stores.postgres_schema import check_not_newer
from projections.log import LogHead, StoredBatch
from tracker.events.ids import DEFAULT_WORKSPACE
from tracker.events.limits import INT64_MAX

T = TypeVar("T")

# Positions are dense, so the batch that holds $2 + 1 is the last that begins at or before
# it. The sum stops a page by its bytes before PostgreSQL has fetched a payload beyond it.
_READ: Final = f"""
SELECT {BATCH_COLUMNS} FROM (
    SELECT {BATCH_COLUMNS}, sum(octet_length(payload)) OVER (
        ORDER BY first_position ROWS UNBOUNDED PRECEDING) - octet_length(payload) AS bytes_before
    FROM (
        SELECT * FROM tracker.batch
        WHERE workspace = $1 AND first_position >= coalesce((
            SELECT first_position FROM tracker.batch
            WHERE workspace = $1 AND first_position <= $2 + 1
            ORDER BY first_position DESC LIMIT 1), 0)
          AND first_position + n - 1 > $2 AND first_position <= $3
        ORDER BY first_position LIMIT $4
    ) AS page
) AS measured
WHERE bytes_before < $5 ORDER BY first_position
"""
_READ_RUN: Final = _READ.replace("workspace = $1", "workspace = $1 AND run_id = $6")
_HEAD: Final = "SELECT next_position, chain_sha256 FROM tracker.head WHERE workspace = $1"
_ARCHIVE: Final = """
SELECT location, workspace, last_position FROM tracker.archive
WHERE workspace = $1 AND last_position > $2
"""
_WRITERS: Final = """
SELECT writer_id, run_id, epoch, next_seq, position, received_at_us FROM tracker.writer
WHERE workspace = $1
"""


class NoSuchWorkspace(DatabaseRefused):
    """The database holds no log of that workspace, or none at all."""


class PostgresLogReader:
    """An EventLogReader; also for who proves that the log and its watermarks agree."""

    def __init__(self, connections: Connections, workspace: str) -> None:
        self._connections = connections
        self._workspace = workspace
        self._detached = DetachedReader()
        self._has_archive_table = False

    def close(self) -> None:
        """Let go of the archive. The connections belong to whoever opened them."""
        self._detached.close()

    async def head(self) -> LogHead:
        async def query(connection: Connection) -> LogHead:
            row = await connection.fetchrow(_HEAD, self._workspace)
            return LogHead(*row) if row is not None else LogHead()

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
            last = INT64_MAX if until is None else until
            batches, detached = await self._read_here(
                min(here, INT64_MAX - 1), last, batches_max, bytes_max, run_id
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

    async def _read_here(
        self, after: int, last: int, batches_max: int, bytes_max: int, run_id: str | None
    ) -> tuple[list[StoredBatch], Detached | None]:
        bounds = [self._workspace, after, last, batches_max, bytes_max]

        async def query(connection: Connection) -> tuple[list[StoredBatch], Detached | None]:
            if run_id is None:
                rows = await connection.fetch(_READ, *bounds)
            else:
                rows = await connection.fetch(_READ_RUN, *bounds, run_id)
            batches = [StoredBatch(*row) for row in rows]
            if run_id is None and batches and batches[0].first_position <= after + 1:
                return batches, None  # nothing is missing before it
            # Asked afterwards: what was not detached by now was not when it was read.
            if not self._has_archive_table:
                # A database that no newer server has opened yet.
                found = await connection.fetchval("SELECT to_regclass('tracker.archive')")
                self._has_archive_table = found is not None
            if not self._has_archive_table:
                return batches, None
            row = await connection.fetchrow(_ARCHIVE, self._workspace, after)
            return batches, None if row is None else Detached(*row)

        return await self._run(query)

    async def writer(self, writer_id: str) -> WriterState | None:
        found = await self._writers(f"{_WRITERS} AND writer_id = $2", writer_id)
        return found[0] if found else None

    async def writers(self, run_id: str) -> Sequence[WriterState]:
        return await self._writers(f"{_WRITERS} AND run_id = $2 ORDER BY writer_id", run_id)

    async def all_writers(self) -> Sequence[WriterState]:
        """Every writer's state."""
        return await self._writers(f"{_WRITERS} ORDER BY writer_id")

    async def _writers(self, sql: str, *arguments: str) -> list[WriterState]:
        async def query(connection: Connection) -> list[WriterState]:
            rows = await connection.fetch(sql, self._workspace, *arguments)
            return [WriterState(*row) for row in rows]

        return await self._run(query)

    async def _run(self, query: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        async def work() -> T:
            async with self._connections.reading() as connection:
                return await query(connection)

        try:
            return await self._connections.at_home(work)
        except DRIVER_ERRORS as error:
            raise unavailable(error, "the event log cannot be read") from error


@asynccontextmanager
async def reading_log(
    uri: str, *, workspace: str = DEFAULT_WORKSPACE
) -> AsyncIterator[PostgresLogReader]:
    """Look at the log of a workspace without serving it, and without changing anything.

    Raises NoSuchWorkspace when there is none, MigrationMismatch when a newer version has
    changed it, StoreUnavailable when PostgreSQL is away.
    """
    try:
        connections = await Connections.open(PostgresOptions(uri, pool_max=2))
    except DRIVER_ERRORS as error:
        raise unavailable(error, "the event log cannot be opened") from error
    try:
        await _check_is_there(connections, workspace)
        reader = PostgresLogReader(connections, workspace)
        try:
            yield reader
        finally:
            await asyncio.to_thread(reader.close)
    finally:
        await connections.aclose()


async def workspaces_of(uri: str) -> Sequence[str]:
    """The workspaces whose logs a database holds; none if it is no store.

    Raises MigrationMismatch and StoreUnavailable as `reading_log` does.
    """
    try:
        connections = await Connections.open(PostgresOptions(uri, pool_max=1))
    except DRIVER_ERRORS as error:
        raise unavailable(error, "the event log cannot be opened") from error
    try:
        return await _workspaces(connections)
    finally:
        await connections.aclose()


async def _check_is_there(connections: Connections, workspace: str) -> None:
    found = await _workspaces(connections)
    if workspace not in found:
        raise NoSuchWorkspace(
            f"the database has no workspace {workspace!r}"
            + (f"; it has {', '.join(map(repr, found))}" if found else "")
        )


async def _workspaces(connections: Connections) -> list[str]:
    async with connections.reading() as connection:
        if await connection.fetchval("SELECT to_regclass('tracker.head')") is None:
            return []
        await check_not_newer(connection)
        return [
            row["workspace"]
            for row in await connection.fetch("SELECT workspace FROM tracker.head ORDER BY 1")
        ]
