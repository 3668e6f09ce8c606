"""How long nobody has needed the server: no request, no open stream, no live run."""

from __future__ import annotations

import time

from aiohttp import web

from ingest.components import COUNTERS, LEASE_BOOK


def idle_s(app: web.Application) -> float:
    """Seconds since the last sign of use; looks at health and metrics are none."""
    counters = app[COUNTERS]
    now = time.monotonic()
    book = app.get(LEASE_BOOK)
    live = book.live_run_ids() if book is not None else ()
    if counters.open_streams or counters.in_flight_bytes or live:
        counters.last_activity = now
    return now - counters.last_activity
