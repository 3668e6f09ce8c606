"""Reads the event log over HTTP: NDJSON pages, and long polls for what is yet to come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from tracker.refusals import NotATracker, ServerUnreachable
from tracker.transport import Query, Transport

PATH: Final = "/api/v1/events"
PAGE_EVENTS: Final = 10_000
# How long one long poll stays open; below the 60 s after which proxies cut silent ones.
WAIT_S: Final = 25
FIRST_PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 10.0


async def read(
    transport: Transport, *, after: int, run_id: str | None, type: str | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield events after a position up to the end of the log as it is found."""
    while True:
        before = after
        async for event in _page(transport, after, run_id=run_id, type=type, wait_s=0):
            after = event["position"]
            yield event
        if after == before:
            return


async def follow(
    transport: Transport, *, after: int, run_id: str | None, type: str | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield events after a position for ever; a server that is away is waited for."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            async for event in _page(transport, after, run_id=run_id, type=type, wait_s=WAIT_S):
                after = event["position"]
                pause_s = FIRST_PAUSE_S
                yield event
        except ServerUnreachable:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)


async def _page(
    transport: Transport, after: int, *, run_id: str | None, type: str | None, wait_s: int
) -> AsyncIterator[dict[str, Any]]:
    params = [("after", str(after)), ("limit", str(PAGE_EVENTS)), ("wait", str(wait_s))]
    params += [("run_id", run_id)] if run_id else []
    params += [("type", type)] if type else []
    query = Query(
        "GET", PATH, is_read=True, params=params, accept="application/x-ndjson, application/json"
    )
    async with transport.answer(query) as response:
        async for line in response.content:
            if not line.strip():
                continue
            try:
                event: dict[str, Any] = json.loads(line)
            except ValueError:
                raise NotATracker(
                    f"{transport.uri} sent a line that is no event: {line[:60]!r}",
                    uri=transport.uri,
                ) from None
            yield event
