"""aiohttp's runner with our own connections. Bodies are handed over as they came: nothing
is unpacked behind our limits."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ingest.append_connection import AppendConnection, AppendServices
from ingest.components import APPEND_PIPELINE, CLOSING, COUNTERS, GATE, SETTINGS
from ingest.counters import ServerCounters
from ingest.json_errors import JsonErrorConnection

# MLflow's clients put up to 100 run ids, each of up to 256 characters, into one query.
REQUEST_LINE_BYTES_MAX: Final = 64 * 1024


class _Server(web.Server):
    """`services` None: a server that takes no appends."""

    def __init__(
        self,
        server: web.Server,
        services: AppendServices | None,
        counters: ServerCounters,
        **options: Any,
    ) -> None:
        super().__init__(server.request_handler, request_factory=server.request_factory, **options)
        self._services = services
        self._counters = counters

    def __call__(self) -> RequestHandler:
        if self._services is None:
            return JsonErrorConnection(
                self, loop=self._loop, counters=self._counters, **self._kwargs
            )
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
        if app[SETTINGS].artifacts_only:
            return _Server(made, None, app[COUNTERS], **made._kwargs)
        services = AppendServices(
            pipeline=app[APPEND_PIPELINE],
            gate=app[GATE],
            counters=app[COUNTERS],
            workspace=app[SETTINGS].workspace,
            is_closing=app[CLOSING].is_set,
        )
        return _Server(made, services, app[COUNTERS], **made._kwargs)
