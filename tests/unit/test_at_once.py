"""Several at once: how many, and what comes of a failure."""

from __future__ import annotations

import asyncio

import pytest

from ingest.replay.at_once import AtOnce


async def test_no_more_run_than_were_allowed() -> None:
    running = most = done = 0

    async def work() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1

    async with AtOnce(3) as several:
        for _ in range(20):
            await several.begin(work())

    assert (most, done) == (3, 20)


async def test_a_failure_is_raised_as_it_was_and_ends_the_rest() -> None:
    has_ended = asyncio.Event()

    async def failing() -> None:
        raise OSError("the disk is full")

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    async def all_of_it() -> None:
        async with AtOnce(2) as several:
            await several.begin(waiting())
            await several.begin(failing())
            for _ in range(10):
                await several.begin(waiting())

    with pytest.raises(OSError, match="the disk is full"):
        await all_of_it()

    assert has_ended.is_set()
