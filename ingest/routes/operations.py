"""/health /ready /metrics /version and the description of the API."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Literal

from aiohttp import web

from ingest.artifact_probe import is_answering
from ingest.components import READ_SIDE, SETTINGS
from ingest.messages import json_answer
from ingest.openapi import DOCUMENT
from ingest.routes.table import Route
from ingest.schemas import ProjectionAnswer, ReadyAnswer, VersionAnswer
from ingest.state import EVENT_STORE
from tracker.events.errors import TrackerError

# A projection this far behind is still catching up; reads answer, but with old rows.
READY_TIMEOUT_S = 2.0


async def health(request: web.Request) -> web.Response:
    return json_answer({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """200 when the log and the read stores answer, with how far each projection is.

    A server that serves only artifacts is ready when their store is.
    """
    head = 0
    projections: list[ProjectionAnswer] = []
    artifacts: Literal["ready", "unavailable"]
    artifacts = "ready" if await is_answering(request.app) else "unavailable"
    store = request.app.get(EVENT_STORE)
    if store is None:
        answer = ReadyAnswer(status=artifacts, head=0, projections=[], artifacts=artifacts)
        return json_answer(answer, status=200 if artifacts == "ready" else 503)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            head = (await store.head()).next_position - 1
            side = request.app.get(READ_SIDE)
            for state in await side.projections() if side else ():
                projections.append(
                    ProjectionAnswer(
                        name=state.name,
                        version=state.version,
                        position=state.position,
                        lag=state.lag,
                    )
                )
    except (TrackerError, TimeoutError):
        answer = ReadyAnswer(
            status="unavailable", head=head, projections=projections, artifacts=artifacts
        )
        return json_answer(answer, status=503)
    return json_answer(
        ReadyAnswer(status="ready", head=head, projections=projections, artifacts=artifacts)
    )


async def metrics(request: web.Request) -> web.Response:
    # Imported here: a server that nobody scrapes need not carry it.
    from ingest.prometheus import exposition

    body, content_type = await exposition(request.app)
    return web.Response(body=body, headers={"Content-Type": content_type})


async def get_version(request: web.Request) -> web.Response:
    settings = request.app[SETTINGS]
    return json_answer(
        VersionAnswer(
            version=version("tracker"),
            event_store=settings.store_kind if settings.opens_log else None,
            artifact_store="s3" if settings.artifacts_uri.startswith("s3://") else "folder",
        )
    )


async def openapi(request: web.Request) -> web.Response:
    return web.Response(body=request.app[DOCUMENT](), content_type="application/json")


ROUTES = (
    Route("GET", "/health", health, "Whether the process is up", errors=(), is_open=True),
    Route(
        "GET", "/ready", ready, "Whether stores answer, and how far projections are",
        answer=ReadyAnswer, errors=(503,),
    ),
    Route(
        "GET", "/metrics", metrics, "Prometheus metrics", errors=(),
        answer_media_types=("text/plain",),
    ),
    Route("GET", "/version", get_version, "The server's version", answer=VersionAnswer, errors=()),
    Route("GET", "/api/v1/openapi.json", openapi, "This document", errors=()),
)  # fmt: skip
