"""How far the serving builds are, for waiters on any server: looked at while somebody waits.

The leader's own fold wakes its waiters at once; the others ask for one row every 20 ms. No
NOTIFY, for the reasons that the log has none.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from projections.postgres.builds import PostgresBuilds
from projections.projection import ProjectionStoreFailed
from projections.waiting import PositionWaiters

logger = logging.getLogger(__name__)

POLL_S: Final = 0.02
RETRY_S: Final = 0.25


class PositionWatch:
    """Moves `waiters` along. `start`, `wait_for` and `stop` in one event loop."""

    def __init__(self, builds: PostgresBuilds, waiters: PositionWaiters, *, kinds: int) -> None:
        self._builds, self._waiters, self._kinds = builds, waiters, kinds
        self._is_wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="projection-watch")

    async def stop(self) -> None:
        self._waiters.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        """Wait until every serving projection has folded up to `position`."""
        self._is_wanted.set()
        return await self._waiters.wait_for(position, timeout_s=timeout_s)

    async def _run(self) -> None:
        while True:
            if not self._waiters.has_waiters:
                self._is_wanted.clear()
                await self._is_wanted.wait()
                await asyncio.sleep(0)  # whoever set it waits from now on
            since = self._waiters.reached
            try:
                positions = [position for _, _, position in await self._builds.positions()]
            except ProjectionStoreFailed:
                await asyncio.sleep(RETRY_S)
                continue
            except Exception:  # without a watch nobody is ever told
                logger.exception("projections: their positions cannot be read")
                await asyncio.sleep(RETRY_S)
                continue
            if len(positions) == self._kinds:
                self._waiters.reach(min(positions), since=since)
            await asyncio.sleep(POLL_S)
