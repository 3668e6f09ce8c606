"""Waiting, from any event loop, for a position that a thread moves."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class _Waiter:
    position: int
    future: asyncio.Future[None]


class PositionWaiters:
    """Thread-safe. `reached` only rises, but for a start anew."""

    def __init__(self) -> None:
        self.reached = 0
        self._waiters: list[_Waiter] = []
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def has_waiters(self) -> bool:
        return bool(self._waiters)

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        """Whether `position` was reached within the time. Cancelling is safe."""
        waiter = _Waiter(position, asyncio.get_running_loop().create_future())
        with self._lock:
            if self.reached >= position:
                return True
            if self._is_closed or timeout_s <= 0:
                return False
            self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.future
        except TimeoutError:
            pass
        finally:
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self.reached >= position

    def reach(self, position: int) -> None:
        """Called by the thread that moves the position."""
        with self._lock:
            self.reached = position
            self._wake([waiter for waiter in self._waiters if waiter.position <= position])

    def close(self) -> None:
        """Let everybody go."""
        with self._lock:
            self._is_closed = True
            self._wake(list(self._waiters))

    def _wake(self, waiters: list[_Waiter]) -> None:
        for waiter in waiters:
            self._waiters.remove(waiter)
            loop = waiter.future.get_loop()
            # A loop that was closed in the meantime has nobody left who waits.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, waiter.future)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
