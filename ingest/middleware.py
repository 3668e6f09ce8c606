"""What surrounds every handler: the gate, the request id, refusals as JSON, one log line.

One layer on purpose: appends pass through it thousands of times a second.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ingest.auth import Gate
from ingest.counters import ServerCounters
from ingest.errors import (
    ApiError,
    MethodNotAllowed,
    NotFound,
    ShuttingDown,
    UnsupportedMediaType,
    api_error_for,
    details_of,
    retry_after_of,
)
from ingest.logs import REQUEST_LOG, SERVER_LOG
from ingest.messages import json_answer
from ingest.mlflow.errors import is_mlflow_path, refusal_body
from ingest.schemas import ErrorAnswer, ErrorBody
from tracker.events.errors import TrackerError

REQUEST_ID_HEADER: Final = "X-Request-Id"
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
# These come many times a second from machines; one line each would drown the rest.
_QUIET_PATHS: Final = frozenset(
    {
        "/api/v1/append",
        "/api/v1/leases",
        "/health",
        "/ready",
        "/metrics",
        "/api/2.0/mlflow/runs/log-batch",
        "/api/2.0/mlflow/runs/log-metric",
    }
)
_WATCHING_PATHS: Final = frozenset({"/health", "/ready", "/metrics", "/version"})
BODY_NOT_ASKED_FOR: Final = web.RequestKey("body_not_asked_for", bool)
_REQUEST_ID: Final = re.compile(r"[\w.\-]{1,64}", re.ASCII)
_SLASHES: Final = re.compile("//+")


def surround(
    gate: Gate,
    counters: ServerCounters,
    closing: asyncio.Event,
    *,
    open_paths: frozenset[str],
    page_of_nothing: Callable[[web.Request], web.Response | None],
) -> Middleware:
    """`page_of_nothing` answers, without a key, for who looks where no route is."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        path = request.path
        if path not in _WATCHING_PATHS:
            counters.last_activity = started
        request_id = _request_id(request)
        try:
            nothing = page_of_nothing(request)
            is_open = nothing is not None or path in open_paths or _route_of(request) in open_paths
            gate.admit(request.method, request.headers, is_open=is_open)
            if closing.is_set():
                raise ShuttingDown("the server is stopping; send it again", retry_after_s=1.0)
            if request.headers.get("Content-Encoding", "identity") != "identity":
                raise UnsupportedMediaType(
                    "send the body without Content-Encoding; batches are compressed inside"
                )
            response = nothing or await handler(request)
        except TrackerError as error:
            response = refusal(error, counters, request_id, path=path)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = _with_single_slashes(request, error) or refusal(
                _of_framework(error, request), counters, request_id, path=path
            )
        except (ConnectionError, asyncio.CancelledError):
            raise  # nobody is there any more to be answered
        except Exception as error:  # noqa: BLE001  # the outermost guard, which answers 500
            # Counted and logged with its trace; the client learns the request's id.
            SERVER_LOG.exception("request failed", extra={"fields": {"request_id": request_id}})
            response = refusal(error, counters, request_id, path=path)
        if not response.prepared:
            if request.writer.output_size > 0 and request.transport is not None:
                # Another answer was begun, and this one would be taken for more of its body:
                # a cut connection is all that can still be said.
                request.transport.abort()
            response.headers[REQUEST_ID_HEADER] = request_id
            for name, value in SECURITY_HEADERS.items():
                # A page of the web UI has a policy of its own.
                response.headers.setdefault(name, value)
            if request.get(BODY_NOT_ASKED_FOR):
                response.force_close()
        counters.requests[response.status] += 1
        seconds = time.monotonic() - started
        log_request(
            request.method, path, response.status, request_id, seconds, remote=request.remote
        )
        return response

    return middleware


async def expect_late(request: web.Request) -> None:
    """Leave `Expect: 100-continue` to the one who reads the body, if anybody does.

    Whether the client then sends a body that was not asked for is up to the client, so what
    follows on the connection could be anything: it serves no further request.
    """
    request[BODY_NOT_ASKED_FOR] = True


async def expect(request: web.Request) -> None:
    """Answer `Expect: 100-continue`; other expectations are ignored, as HTTP allows."""
    request[BODY_NOT_ASKED_FOR] = False
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no part of the answer that is to come.
        request.writer.output_size = 0


def refusal(
    error: Exception, counters: ServerCounters, request_id: str, *, path: str = ""
) -> web.Response:
    """Any error as the JSON that the clients of this path can read."""
    if isinstance(error, TrackerError):
        status, code = api_error_for(error)
        message = error.message if isinstance(error, ApiError) else str(error)
    else:
        status, code = 500, "internal_error"
        message = f"the server failed; its log has the reason under request {request_id}"
    details = details_of(error) if isinstance(error, TrackerError) else {}
    counters.refusals[code] += 1
    if is_mlflow_path(path):
        status, said = refusal_body(error, message)
        response = json_answer(said, status=status)
    else:
        body = ErrorBody(code=code, message=message, details=details)
        response = json_answer(ErrorAnswer(error=body), status=status)
    retry_after_s = retry_after_of(error) if isinstance(error, TrackerError) else None
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s)))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.details["allowed"])
    return response


def _with_single_slashes(request: web.Request, error: web.HTTPException) -> web.Response | None:
    """Where MLflow's server leads to from an address such as //api/2.0/mlflow/runs/get.

    Clients that join addresses by hand make them, of a server's URI with a slash at its end.
    """
    path = _SLASHES.sub("/", request.rel_url.raw_path)
    if error.status != 404 or path == request.rel_url.raw_path or not is_mlflow_path(path):
        return None
    location = request.rel_url.with_path(path, encoded=True, keep_query=True)
    return web.Response(status=308, headers={"Location": str(location)})


def _of_framework(error: web.HTTPException, request: web.Request) -> ApiError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = sorted(error.allowed_methods)
        return MethodNotAllowed(
            f"{request.method[:20]} is not possible here; use {', '.join(allowed)}",
            allowed=allowed,
        )
    if error.status == 404:
        return NotFound(f"there is nothing at {request.path[:200]!r}")
    refused = ApiError(error.text or error.reason)
    return refused


# Counted, not drawn: a system call per request would give up the interpreter's lock, and
# getting it back costs more than the rest of this file.
_PROCESS: Final = os.urandom(4).hex()
_numbers: Final = itertools.count(1)


def _route_of(request: web.Request) -> str | None:
    """The path as the route table has it, such as /runs/{run_id}."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _request_id(request: web.BaseRequest) -> str:
    given = request.headers.get(REQUEST_ID_HEADER)
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return new_request_id()


def new_request_id() -> str:
    return f"{_PROCESS}-{next(_numbers)}"


def log_request(
    method: str,
    path: str,
    status: int,
    request_id: str,
    seconds: float,
    *,
    remote: str | None = None,
) -> None:
    """One line per request; those that machines send all the time only at level debug."""
    level = logging.DEBUG if status < 400 and path in _QUIET_PATHS else logging.INFO
    if not REQUEST_LOG.isEnabledFor(level):
        return
    fields = {
        "request_id": request_id,
        "method": method,
        "path": path,
        "status": status,
        "ms": round(seconds * 1000, 2),
        "remote": remote,
    }
    REQUEST_LOG.log(level, "request", extra={"fields": fields})
