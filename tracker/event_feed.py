"""Reads the event log over HTTP: NDJSON pages, and long polls for what is yet to come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from tracker.refusals import NotATracker, ServerUnreachable
from tracker.transport import Query, Transport

PATH: Final = "/api/v1/events"
CONTENT_TYPE: Final = "application/x-ndjson"
# How far the log was looked at for a page; beyond its last event when a filter hides some.
POSITION_HEADER: Final = "X-Tracker-Position"
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
        events, scanned = await _page(transport, after, run_id=run_id, type=type, wait_s=0)
        for event in events:
            yield event
        if scanned <= after:
            return
        after = scanned


async def follow(
    transport: Transport, *, after: int, run_id: str | None, type: str | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield events after a position for ever; a server that is away is waited for."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            events, after = await _page(transport, after, run_id=run_id, type=type, wait_s=WAIT_S)
        except ServerUnreachable:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
            continue
        pause_s = FIRST_PAUSE_S
        for event in events:
            yield event


async def _page(
    transport: Transport, after: int, *, run_id: str | None, type: str | None, wait_s: int
) -> tuple[list[dict[str, Any]], int]:
    """One page, and the position up to which the log was looked at for it."""
    params = [("after", str(after)), ("limit", str(PAGE_EVENTS)), ("wait", str(wait_s))]
    params += [("run_id", run_id)] if run_id else []
    params += [("type", type)] if type else []
    query = Query("GET", PATH, is_read=True, params=params, accept=CONTENT_TYPE)
    async with transport.answer(query) as response:
        body = await response.read()
    try:
        events = [json.loads(line) for line in body.split(b"\n") if line]
        return events, int(response.headers[POSITION_HEADER])
    except (ValueError, KeyError):
        raise NotATracker(
            f"{transport.uri} answered with {response.content_type}, not with events: "
            f"{body[:60]!r}",
            uri=transport.uri,
        ) from None
