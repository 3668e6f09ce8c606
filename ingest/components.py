"""The typed keys of what only the ingest side's own handlers need (see also ingest.state)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from ingest.append_pipeline import AppendPipeline
from ingest.auth import Gate
from ingest.counters import ServerCounters
from ingest.liveness import LeaseBook, SharedLeases
from ingest.settings import Settings

if TYPE_CHECKING:
    from ingest.read_side import AnyReadSide

SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
GATE: web.AppKey[Gate] = web.AppKey("gate", Gate)
COUNTERS: web.AppKey[ServerCounters] = web.AppKey("counters", ServerCounters)
APPEND_PIPELINE: web.AppKey[AppendPipeline] = web.AppKey("append_pipeline", AppendPipeline)
LEASE_BOOK: web.AppKey[LeaseBook] = web.AppKey("lease_book", LeaseBook)
# None when this server is alone with its store.
SHARED_LEASES: web.AppKey[SharedLeases | None] = web.AppKey("shared_leases")
# Set when the server stops; whoever holds a request open watches it.
CLOSING: web.AppKey[asyncio.Event] = web.AppKey("closing", asyncio.Event)
# Set when projections run beside the log: what /ready and rebuilds need of them.
READ_SIDE: web.AppKey[AnyReadSide] = web.AppKey("read_side")
