"""/api/v1/log: the raw log, batch by batch, to copy it: read it, or continue an empty one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from ingest.components import CLOSING, SETTINGS
from ingest.errors import ImportRefused, InvalidRequest, UnsupportedMediaType
from ingest.messages import json_answer, query_int, read_limited
from ingest.replay.records import LOG_CONTENT_TYPE, RecordReader, encode_record
from ingest.routes.table import QueryParameter, Route
from ingest.state import EVENT_STORE
from projections.columns import check_payload
from projections.log import StoredBatch
from tracker.events.errors import CorruptPayload, InvalidEvent
from tracker.events.ids import is_run_id, is_writer_id

READ_BATCHES: Final = 2_000
READ_BYTES: Final = 4 * 1024 * 1024
WAIT_S_MAX: Final = 60
# One import is one transaction, held in memory.
IMPORT_BYTES_MAX: Final = 32 * 1024 * 1024


class LogHeadAnswer(BaseModel):
    """`position` is the last there is, `chain` the hash chain's value there, in hex."""

    workspace: str
    position: int
    chain: str


async def head(request: web.Request) -> web.Response:
    return json_answer(await _head(request))


async def read_log(request: web.Request) -> web.StreamResponse:
    """Every batch that ends beyond `after`, up to the head as it is now, in one stream."""
    store = request.app[EVENT_STORE]
    after, until = query_int(request, "after") or 0, query_int(request, "until")
    run_id = request.query.get("run_id")
    wait_s = query_int(request, "wait") or 0
    if after < 0 or not 0 <= wait_s <= WAIT_S_MAX:
        raise InvalidRequest(f"after: 0 or a position; wait: 0 to {WAIT_S_MAX} seconds")
    if wait_s:
        await store.wait_for(after + 1, timeout_s=wait_s)
    last = (await store.head()).next_position - 1
    until = last if until is None else min(until, last)
    response = web.StreamResponse(
        headers={"Content-Type": LOG_CONTENT_TYPE, "X-Tracker-Position": str(last)}
    )
    batches = await store.read(
        after=after, batches_max=READ_BATCHES, bytes_max=READ_BYTES, run_id=run_id, until=until
    )
    await response.prepare(request)
    try:
        while batches and not request.app[CLOSING].is_set():
            await response.write(await asyncio.to_thread(_encoded, batches))
            after = batches[-1].last_position
            batches = await store.read(
                after=after,
                batches_max=READ_BATCHES,
                bytes_max=READ_BYTES,
                run_id=run_id,
                until=until,
            )
    except Exception:  # counted by the middleware, as every handler's
        # The status is out already: a cut connection is all that can still be said.
        if request.transport is not None:
            request.transport.abort()
        raise
    await response.write_eof()
    return response


async def import_log(request: web.Request) -> web.Response:
    """Continue this log with batches of another: see EventStore.import_batches."""
    if request.content_type != LOG_CONTENT_TYPE:
        raise UnsupportedMediaType(f"Content-Type: {LOG_CONTENT_TYPE} is expected")
    body = await read_limited(request, bytes_max=IMPORT_BYTES_MAX)
    batches = await asyncio.to_thread(_decoded, body)
    await request.app[EVENT_STORE].import_batches(batches)
    return json_answer(await _head(request))


async def _head(request: web.Request) -> LogHeadAnswer:
    found = await request.app[EVENT_STORE].head()
    return LogHeadAnswer(
        workspace=request.app[SETTINGS].workspace,
        position=found.next_position - 1,
        chain=found.chain_sha256.hex(),
    )


def _encoded(batches: Sequence[StoredBatch]) -> bytes:
    return b"".join(map(encode_record, batches))


def _decoded(body: bytes) -> list[StoredBatch]:
    """The body's batches, each held against the rules that an append is held against."""
    reader = RecordReader()
    batches = list(reader.feed(body))
    if not reader.is_between_records:
        raise CorruptPayload("the body ends within a record")
    for batch in batches:
        if not (is_writer_id(batch.writer_id) and (not batch.run_id or is_run_id(batch.run_id))):
            raise InvalidRequest("an id of a batch is not letters, digits, - and _")
        try:
            check_payload(batch.payload, n=batch.n)
        except (CorruptPayload, InvalidEvent) as error:
            raise ImportRefused(
                f"the batch at position {batch.first_position} cannot be read: {error}",
                first_position=batch.first_position,
            ) from error
    return batches


_HEAD_PATH: Final = "/api/v1/log/head"

ROUTES = (
    Route(
        "GET",
        _HEAD_PATH,
        head,
        "Where the log ends, and the value of its hash chain there",
        answer=LogHeadAnswer,
        errors=(503,),
    ),
    Route(
        "GET",
        "/api/v1/log",
        read_log,
        "The raw batches of the log, with positions and chain, in one stream",
        answer_media_types=(LOG_CONTENT_TYPE,),
        query=(
            QueryParameter("after", "the position after which to begin", "integer"),
            QueryParameter("until", "the last position wanted", "integer"),
            QueryParameter("run_id", "only batches of this run"),
            QueryParameter(
                "wait", f"seconds to wait for the first, at most {WAIT_S_MAX}", "integer"
            ),
        ),
        errors=(400, 503),
    ),
    Route(
        "POST",
        "/api/v1/log",
        import_log,
        "Continue this log exactly at its head with batches of another, as they are",
        answer=LogHeadAnswer,
        request_media_types=(LOG_CONTENT_TYPE,),
        errors=(400, 409, 413, 415, 422, 503),
    ),
)
