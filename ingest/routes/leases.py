"""POST /api/v1/leases: shippers say which writers live, left in order, or died."""

from __future__ import annotations

from aiohttp import web

from ingest.components import LEASE_BOOK
from ingest.dead_writers import bury
from ingest.messages import json_answer, read_json
from ingest.routes.table import Route
from ingest.schemas import LeaseAnswer, LeaseRequest, LeasesAnswer, LeasesRequest
from ingest.state import EVENT_STORE, READ_STORES


async def post_leases(request: web.Request) -> web.Response:
    reports = await read_json(request, LeasesRequest)
    answers = [await _take(request.app, lease) for lease in reports.leases]
    return json_answer(LeasesAnswer(ttl_s=request.app[LEASE_BOOK].ttl_s, leases=answers))


async def _take(app: web.Application, lease: LeaseRequest) -> LeaseAnswer:
    leases, writer_id = app[LEASE_BOOK], lease.writer_id
    match lease.state:
        case "live":
            expires_us = leases.renew(writer_id, lease.run_id)
            return LeaseAnswer(writer_id=writer_id, expires_us=expires_us, outcome="renewed")
        case "closed":
            leases.release(writer_id)
            return LeaseAnswer(writer_id=writer_id, expires_us=None, outcome="released")
        case "dead":
            leases.release(writer_id)
            outcome = await bury(lease, store=app[EVENT_STORE], reads=app[READ_STORES])
            return LeaseAnswer(writer_id=writer_id, expires_us=None, outcome=outcome)


ROUTES = (
    Route(
        "POST",
        "/api/v1/leases",
        post_leases,
        "Renew or release leases; report dead writers",
        request=LeasesRequest,
        answer=LeasesAnswer,
        errors=(400, 503),
    ),
)
