"""Tails as readers see them: one read for many, and never beyond the checkpoint."""

from __future__ import annotations

import asyncio

from projections.series_tail import TailReader
from tests.support.memory_log import MemoryLog


def live_log(batches: int) -> MemoryLog:
    log = MemoryLog()
    for i in range(batches):
        log.append("r", [(i, i, {"a": float(i)}), (i, i, {"b": 1.0})])
    return log


async def steps(tails: TailReader, after: int, until: int, key: str = "a") -> list[int]:
    return list((await tails.points("r", key, after=after, until=until)).steps)


async def test_what_was_read_ahead_is_not_shown_to_an_older_checkpoint() -> None:
    tails = TailReader(live_log(20))

    assert await steps(tails, 0, 40) == list(range(20))
    assert await steps(tails, 0, 10) == list(range(5))
    assert await steps(tails, 6, 20) == list(range(3, 10))
    assert await steps(tails, 0, 12) == list(range(6))
    assert await steps(tails, 38, 40) == [19]


async def test_queries_at_once_read_the_log_once() -> None:
    log = live_log(20)
    tails = TailReader(log)

    found = await asyncio.gather(*(steps(tails, 0, 40, key) for key in "ab" * 10))

    assert found == [list(range(20))] * 20
    assert log.reads == 1


async def test_memory_is_bounded_and_a_tail_beyond_it_is_still_answered() -> None:
    log = live_log(20)
    tails = TailReader(log, bytes_max=100)

    assert await steps(tails, 0, 40) == list(range(20))
    assert await steps(tails, 0, 40) == list(range(20))
    assert log.reads == 2
