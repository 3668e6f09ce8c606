"""Doing several things at once, where the first error is what the caller wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def together(things: Iterable[Awaitable[Result]], *, at_once: int) -> list[Result]:
    """The results in order. When some fail, the others end first; then the first error is
    raised, as itself and in no group."""
    gate = asyncio.Semaphore(at_once)

    async def one(thing: Awaitable[Result]) -> tuple[Result]:
        # In a tuple, since an exception may also be a result.
        async with gate:
            return (await thing,)

    found = await asyncio.gather(*(one(thing) for thing in things), return_exceptions=True)
    results: list[Result] = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        results.append(each[0])
    return results
