"""Reading requests and writing answers: the two lines every handler begins and ends with."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from ingest.errors import InvalidRequest, ProjectionBehind, TooLarge
from ingest.state import EVENT_STORE, READ_STORES

Model = TypeVar("Model", bound=BaseModel)

# A read waits this long for the projection to reach the position it asks for.
READ_YOUR_WRITES_TIMEOUT_S = 5.0
JSON_BODY_BYTES_MAX = 16 * 1024 * 1024


async def read_json(
    request: web.Request, model: type[Model], *, bytes_max: int = JSON_BODY_BYTES_MAX
) -> Model:
    """Parse the body as `model`; refuse what is too large or does not fit, saying where."""
    body = await read_limited(request, bytes_max=bytes_max)
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise invalid_request(error) from None


def invalid_request(error: ValidationError) -> InvalidRequest:
    """What does not fit, in one sentence: the first of pydantic's findings."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:200] or "body"
    return InvalidRequest(f"{where}: {first['msg']}", field=where)


async def read_limited(request: web.Request, *, bytes_max: int) -> bytes:
    """The body, or TooLarge as soon as it is known to be beyond `bytes_max`."""
    length = request.content_length
    if length is not None and length > bytes_max:
        raise TooLarge(f"the body has {length} bytes; at most {bytes_max} are allowed")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > bytes_max:
            raise TooLarge(f"the body has more than {bytes_max} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def json_answer(value: BaseModel | dict[str, Any], *, status: int = 200) -> web.Response:
    data = value.model_dump(mode="python") if isinstance(value, BaseModel) else value
    return web.Response(
        body=orjson.dumps(data), status=status, content_type="application/json", charset="utf-8"
    )


def json_float(value: float) -> float | str:
    """JSON has no NaN and no infinities; they travel as MLflow's strings."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def query_int(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None or text == "":
        return None
    try:
        number = int(text)
    except ValueError:
        raise InvalidRequest(f"{name}: {text[:40]!r} is not an integer", field=name) from None
    if not -(2**63) <= number < 2**63:
        raise InvalidRequest(f"{name}: {text[:40]} does not fit 64 bits", field=name)
    return number


async def wait_for_position(request: web.Request, position: int | None) -> None:
    """Hold a read until the projections have folded what its caller has already seen acked."""
    if position is None:
        return
    head = (await request.app[EVENT_STORE].head()).next_position - 1
    if position > head:
        raise InvalidRequest(
            f"min_position: {position} is beyond the log's last position, {head}; "
            "use a position that this server has acknowledged",
            field="min_position",
        )
    stores = request.app[READ_STORES]
    if not await stores.wait_for(position, timeout_s=READ_YOUR_WRITES_TIMEOUT_S):
        raise ProjectionBehind(
            f"position {position} is not folded yet; try again", retry_after_s=1.0
        )
