"""Telling coroutines of any event loop what a commit brought, one wake-up per loop.

Appends wait for their own outcome, readers for a position. The commit happens in a thread;
waking a loop costs a system call there, so everything a group settles goes in one call.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from ingest.event_stores.base import AppendResult

Outcome: TypeAlias = AppendResult | BaseException
Settled: TypeAlias = tuple["asyncio.Future[AppendResult]", Outcome]


@dataclass(eq=False, slots=True)
class _Waiter:
    position: int
    future: asyncio.Future[None]


class Wakeups:
    """Thread-safe. `reached` is the last committed position."""

    def __init__(self, reached: int) -> None:
        self.reached = reached
        self._waiters: list[_Waiter] = []
        self._lock = threading.Lock()
        self._is_closed = False

    async def wait_for(self, position: int, *, timeout_s: float) -> int:
        """Return the last committed position, at once or when it has come to `position`."""
        if self.reached >= position or self._is_closed:
            return self.reached
        waiter = _Waiter(position, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiters.append(waiter)
        try:
            # A commit between the test above and the append would not have seen the waiter.
            if self.reached < position and not self._is_closed:
                async with asyncio.timeout(timeout_s):
                    await waiter.future
        except TimeoutError:
            pass
        finally:
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self.reached

    def settle(self, outcomes: Iterable[Settled], *, reached: int) -> None:
        """Called by the committing thread, after the commit."""
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[Settled]] = defaultdict(list)
        for future, outcome in outcomes:
            by_loop[future.get_loop()].append((future, outcome))
        woken: defaultdict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]
        woken = defaultdict(list)
        self.reached = reached
        with self._lock:
            if self._waiters:
                due = [w for w in self._waiters if w.position <= reached or self._is_closed]
                self._waiters = [w for w in self._waiters if w not in due]
                for waiter in due:
                    woken[waiter.future.get_loop()].append(waiter.future)
        for loop in by_loop.keys() | woken.keys():
            # A loop that was closed in the meantime has nobody left who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_tell, by_loop[loop], woken[loop])

    def close(self) -> None:
        """Let everybody go: nothing will be committed any more."""
        self._is_closed = True
        self.settle((), reached=self.reached)


def _tell(settled: list[Settled], woken: list[asyncio.Future[None]]) -> None:
    for future, outcome in settled:
        if future.done():  # its request was cancelled
            continue
        if isinstance(outcome, AppendResult):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
    for waiter in woken:
        if not waiter.done():
            waiter.set_result(None)
