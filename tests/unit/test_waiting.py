"""Waiting for a position that one thread moves and another looks at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from ingest.event_stores.wakeups import Wakeups
from projections.waiting import PAUSE_S, PositionWaiters


async def test_a_waiter_is_woken_by_what_it_waits_for() -> None:
    waiters = PositionWaiters()
    waiting = asyncio.create_task(waiters.wait_for(3, timeout_s=20))
    await asyncio.sleep(0)

    waiters.reach(2)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiters.reach(3)

    assert await waiting


async def test_time_that_runs_out_and_an_end_are_no_success() -> None:
    waiters = PositionWaiters()
    assert not await waiters.wait_for(3, timeout_s=0.01)
    waiting = asyncio.create_task(waiters.wait_for(3, timeout_s=20))
    await asyncio.sleep(0)

    waiters.close()

    assert not await waiting
    assert not waiters.has_waiters


async def test_a_look_that_was_overtaken_takes_nothing_back() -> None:
    """A poll that began before a fold and is answered after it tells an old position."""
    waiters = PositionWaiters()
    waiting = asyncio.create_task(waiters.wait_for(3, timeout_s=20))
    await asyncio.sleep(0)

    since = waiters.reached
    waiters.reach(3)
    waiters.reach(0, since=since)

    assert await waiting
    assert waiters.reached == 3


async def test_a_start_anew_may_stand_before_what_was_reached() -> None:
    """A waiter that was told already stays told."""
    waiters = PositionWaiters()
    waiting = asyncio.create_task(waiters.wait_for(3, timeout_s=20))
    await asyncio.sleep(0)
    waiters.reach(3)
    waiters.reach(0)

    assert await waiting
    assert not await waiters.wait_for(3, timeout_s=0.01)


async def test_the_time_in_which_the_process_was_paused_does_not_count() -> None:
    """Nobody could move the position meanwhile; who waits is due as soon as it wakes."""
    waiters, loop = PositionWaiters(), asyncio.get_running_loop()

    def pause() -> None:
        time.sleep(0.2 + PAUSE_S)
        loop.call_later(0.01, waiters.reach, 3)

    loop.call_later(0.01, pause)

    assert await waiters.wait_for(3, timeout_s=0.1)


@pytest.mark.parametrize("waiters", [PositionWaiters(), Wakeups(0)])
async def test_a_loop_that_closes_as_its_waiters_are_woken_ends_no_thread(
    waiters: PositionWaiters | Wakeups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look whether it is open and the wake-up, another thread may close it."""
    loop = asyncio.new_event_loop()
    asking = waiters.wait_for(3, timeout_s=60)
    left_behind = await asyncio.to_thread(loop.run_until_complete, _asked(asking))
    loop.close()
    monkeypatch.setattr(loop, "is_closed", lambda: False)
    waiting = asyncio.create_task(waiters.wait_for(3, timeout_s=60))
    await asyncio.sleep(0)

    if isinstance(waiters, Wakeups):
        waiters.settle((), reached=3)
    else:
        waiters.reach(3)

    assert await waiting
    left_behind.close()


async def _asked(waiting: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    """One step of it, no more."""
    waiting.send(None)
    return waiting
