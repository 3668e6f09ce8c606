"""What handlers find in the application: typed keys, set once by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web

from ingest.artifact_stores.base import ArtifactStore
from ingest.event_stores.base import EventStore
from ingest.event_stores.leases import LeaseRow
from projections.read_models import RunsReadStore, SeriesReadStore


class ReadStores(Protocol):
    """The read stores that serve now; a rebuild may switch them between two requests."""

    @property
    def runs(self) -> RunsReadStore: ...

    @property
    def series(self) -> SeriesReadStore: ...

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        """Wait until every serving projection has folded up to `position`."""
        ...


class Leases(Protocol):
    """Who reports. Kept in memory and in the store; no part of the log."""

    def live_run_ids(self) -> frozenset[str]: ...

    def held(self) -> Sequence[LeaseRow]:
        """Every lease that has not run out, in no order."""
        ...

    def expires_us(self, writer_id: str) -> int | None: ...


EVENT_STORE: web.AppKey[EventStore] = web.AppKey("event_store", EventStore)
READ_STORES: web.AppKey[ReadStores] = web.AppKey("read_stores", ReadStores)
ARTIFACT_STORE: web.AppKey[ArtifactStore] = web.AppKey("artifact_store", ArtifactStore)
LEASES: web.AppKey[Leases] = web.AppKey("leases", Leases)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
