"""Reading the log on behalf of a client, page by page, and waiting for more of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from ingest.components import CLOSING, COUNTERS
from ingest.errors import Busy
from ingest.event_lines import lines_of
from ingest.state import EVENT_STORE
from projections.log import StoredBatch

PAGE_LINES_MAX: Final = 10_000
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
# A filter may match nothing in a long log; a page then ends early and says how far it got.
PAGE_SCAN_S_MAX: Final = 2.0
READ_BATCHES: Final = 64
READ_BYTES: Final = 4 * 1024 * 1024
OPEN_STREAMS_MAX: Final = 1000


@dataclass(slots=True)
class Page:
    """Lines with their positions. `scanned` is how far the log was looked at."""

    scanned: int
    lines: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class EventFeed:
    """One client's way through the log. `after` moves with every page."""

    app: web.Application
    after: int
    run_id: str | None = None
    type: str | None = None

    async def page(self, *, lines_max: int) -> Page:
        """What there is beyond `after` now, within the limits of a page; maybe nothing."""
        page = Page(self.after)
        store = self.app[EVENT_STORE]
        head = (await store.head()).next_position - 1
        deadline = time.monotonic() + PAGE_SCAN_S_MAX
        while page.scanned < head:
            batches = await store.read(
                after=page.scanned,
                batches_max=READ_BATCHES,
                bytes_max=READ_BYTES,
                run_id=self.run_id,
                until=head,
            )
            if not batches:
                page.scanned = head
                break
            is_full = await asyncio.to_thread(self._expand, batches, page, lines_max)
            # However slow the store is, a page that has something to show is not empty.
            if is_full or time.monotonic() >= deadline:
                break
        self.after = page.scanned
        return page

    def _expand(self, batches: Sequence[StoredBatch], page: Page, lines_max: int) -> bool:
        """Add the batches' lines to the page; whether it is full."""
        for batch in batches:
            for position, line in lines_of(batch, after=page.scanned, type=self.type):
                if len(page.lines) >= lines_max or page.size >= PAGE_BYTES_MAX:
                    return True
                page.lines.append((position, line))
                page.size += len(line) + 1
                page.scanned = position
            page.scanned = batch.last_position
        return False

    async def wait(self, *, timeout_s: float) -> None:
        """Return when the log has grown beyond `after`, time is up, or the server stops."""
        store = self.app[EVENT_STORE]
        waits = {
            asyncio.ensure_future(store.wait_for(self.after + 1, timeout_s=timeout_s)),
            asyncio.ensure_future(self.app[CLOSING].wait()),
        }
        self.app[COUNTERS].open_streams += 1
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.app[COUNTERS].open_streams -= 1
            for waiting in waits:
                waiting.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def check_room(self) -> None:
        """Raise Busy when too many clients wait already."""
        if self.app[COUNTERS].open_streams >= OPEN_STREAMS_MAX:
            raise Busy("too many clients follow the log already; try again", retry_after_s=5.0)
