"""aiohttp's connection, with JSON for what its parser refuses before any handler is asked."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ingest.counters import ServerCounters
from ingest.errors import InvalidRequest
from ingest.middleware import SECURITY_HEADERS, refusal


class JsonErrorConnection(RequestHandler):
    __slots__ = ("_counters",)

    def __init__(self, *arguments: Any, counters: ServerCounters, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._counters = counters

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
        response = refusal(InvalidRequest(f"this is not HTTP: {said}"), self._counters, "")
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response
