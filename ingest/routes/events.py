"""The event log over HTTP: pages of lines, long polls, and a stream of server-sent events."""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web

from ingest.components import CLOSING, SETTINGS
from ingest.errors import InvalidRequest
from ingest.event_feed import PAGE_LINES_MAX, EventFeed
from ingest.messages import query_int
from ingest.routes.table import QueryParameter, Route
from tracker.events.ids import is_run_id

PAGE_LINES_DEFAULT: Final = 1000
STREAM_LINES: Final = 1000
# Where the next page begins, also when a filter left this one empty.
POSITION_HEADER: Final = "X-Tracker-Position"


async def list_events(request: web.Request) -> web.Response:
    feed = _feed(request, after=_after(request))
    limit = query_int(request, "limit")
    limit = PAGE_LINES_DEFAULT if limit is None else limit
    if not 1 <= limit <= PAGE_LINES_MAX:
        raise InvalidRequest(f"limit: 1 to {PAGE_LINES_MAX} are allowed", field="limit")
    deadline = time.monotonic() + _wait_s(request)
    page = await feed.page(lines_max=limit)
    while not page.lines and not request.app[CLOSING].is_set():
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        feed.check_room()
        await feed.wait(timeout_s=remaining)
        page = await feed.page(lines_max=limit)
    return web.Response(
        body=b"".join(line + b"\n" for _, line in page.lines),
        content_type="application/x-ndjson",
        headers={POSITION_HEADER: str(page.scanned)},
    )


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Every line as an event whose id is its position; Last-Event-ID resumes after it."""
    feed = _feed(request, after=_last_event_id(request) or _after(request))
    feed.check_room()
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    await response.prepare(request)
    await response.write(b"retry: 1000\n\n")
    heartbeat_s = request.app[SETTINGS].heartbeat_s
    spoken = time.monotonic()
    while not request.app[CLOSING].is_set():
        page = await feed.page(lines_max=STREAM_LINES)
        if page.lines:
            await response.write(
                b"".join(b"id: %d\ndata: %b\n\n" % (number, line) for number, line in page.lines)
            )
            spoken = time.monotonic()
            continue
        if time.monotonic() - spoken >= heartbeat_s:
            # The id moves the client's place in the log also past what its filter hides.
            await response.write(b": heartbeat\nid: %d\n\n" % page.scanned)
            spoken = time.monotonic()
        await feed.wait(timeout_s=heartbeat_s)
    await response.write_eof()
    return response


def _feed(request: web.Request, *, after: int) -> EventFeed:
    run_id = request.query.get("run_id") or None
    if run_id is not None and not is_run_id(run_id):
        raise InvalidRequest("run_id: letters, digits, - and _, at most 256", field="run_id")
    return EventFeed(request.app, after, run_id, request.query.get("type") or None)


def _after(request: web.Request) -> int:
    after = query_int(request, "after") or 0
    if after < 0:
        raise InvalidRequest("after: 0 or a position is expected", field="after")
    return after


def _last_event_id(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _wait_s(request: web.Request) -> float:
    text = request.query.get("wait") or "0"
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s < float("inf"):
        raise InvalidRequest("wait: a number of seconds is expected", field="wait")
    return min(wait_s, request.app[SETTINGS].long_poll_s_max)


_FILTERS: Final = (
    QueryParameter("after", "the position after which to begin", "integer"),
    QueryParameter("run_id", "only events of this run"),
    QueryParameter("type", "only events of this type, such as run.started"),
)

ROUTES = (
    Route(
        "GET",
        "/api/v1/events",
        list_events,
        "The event log as NDJSON, from a position on",
        answer_media_types=("application/x-ndjson",),
        query=(
            *_FILTERS,
            QueryParameter("limit", f"lines in the answer, at most {PAGE_LINES_MAX}", "integer"),
            QueryParameter("wait", "seconds to wait when there is nothing yet", "number"),
        ),
    ),
    Route(
        "GET",
        "/api/v1/events/stream",
        stream_events,
        "The event log as server-sent events; the id is the position",
        answer_media_types=("text/event-stream",),
        query=_FILTERS,
    ),
)
