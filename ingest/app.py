"""The composition root: one frozen Settings becomes a running application."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from aiohttp import web

from ingest.append_pipeline import AppendPipeline
from ingest.archive.job import archiving
from ingest.artifact_modes import refuse, served_routes
from ingest.artifact_stores.cleaning import cleaning
from ingest.artifact_stores.open import open_artifact_store
from ingest.auth import Gate
from ingest.blob_bodies import BLOB_TRANSFERS, Transfers
from ingest.components import (
    APPEND_PIPELINE,
    CLOSING,
    COUNTERS,
    GATE,
    LEASE_BOOK,
    READ_SIDE,
    SETTINGS,
    SHARED_LEASES,
)
from ingest.counters import ServerCounters
from ingest.event_stores.open import open_event_store
from ingest.liveness import LeaseBook, exchanging, saving
from ingest.middleware import expect, expect_late, surround
from ingest.mlflow.services import mlflow_services
from ingest.openapi import DOCUMENT, document_of
from ingest.past_stores import past_builds
from ingest.read_side import open_read_side
from ingest.routes import (
    admin,
    append,
    archive,
    artifacts,
    blobs,
    events,
    experiments,
    leases,
    log,
    metrics,
    mlflow,
    models,
    operations,
    run_groups,
    runs,
    ui,
    writers,
)
from ingest.routes.table import Route
from ingest.settings import Settings
from ingest.state import ARTIFACT_STORE, EVENT_STORE, LEASES, READ_STORES


def build_app(settings: Settings) -> web.Application:
    """The application, its stores not yet open: they open when it starts."""
    counters, closing, gate = ServerCounters(), asyncio.Event(), Gate(settings)
    routes = all_routes()
    served, refused = served_routes(settings, [*routes, *mlflow.mlflow_routes()])
    app = web.Application(
        middlewares=[
            surround(
                gate,
                counters,
                closing,
                open_paths=frozenset(route.path for route in served if route.is_open),
                page_of_nothing=_no_page if settings.artifacts_only else ui.page_of_nothing,
            )
        ],
    )
    app[SETTINGS] = settings
    app[GATE] = gate
    app[COUNTERS] = counters
    app[CLOSING] = closing
    app[DOCUMENT] = document_of(routes, needs_key=settings.api_key is not None)
    app[BLOB_TRANSFERS] = Transfers(counters, is_served=settings.serve_artifacts)
    for route in served:
        asked = expect_late if route.takes_bytes else expect
        app.router.add_route(route.method, route.path, route.handler, expect_handler=asked)
    for route in refused:
        app.router.add_route(route.method, route.path, refuse, expect_handler=expect_late)
    app.cleanup_ctx.append(_artifacts)
    app.on_shutdown.append(_close)
    if not settings.opens_log:
        return app
    app.cleanup_ctx.append(_event_store)
    app.cleanup_ctx.append(_leases)
    app.cleanup_ctx.append(mlflow_services)
    app.cleanup_ctx.append(_read_side)
    app.cleanup_ctx.append(archiving)
    app.cleanup_ctx.append(past_builds)
    return app


def _no_page(request: web.Request) -> None:
    """A server of artifacts alone has no pages."""


def all_routes() -> Sequence[Route]:
    modules = (
        append, archive, writers, leases, events, log, operations, experiments, runs, metrics,
        models, blobs, artifacts,
        admin, run_groups, ui,
    )  # fmt: skip
    return [route for module in modules for route in module.ROUTES]


async def _event_store(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    opened = await open_event_store(settings)
    app[EVENT_STORE] = store = opened.store
    app[SHARED_LEASES] = opened.shared_leases
    app[LEASE_BOOK] = app[LEASES] = leases = LeaseBook(
        opened.saved_leases, ttl_s=settings.lease_ttl_s
    )
    app[APPEND_PIPELINE] = AppendPipeline(
        store, leases, app[COUNTERS], in_flight_bytes_max=settings.in_flight_bytes_max
    )
    yield
    await store.aclose()


async def _leases(app: web.Application) -> AsyncIterator[None]:
    book, shared = app[LEASE_BOOK], app[SHARED_LEASES]
    async with saving(book) if shared is None else exchanging(book, shared):
        yield


async def _read_side(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    if settings.postgres_uri is not None:
        # Imported here: its driver is there only where it is needed.
        from ingest.event_stores.postgres import PostgresEventStore
        from ingest.read_side_postgres import open_postgres_read_side

        store = app[EVENT_STORE]
        assert isinstance(store, PostgresEventStore)
        async with open_postgres_read_side(
            store, settings.postgres_uri, workspace=settings.workspace
        ) as shared:
            app[READ_STORES] = app[READ_SIDE] = shared
            yield
        return
    path = settings.store_path
    with tempfile.TemporaryDirectory(prefix="tracker-") as folder:
        # A log in memory has projections that go with it.
        beside = path if path is not None else Path(folder) / "tracker.db"
        async with open_read_side(app[EVENT_STORE], beside) as stores:
            app[READ_STORES] = app[READ_SIDE] = stores
            yield


async def _artifacts(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    async with open_artifact_store(settings.artifacts_uri, workspace=settings.workspace) as store:
        app[ARTIFACT_STORE] = store
        async with cleaning(store):
            yield


async def _close(app: web.Application) -> None:
    app[CLOSING].set()
