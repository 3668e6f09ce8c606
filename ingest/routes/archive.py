"""/api/v1/archive: write the log's sealed ranges to the artifact store, and detach them."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from ingest.archive.job import ARCHIVING, ArchiveJob
from ingest.errors import NotFound
from ingest.messages import json_answer, read_json
from ingest.routes.table import Route


class ArchiveRequest(BaseModel):
    """`keep`: so many of the last positions stay out of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detach: bool = False
    keep: Annotated[int, Field(ge=0, le=2**62)] = 0


class ArchiveAnswer(BaseModel):
    """`state` is running, done or failed. `done` of `total` positions of the stage."""

    state: str
    stage: str
    done: int
    total: int
    error: str | None = None
    report: dict[str, Any] | None = None


async def begin(request: web.Request) -> web.Response:
    asked = await read_json(request, ArchiveRequest)
    job = request.app[ARCHIVING].begin(request.app, detach=asked.detach, keep=asked.keep)
    return _answer(job)


async def progress(request: web.Request) -> web.Response:
    job = request.app[ARCHIVING].job
    if job is None:
        raise NotFound("nothing was archived since this server began; POST to begin")
    return _answer(job)


def _answer(job: ArchiveJob) -> web.Response:
    state = "running" if job.is_running else "failed" if job.error else "done"
    return json_answer(
        ArchiveAnswer(
            state=state,
            stage=job.stage,
            done=job.done,
            total=job.total,
            error=job.error,
            report=None if job.report is None else job.report.as_json(),
        )
    )


ROUTES = (
    Route(
        "POST",
        "/api/v1/archive",
        begin,
        "Write the log to the artifact store as immutable segments; detach them if asked",
        request=ArchiveRequest,
        answer=ArchiveAnswer,
        errors=(400, 409, 503),
    ),
    Route(
        "GET",
        "/api/v1/archive",
        progress,
        "How the archiving goes, or how it ended",
        answer=ArchiveAnswer,
        errors=(404, 503),
    ),
)
