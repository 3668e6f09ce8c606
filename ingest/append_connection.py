"""A connection that takes appends off the wire itself, and leaves all else to aiohttp.

An append is nearly all that a busy server does, and aiohttp's machinery for one request
costs more than decoding, checking and storing the batch. So a connection looks at every
request head before aiohttp does:

    an append in its plain shape    POST, binary batch, Content-Length, no header that asks
                                    for anything special: handled here
    another request of known size   passed on byte for byte; afterwards it looks again
    anything else                   handed over: from then on aiohttp has the connection

"Anything else" is chunked bodies, upgrades, pipelining, heads in pieces, and every append
that will not simply be taken (a wrong key, another workspace, too large, too busy), so all
refusals before the body come from one place. What is handled here goes through the same
pipeline, and a test sends the same requests both ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from aiohttp import web

from ingest import blob_bodies
from ingest.append_pipeline import AppendPipeline, Reservation
from ingest.auth import Gate
from ingest.counters import ServerCounters
from ingest.errors import Busy, ForbiddenHost, ShuttingDown, Unauthorized
from ingest.event_stores.base import AppendResult
from ingest.json_errors import JsonErrorConnection
from ingest.logs import SERVER_LOG
from ingest.middleware import (
    REQUEST_ID_HEADER,
    SECURITY_HEADERS,
    log_request,
    new_request_id,
    refusal,
)
from ingest.request_heads import LENGTH, append_headers, message_length
from ingest.routes.append import BODY_BYTES_MAX, answer_of
from tracker.events.errors import TrackerError

PATH: Final = "/api/v1/append"
_LINE: Final = f"POST {PATH} HTTP/1.1\r\n".encode()
_HEAD_BYTES_MAX: Final = 8190
_BUFFER_BYTES_MAX: Final = 64 * 1024
_STATIC_HEADERS: Final = "".join(
    f"{name}: {value}\r\n"
    for name, value in {"Content-Type": "application/json", **SECURITY_HEADERS}.items()
).encode()


class _Mode(Enum):
    IDLE = auto()  # between two requests
    BODY = auto()  # an append's body is coming in
    BUSY = auto()  # an append is on its way to the disk
    PASSING = auto()  # aiohttp has a request
    HANDED_OVER = auto()


@dataclass(frozen=True, slots=True)
class AppendServices:
    """What connections need of the application."""

    pipeline: AppendPipeline
    gate: Gate
    counters: ServerCounters
    workspace: str
    is_closing: Callable[[], bool]


class AppendConnection(JsonErrorConnection):
    __slots__ = (
        "_append_task", "_body", "_buffer", "_finished", "_heard_at", "_known_head", "_left",
        "_mode", "_passed", "_reservation", "_silence", "services",
    )  # fmt: skip
    services: AppendServices

    def __init__(self, *arguments: Any, services: AppendServices, **options: Any) -> None:
        super().__init__(*arguments, counters=services.counters, **options)
        self.services = services
        self._mode = _Mode.IDLE
        self._body: list[bytes] = []
        self._buffer = b""
        self._left = 0
        self._passed = self._finished = 0
        self._known_head: tuple[bytes, bytes] | None = None
        self._reservation: Reservation | None = None
        self._append_task: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self._silence: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp asks itself whether it has more
            super().data_received(data)
            return
        match self._mode:
            case _Mode.HANDED_OVER:
                super().data_received(data)
            case _Mode.IDLE:
                self._begin(data)
            case _Mode.BODY:
                self._take_body(data)
            case _Mode.BUSY:
                self._buffer += data
                if len(self._buffer) > _BUFFER_BYTES_MAX and self.transport is not None:
                    self.transport.pause_reading()
            case _Mode.PASSING:
                self._pass_on(data)

    # -- telling requests apart -----------------------------------------------------------

    def _begin(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n", 0, _HEAD_BYTES_MAX)
        if end < 0 or self._close or self._force_close:
            self._hand_over(data)
            return
        head = data[:end]
        if head.startswith(_LINE):
            length = self._append_length(head)
            if length is not None and self._reserve(length):
                self._mode, self._left = _Mode.BODY, length
                self._take_body(data[end + 4 :])
                return
        length = message_length(head)
        if length is None:
            self._hand_over(data)
            return
        self._mode, self._left = _Mode.PASSING, end + 4 + length
        self._passed += 1
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self._left == 0 and self._finished == self._passed:
            self._mode = _Mode.IDLE
            self._begin(data)
        elif len(data) > self._left:
            self._hand_over(data)  # the next request before the answer to this one
        else:
            self._left -= len(data)
            super().data_received(data)

    def _hand_over(self, data: bytes) -> None:
        self._mode = _Mode.HANDED_OVER
        super().data_received(data)

    def _append_length(self, head: bytes) -> int | None:
        """The body's length, if the head is one that can be taken here."""
        known = self._known_head
        if known is not None and head.startswith(known[0]) and head.endswith(known[1]):
            # A client's heads differ in the length only; what was admitted once is admitted.
            digits = head[len(known[0]) : len(head) - len(known[1])]
            if digits.isdigit() and len(digits) < 10:
                return int(digits)
        headers = append_headers(head)
        if headers is None or not self._is_admitted(headers):
            return None
        found = LENGTH.search(head.lower())
        if found is None or int(found[1]) > BODY_BYTES_MAX:
            return None
        self._known_head = (head[: found.start(1)], head[found.end(1) :])
        return int(found[1])

    def _is_admitted(self, headers: dict[str, str]) -> bool:
        services = self.services
        if headers.get("x-tracker-workspace", services.workspace) != services.workspace:
            return False
        try:
            services.gate.admit("POST", headers, is_open=False)
        except (ForbiddenHost, Unauthorized):
            return False
        return True

    def _reserve(self, length: int) -> bool:
        if length > BODY_BYTES_MAX:
            return False
        reservation = Reservation(self.services.pipeline.budget)
        try:
            reservation.grow(length)
        except Busy:
            return False
        self._reservation = reservation
        return True

    # -- an append ------------------------------------------------------------------------

    def _take_body(self, data: bytes) -> None:
        if len(data) > self._left:
            self._buffer = data[self._left :]
            data = data[: self._left]
        self._left -= len(data)
        self._body.append(data)
        if self._left == 0:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
            self._mode = _Mode.BUSY
            self._append_task = self._loop.create_task(self._append(body))
            return
        self._heard_at = self._loop.time()
        if self._silence is None:
            self._listen_for(blob_bodies.BODY_SILENCE_S_MAX)

    def _listen_for(self, seconds: float) -> None:
        self._silence = self._loop.call_later(seconds, self._end_if_silent)

    def _end_if_silent(self) -> None:
        """A sender that is paused in the middle of a body must not keep its share of the budget:
        a few of them, and nobody else would be let in."""
        self._silence = None
        if self._mode is not _Mode.BODY:
            return
        left_s = self._heard_at + blob_bodies.BODY_SILENCE_S_MAX - self._loop.time()
        if left_s > 0:
            self._listen_for(left_s)
        elif self.transport is not None:
            self.transport.abort()  # connection_lost gives the share back

    async def _append(self, body: bytes) -> None:
        services = self.services
        started = self._loop.time()
        services.counters.last_activity = started
        request_id = new_request_id()
        try:
            if services.is_closing():
                raise ShuttingDown("the server is stopping; send it again", retry_after_s=1.0)
            status, answer = 200, _bytes_of(await services.pipeline.append_batch(body), request_id)
        except TrackerError as error:
            status, answer = _refused(error, services.counters, request_id)
        except Exception as error:  # noqa: BLE001  # as in ingest.middleware: the outermost guard
            SERVER_LOG.exception("request failed", extra={"fields": {"request_id": request_id}})
            status, answer = _refused(error, services.counters, request_id)
        finally:
            self._release()
        services.counters.requests[status] += 1
        log_request("POST", PATH, status, request_id, self._loop.time() - started)
        self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        if self.transport is None:
            return  # the client has gone; it will ask again
        self.transport.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._mode = _Mode.IDLE
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self.transport.resume_reading()
            self._begin(data)

    def _release(self) -> None:
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    # -- aiohttp's side ---------------------------------------------------------------------

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._finished += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._mode is _Mode.BODY:
            self._release()
        if self._silence is not None:
            self._silence.cancel()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109  # overrides aiohttp's
        if self._append_task is not None and not self._append_task.done():
            await asyncio.wait({self._append_task}, timeout=timeout)
        await super().shutdown(timeout)


def _bytes_of(result: AppendResult, request_id: str) -> bytes:
    body = answer_of(result)
    return b"HTTP/1.1 200 OK\r\n%b%b: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        _STATIC_HEADERS, REQUEST_ID_HEADER.encode(), request_id.encode(), len(body), body,
    )  # fmt: skip


def _refused(error: Exception, counters: ServerCounters, request_id: str) -> tuple[int, bytes]:
    response = refusal(error, counters, request_id)
    assert isinstance(response.body, bytes)
    more = "".join(
        f"{name}: {value}\r\n"
        for name, value in response.headers.items()
        if name not in ("Content-Type", "Content-Length")
    )
    line = f"HTTP/1.1 {response.status} {response.reason}\r\n"
    head = f"{line}{more}{REQUEST_ID_HEADER}: {request_id}\r\n"
    return response.status, b"%b%bContent-Length: %d\r\n\r\n%b" % (
        head.encode(), _STATIC_HEADERS, len(response.body), response.body,
    )  # fmt: skip
