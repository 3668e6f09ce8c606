"""aiohttp's runner with our own connections. Bodies are handed over as they came: nothing
is unpacked behind our limits."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ingest.append_connection import AppendConnection, AppendServices
from ingest.components import APPEND_PIPELINE, CLOSING, COUNTERS, GATE, SETTINGS


# MLflow's clients put up to 100 run ids, each of up to 256 characters, into one query.
REQUEST_LINE_BYTES_MAX: Final = 64 * 1024


class _Server(web.Server):
    def __init__(self, server: web.Server, services: AppendServices, **options: Any) -> None:
        super().__init__(server.request_handler, request_factory=server.request_factory, **options)
        self._services = services

    def __call__(self) -> RequestHandler:
        return AppendConnection(self, loop=self._loop, services=self._services, **self._kwargs)


class TrackerRunner(web.AppRunner):
    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(
            app,
            shutdown_timeout=shutdown_timeout,
            access_log=None,
            auto_decompress=False,
            max_line_size=REQUEST_LINE_BYTES_MAX,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        app = self.app
        services = AppendServices(
            pipeline=app[APPEND_PIPELINE],
            gate=app[GATE],
            counters=app[COUNTERS],
            workspace=app[SETTINGS].workspace,
            is_closing=app[CLOSING].is_set,
        )
        return _Server(made, services, **made._kwargs)
