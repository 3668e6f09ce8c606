"""Hearing of what other servers appended: the head is looked at while somebody waits.

No NOTIFY: PostgreSQL lets one transaction with a NOTIFY commit at a time, in the whole
cluster, and LISTEN does not pass a pooler. One row read twenty-five times a second, only
while somebody waits, costs less than a wake-up that can be lost and must be polled anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ingest.errors import StoreUnavailable
from ingest.event_stores.postgres_reader import PostgresLogReader
from ingest.event_stores.wakeups import Wakeups
from ingest.logs import SERVER_LOG

POLL_S: Final = 0.02
# After this long without news the waiting is for a training's next batch, not for a reader.
QUIET_S: Final = 10.0
QUIET_POLL_S: Final = 0.04
RETRY_S: Final = 0.25


class Following:
    """Moves `wakeups` along with the log. `waiting` is for any event loop's thread."""

    def __init__(self, reader: PostgresLogReader, wakeups: Wakeups) -> None:
        self._reader = reader
        self._wakeups = wakeups
        self._home = asyncio.get_running_loop()
        self._is_wanted = asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = self._home.create_task(self._run(), name="log-following")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Somebody waits for a position for the length of the block."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, by: int) -> None:
        if not self._home.is_closed():
            self._home.call_soon_threadsafe(self._add, by)

    def _add(self, by: int) -> None:
        self._waiting += by
        if self._waiting:
            self._is_wanted.set()
        else:
            self._is_wanted.clear()

    async def _run(self) -> None:
        last_news = self._home.time()
        while True:
            await self._is_wanted.wait()
            before = self._wakeups.reached
            try:
                reached = (await self._reader.head()).next_position - 1
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
                continue
            except Exception:  # noqa: BLE001  # logged; who waits would never be woken again
                SERVER_LOG.exception("the log's head cannot be read")
                await asyncio.sleep(RETRY_S)
                continue
            if reached > self._wakeups.reached:
                self._wakeups.settle((), reached=reached)
            if reached > before:
                last_news = self._home.time()
            is_quiet = self._home.time() - last_news > QUIET_S
            await asyncio.sleep(QUIET_POLL_S if is_quiet else POLL_S)
