"""Reading what was detached from a database, on its behalf and from any event loop.

A log's readers live in several loops (requests, projections, verify), and a connection to a
bucket lives in one. So archives are read in a thread with a loop of its own, begun by the
first read that needs it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ingest.archive.log import ArchiveLog, open_archive
from ingest.errors import StoreUnavailable
from projections.log import LogDamaged, StoredBatch


@dataclass(frozen=True, slots=True)
class Detached:
    """Batches up to `last_position` are in the archive of `workspace` at `location`."""

    location: str
    workspace: str
    last_position: int


class DetachedReader:
    """Thread-safe. `close` it when nobody reads any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._archives: dict[tuple[str, str], ArchiveLog] = {}
        self._open = AsyncExitStack()
        self._opening: asyncio.Lock | None = None

    async def read(
        self,
        detached: Detached,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None,
        until: int | None,
    ) -> Sequence[StoredBatch]:
        """As an EventLogReader reads, never beyond what is detached. Raises LogDamaged."""
        last = detached.last_position if until is None else min(until, detached.last_position)

        async def read() -> Sequence[StoredBatch]:
            archive = await self._archive(detached)
            return await archive.read(
                after=after,
                batches_max=batches_max,
                bytes_max=bytes_max,
                run_id=run_id,
                until=last,
            )

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(read(), self._running()))

    def close(self) -> None:
        """Close what is open and end the thread. Blocks."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._open.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _archive(self, detached: Detached) -> ArchiveLog:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            key = (detached.location, detached.workspace)
            archive = self._archives.get(key)
            if archive is None:
                archive = self._archives[key] = await self._open.enter_async_context(
                    open_archive(detached.location, workspace=detached.workspace)
                )
            elif archive.manifest.head.next_position <= detached.last_position:
                await archive.refresh()
        there = archive.manifest.head.next_position - 1
        if there < detached.last_position:
            raise LogDamaged(
                f"the archive at {detached.location} ends at position {there}, but the positions "
                f"up to {detached.last_position} were detached into it: bring its manifest back",
                first_position=there + 1,
                last_position=detached.last_position,
            )
        return archive

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="archive-reader", daemon=True
                )
                self._thread.start()
            elif self._loop.is_closed():
                raise StoreUnavailable("the event log is closed")
            return self._loop


async def stitched(
    reader: DetachedReader,
    detached: Detached,
    *,
    after: int,
    batches_max: int,
    bytes_max: int,
    run_id: str | None,
    until: int | None,
) -> tuple[Sequence[StoredBatch], int | None]:
    """What the archive has of a read, and from where on to ask the database, if it is to be."""
    found = await reader.read(
        detached,
        after=after,
        batches_max=batches_max,
        bytes_max=bytes_max,
        run_id=run_id,
        until=until,
    )
    is_over = until is not None and until <= detached.last_position
    return found, None if found or is_over else detached.last_position
