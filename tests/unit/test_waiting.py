"""Waiting for a position that one thread moves and another looks at."""

from __future__ import annotations

import asyncio

from projections.waiting import PositionWaiters


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
