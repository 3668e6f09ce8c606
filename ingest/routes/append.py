"""POST /api/v1/append: the door for everything that is recorded."""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError

from ingest.append_pipeline import Reservation
from ingest.blob_bodies import next_piece
from ingest.components import APPEND_PIPELINE, SETTINGS
from ingest.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from ingest.event_stores.base import AppendResult
from ingest.messages import invalid_request
from ingest.routes.table import Route
from ingest.schemas import AppendAnswer, AppendRequest
from tracker.events.limits import BATCH_BYTES_MAX
from tracker.events.wire import BATCH_CONTENT_TYPE

# The payload's own limit, and room for the header around it.
BODY_BYTES_MAX = BATCH_BYTES_MAX + 4096
WORKSPACE_HEADER = "X-Tracker-Workspace"


async def append(request: web.Request) -> web.Response:
    pipeline = request.app[APPEND_PIPELINE]
    _check_workspace(request)
    length = request.content_length
    if length is not None and length > BODY_BYTES_MAX:
        raise _too_large()
    with pipeline.budget.reserving(length or 0) as reservation:
        body = await _read(request, reservation)
        match request.content_type:
            case "application/vnd.tracker.batch":
                result = await pipeline.append_batch(body)
            case "application/json":
                result = await pipeline.append_request(_parse(body))
            case other:
                raise UnsupportedMediaType(
                    f"{other[:100]!r} is not understood; send {BATCH_CONTENT_TYPE} "
                    "or application/json"
                )
    return web.Response(body=answer_of(result), content_type="application/json")


def answer_of(result: AppendResult) -> bytes:
    """AppendAnswer in JSON."""
    return b'{"outcome":"%b","next_seq":%d,"position":%d}' % (
        result.outcome.encode(),
        result.next_seq,
        result.position,
    )


async def _read(request: web.Request, reservation: Reservation) -> bytes:
    # A body of unknown length takes its share of the budget as it arrives.
    is_reserved = request.content_length is not None
    chunks: list[bytes] = []
    while chunk := await next_piece(request):
        if not is_reserved:
            reservation.grow(len(chunk))
            if reservation.size > BODY_BYTES_MAX:
                raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _parse(body: bytes) -> AppendRequest:
    try:
        return AppendRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from None


def _check_workspace(request: web.Request) -> None:
    asked, kept = request.headers.get(WORKSPACE_HEADER), request.app[SETTINGS].workspace
    if asked is not None and asked != kept:
        raise InvalidRequest(
            f"this server keeps workspace {kept!r}, not {asked[:64]!r}; "
            "set TRACKER_WORKSPACE on one of the two sides",
            workspace=kept,
        )


def _too_large() -> TooLarge:
    return TooLarge(
        f"the body has more than {BODY_BYTES_MAX} bytes (batch_bytes_max); send smaller batches"
    )


ROUTES = (
    Route(
        "POST",
        "/api/v1/append",
        append,
        "Append a batch of one writer, exactly once",
        request=AppendRequest,
        answer=AppendAnswer,
        request_media_types=("application/json", BATCH_CONTENT_TYPE),
        errors=(400, 408, 409, 413, 415, 422, 503),
    ),
)
