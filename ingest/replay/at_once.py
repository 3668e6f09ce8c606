"""Several things at once, and no more: what waits for a disk or a network need not queue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self


class AtOnce:
    """A context that ends when everything begun in it has.

    The first failure ends the rest, and is raised as it was: not within a group, which
    nobody who tells failures to people would know.
    """

    def __init__(self, most: int) -> None:
        self._turn = asyncio.Semaphore(most)
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._tasks.__aexit__(*error)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it, once there is room."""
        try:
            await self._turn.acquire()
        except BaseException:
            work.close()
            raise
        self._tasks.create_task(work).add_done_callback(lambda task: self._turn.release())
