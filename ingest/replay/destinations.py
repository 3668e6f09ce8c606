"""Opening what is replayed into, when that is a log: it can be continued, or appended to."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

from ingest.archive.log import ArchiveLog, SegmentBuffer, open_archive
from ingest.event_stores.base import BatchToAppend, EventStore
from ingest.event_stores.file_lock import StoreInUse
from ingest.event_stores.sqlite import SqliteEventStore
from ingest.replay.at_once import AtOnce
from ingest.replay.places import (
    ArchivePlace,
    LogPlace,
    PlaceNotUnderstood,
    PostgresPlace,
    ServerPlace,
    SqlitePlace,
)
from ingest.replay.server_log import ServerLog, server_log
from ingest.replay.sources import check_workspace
from projections.log import EventLogReader, LogHead, StoredBatch
from tracker.events.wire import BatchHeader

if TYPE_CHECKING:
    from ingest.event_stores.postgres import PostgresEventStore

_WRITERS_AT_ONCE: Final = 8
_REQUEST_BYTES: Final = 8 * 1024 * 1024


class StoreIsServed(PlaceNotUnderstood):
    """A server has the file open."""


class LogDestination(Protocol):
    """A log that batches of another are written to, in one of two ways.

    `import_batches` continues it exactly at its head and keeps what they are. `append`
    hands them over as their writers would have: what is there already changes nothing,
    the rest gets new positions.
    """

    every_s: float
    """A copy that follows adds to it no more often."""

    @property
    def log(self) -> EventLogReader:
        """To read back what was written."""
        ...

    async def head(self) -> LogHead: ...

    async def import_batches(self, batches: Sequence[StoredBatch]) -> None: ...

    async def append(self, batches: Sequence[StoredBatch]) -> None: ...

    async def next_seq(self, run_id: str, writer_id: str) -> int:
        """What this writer may append next; 1 for one that is not known."""
        ...

    async def flush(self) -> None:
        """Make everything taken so far durable."""
        ...


class StoreDestination:
    """SQLite or PostgreSQL."""

    every_s = 0.0

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.log: EventLogReader = store

    async def head(self) -> LogHead:
        return await self._store.head()

    async def import_batches(self, batches: Sequence[StoredBatch]) -> None:
        await self._store.import_batches(batches)

    async def append(self, batches: Sequence[StoredBatch]) -> None:
        # Submitted in order, so that each writer's batches are decided in order.
        await asyncio.gather(*(self._store.append(_as_sent(batch)) for batch in batches))

    async def next_seq(self, run_id: str, writer_id: str) -> int:
        state = await self._store.writer(writer_id)
        return 1 if state is None else state.next_seq

    async def flush(self) -> None:
        pass


class ServerDestination:
    every_s = 0.0

    def __init__(self, server: ServerLog) -> None:
        self._server = server
        self.log: EventLogReader = server

    async def head(self) -> LogHead:
        return await self._server.head()

    async def import_batches(self, batches: Sequence[StoredBatch]) -> None:
        for part in _parts(batches):
            await self._server.import_batches(part)

    async def append(self, batches: Sequence[StoredBatch]) -> None:
        by_writer: defaultdict[str, list[StoredBatch]] = defaultdict(list)
        for batch in batches:
            by_writer[batch.writer_id].append(batch)

        async def send(of_writer: list[StoredBatch]) -> None:
            for batch in of_writer:
                await self._server.append(batch)

        async with AtOnce(_WRITERS_AT_ONCE) as several:
            for of_writer in by_writer.values():
                await several.begin(send(of_writer))

    async def next_seq(self, run_id: str, writer_id: str) -> int:
        return await self._server.next_seq(writer_id)

    async def flush(self) -> None:
        pass


class ArchiveDestination:
    """Batches wait until they fill a segment; `flush` writes what has gathered."""

    every_s = 10.0  # each time is a segment, and a manifest that names all of them

    def __init__(self, archive: ArchiveLog) -> None:
        self._buffer = SegmentBuffer(archive)
        self.log: EventLogReader = archive

    async def head(self) -> LogHead:
        return self._buffer.head

    async def import_batches(self, batches: Sequence[StoredBatch]) -> None:
        await self._buffer.take(batches)

    async def append(self, batches: Sequence[StoredBatch]) -> None:
        raise PlaceNotUnderstood(
            "an archive holds a log as it is, from its first position on: leave out --run, "
            "--experiment and --merge, or replay into a store first and archive that"
        )

    async def next_seq(self, run_id: str, writer_id: str) -> int:
        return 1

    async def flush(self) -> None:
        await self._buffer.flush()


@asynccontextmanager
async def open_destination(
    place: LogPlace, *, workspace: str, api_key: str | None
) -> AsyncIterator[LogDestination]:
    """Open or create it. Raises PlaceNotUnderstood, StoreMismatch and what opening raises."""
    match place:
        case SqlitePlace() | PostgresPlace():
            async with open_store(place, workspace=workspace) as store:
                yield StoreDestination(store)
        case ServerPlace(uri):
            async with server_log(uri, api_key=api_key) as server:
                check_workspace(place, (await server.server_head()).workspace, workspace)
                yield ServerDestination(server)
        case ArchivePlace(location):
            async with open_archive(location, workspace=workspace) as archive:
                yield ArchiveDestination(archive)


@asynccontextmanager
async def open_store(
    place: SqlitePlace | PostgresPlace, *, workspace: str
) -> AsyncIterator[SqliteEventStore | PostgresEventStore]:
    """Open or create a store as its only writer here. Raises PlaceNotUnderstood if it is in use."""
    store: SqliteEventStore | PostgresEventStore
    if isinstance(place, SqlitePlace):
        try:
            store = await SqliteEventStore.open(place.path, workspace=workspace)
        except StoreInUse as error:
            raise StoreIsServed(
                f"{str(error).split(';')[0]}; name that server's address (http://…) instead, or "
                "stop it first"
            ) from error
    else:
        from ingest.event_stores.postgres import PostgresEventStore
        from ingest.event_stores.postgres_connections import PostgresOptions

        store = await PostgresEventStore.open(PostgresOptions(place.uri), workspace=workspace)
    try:
        yield store
    finally:
        await store.aclose()


async def continues(source: EventLogReader, head: LogHead) -> bool:
    """Whether a log that ends at `head` is a beginning of the source."""
    if head.next_position == 1:
        return True
    last = head.next_position - 1
    found = await source.read(after=last - 1, batches_max=1, bytes_max=1)
    return bool(found) and (found[0].last_position, found[0].chain_sha256) == (
        last,
        head.chain_sha256,
    )


async def is_to_be_merged(place: LogPlace, source: EventLogReader, head: LogHead) -> bool:
    """A server that has runs of its own gets what it lacks; another log must be asked to."""
    return isinstance(place, ServerPlace) and not await continues(source, head)


def _as_sent(batch: StoredBatch) -> BatchToAppend:
    return BatchToAppend(
        BatchHeader(
            batch.run_id,
            batch.writer_id,
            batch.epoch,
            batch.first_seq,
            batch.n,
            batch.records_crc,
        ),
        batch.payload,
    )


def _parts(batches: Sequence[StoredBatch]) -> list[list[StoredBatch]]:
    """Cut into what one request may carry."""
    parts: list[list[StoredBatch]] = []
    size = 0
    for batch in batches:
        if not parts or size + len(batch.payload) > _REQUEST_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(batch)
        size += len(batch.payload) + 512
    return parts
