"""Waiting, from any event loop, for a position that a thread moves."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

PAUSE_S: Final = 0.5
"""A timer that is late by so much tells of a process that did not run."""


@dataclass(eq=False, slots=True)
class _Waiter:
    position: int
    future: asyncio.Future[bool]


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
        """Whether `position` was reached within the time. Cancelling is safe.

        Time in which this process was paused does not count: who moves the position was
        paused, too, and all that was due comes at once when it wakes.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(position, loop.create_future())
        with self._lock:
            if self.reached >= position:
                return True
            if self._is_closed or timeout_s <= 0:
                return False
            self._waiters.append(waiter)
        try:
            while True:
                ends = loop.time() + timeout_s
                await asyncio.wait([waiter.future], timeout=timeout_s)
                if waiter.future.done():
                    return waiter.future.result()
                if loop.time() - ends < PAUSE_S:
                    return False
        finally:
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def reach(self, position: int, *, since: int | None = None) -> None:
        """Called by whoever moves the position, or has looked how far it is.

        A look takes a while: it counts only while `reached` is still `since`, what it was
        when the look began. Else it could take back what has been reached meanwhile.
        """
        with self._lock:
            if since is not None and self.reached != since:
                return
            self.reached = position
            self._wake([w for w in self._waiters if w.position <= position], True)

    def close(self) -> None:
        """Let everybody go."""
        with self._lock:
            self._is_closed = True
            self._wake(list(self._waiters), False)

    def _wake(self, waiters: list[_Waiter], is_reached: bool) -> None:
        for waiter in waiters:
            self._waiters.remove(waiter)
            # A loop that was closed in the meantime has nobody left who waits.
            with suppress(RuntimeError):
                waiter.future.get_loop().call_soon_threadsafe(_settle, waiter.future, is_reached)


def _settle(future: asyncio.Future[bool], is_reached: bool) -> None:
    if not future.done():
        future.set_result(is_reached)
