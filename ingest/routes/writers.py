"""GET /api/v1/writers/{writer_id}: what the server expects next from a writer."""

from __future__ import annotations

from aiohttp import web

from ingest.errors import WriterNotFound
from ingest.messages import json_answer
from ingest.routes.table import Route
from ingest.schemas import WriterAnswer
from ingest.state import EVENT_STORE, LEASES
from tracker.events.ids import is_writer_id


async def get_writer(request: web.Request) -> web.Response:
    writer_id = request.match_info["writer_id"]
    state = await request.app[EVENT_STORE].writer(writer_id) if is_writer_id(writer_id) else None
    if state is None:
        raise WriterNotFound(f"no writer {writer_id[:64]!r} has appended here; begin at 1")
    return json_answer(
        WriterAnswer(
            writer_id=state.writer_id,
            run_id=state.run_id,
            epoch=state.epoch,
            next_seq=state.next_seq,
            position=state.position,
            received_at_us=state.received_at_us,
            lease_expires_us=request.app[LEASES].expires_us(state.writer_id),
        )
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/writers/{writer_id}",
        get_writer,
        "What is stored of a writer, and the sequence number expected next",
        answer=WriterAnswer,
        errors=(404,),
    ),
)
