"""/api/v1/writers: who is connected, and what the server expects next from a writer."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ingest.connected_writers import ConnectedWriter, connected_writers
from ingest.errors import InvalidRequest, WriterNotFound
from ingest.messages import json_answer, query_int
from ingest.routes.table import QueryParameter, Route
from ingest.schemas import ConnectedWriterAnswer, ConnectedWritersAnswer, WriterAnswer
from ingest.state import EVENT_STORE, LEASES, READ_STORES
from tracker.events.ids import is_writer_id

WRITERS_DEFAULT: Final = 50
# Each is looked up by itself.
WRITERS_MAX: Final = 500


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


async def list_writers(request: web.Request) -> web.Response:
    limit = query_int(request, "max_results")
    if limit is None:
        limit = WRITERS_DEFAULT
    if not 1 <= limit <= WRITERS_MAX:
        raise InvalidRequest(
            f"max_results: {limit} is not between 1 and {WRITERS_MAX}", field="max_results"
        )
    app = request.app
    found = await connected_writers(
        app[LEASES], app[EVENT_STORE], app[READ_STORES].runs, limit=limit
    )
    return json_answer(
        ConnectedWritersAnswer(
            writers=[_answer(writer) for writer in found.writers],
            live_count=found.live_count,
            is_whole=found.is_whole,
        )
    )


def _answer(writer: ConnectedWriter) -> ConnectedWriterAnswer:
    stored, run = writer.stored, writer.run
    return ConnectedWriterAnswer(
        writer_id=writer.writer_id,
        run_id=writer.run_id,
        run_name=None if run is None else run.name,
        run_start_time_us=None if run is None else run.start_time_us,
        state=writer.state,
        epoch=None if stored is None else stored.epoch,
        next_seq=1 if stored is None else stored.next_seq,
        position=None if stored is None else stored.position,
        received_at_us=None if stored is None else stored.received_at_us,
        lease_expires_us=writer.lease_expires_us,
        about=dict(writer.about),
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/writers",
        list_writers,
        "Who writes now, and whose run goes on without a word from it",
        answer=ConnectedWritersAnswer,
        query=(
            QueryParameter(
                "max_results",
                f"of each state; 1 to {WRITERS_MAX}, default {WRITERS_DEFAULT}",
                type="integer",
            ),
        ),
        errors=(400, 503),
    ),
    Route(
        "GET",
        "/api/v1/writers/{writer_id}",
        get_writer,
        "What is stored of a writer, and the sequence number expected next",
        answer=WriterAnswer,
        errors=(404,),
    ),
)
