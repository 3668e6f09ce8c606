"""/api/v1/rebuild and /api/v1/verify: begin, and look how it goes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from aiohttp import web

from ingest.admin_schemas import (
    RebuildAnswer,
    RebuildRequest,
    RebuildState,
    VerifyAnswer,
    VerifyProgressAnswer,
    VerifyReportAnswer,
)
from ingest.errors import StoreUnavailable
from ingest.messages import json_answer, read_json
from ingest.read_side import AnyReadSide
from ingest.routes.table import Route
from ingest.state import READ_STORES
from projections.build_progress import BuildProgress
from projections.kinds import KINDS


async def begin_rebuild(request: web.Request) -> web.Response:
    body = await read_json(request, RebuildRequest)
    side = _read_side(request)
    for kind in KINDS:
        if body.projection in (kind.name, "all"):
            await side.ask_rebuild(kind.name)
    return json_answer(await _rebuilds(side), status=202)


async def get_rebuild(request: web.Request) -> web.Response:
    return json_answer(await _rebuilds(_read_side(request)))


async def begin_verify(request: web.Request) -> web.Response:
    side = _read_side(request)
    side.verify()
    return json_answer(verify_answer(side), status=202)


async def get_verify(request: web.Request) -> web.Response:
    return json_answer(verify_answer(_read_side(request)))


def verify_answer(side: AnyReadSide) -> VerifyAnswer:
    verification = side.verification
    if verification is None:
        return VerifyAnswer(state="none")
    if verification.is_running:
        progress = VerifyProgressAnswer(**asdict(verification.progress))
        return VerifyAnswer(state="running", progress=progress)
    if verification.report is None:
        return VerifyAnswer(state="failed", error=verification.error)
    report = asdict(verification.report) | {"is_clean": verification.report.is_clean}
    return VerifyAnswer(state="done", report=VerifyReportAnswer(**report))


async def _rebuilds(side: AnyReadSide) -> RebuildAnswer:
    states = await side.rebuild_states()
    return RebuildAnswer(rebuilds=[_state(progress) for progress in states])


def _state(progress: BuildProgress) -> RebuildState:
    state: Literal["running", "done", "failed"] = "done" if progress.is_done else "running"
    return RebuildState(
        projection=progress.name,
        state="failed" if progress.error is not None else state,
        position=progress.position,
        head=progress.head,
        error=progress.error,
    )


def _read_side(request: web.Request) -> AnyReadSide:
    side = request.app[READ_STORES]
    if not isinstance(side, AnyReadSide):
        raise StoreUnavailable("this server has no projections of its own")
    return side


ROUTES = (
    Route(
        "POST", "/api/v1/rebuild", begin_rebuild,
        "Build projections anew beside the serving ones",
        request=RebuildRequest, answer=RebuildAnswer, status=202, errors=(400,),
    ),
    Route(
        "GET", "/api/v1/rebuild", get_rebuild, "How far rebuilds are",
        answer=RebuildAnswer, errors=(),
    ),
    Route(
        "POST", "/api/v1/verify", begin_verify,
        "Begin to prove the log and its projections",
        answer=VerifyAnswer, status=202, errors=(),
    ),
    Route(
        "GET", "/api/v1/verify", get_verify, "How far the verification is, or its report",
        answer=VerifyAnswer, errors=(),
    ),
)  # fmt: skip
