"""aiohttp's runner, with JSON for what its parser refuses before any handler is asked."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ingest.components import COUNTERS
from ingest.counters import ServerCounters
from ingest.errors import InvalidRequest
from ingest.middleware import SECURITY_HEADERS, refusal


class _Protocol(RequestHandler):
    """One connection."""

    __slots__ = ("counters",)
    counters: ServerCounters

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was already begun")
        said = " ".join((message or str(exc) or "unreadable").split())[:200]
        response = refusal(InvalidRequest(f"this is not HTTP: {said}"), self.counters, "")
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(self, server: web.Server, counters: ServerCounters, **options: Any) -> None:
        super().__init__(server.request_handler, request_factory=server.request_factory, **options)
        self._counters = counters

    def __call__(self) -> RequestHandler:
        protocol = _Protocol(self, loop=self._loop, **self._kwargs)
        protocol.counters = self._counters
        return protocol


class JsonErrorRunner(web.AppRunner):
    """Bodies are handed over as they came: nothing is unpacked behind our limits."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(
            app, shutdown_timeout=shutdown_timeout, access_log=None, auto_decompress=False
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, self.app[COUNTERS], **made._kwargs)
