"""The handlers of the read models in a process of their own: what a query costs over HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from ingest.event_stores.leases import LeaseRow
from ingest.routes.table import Route
from ingest.runner import REQUEST_LINE_BYTES_MAX
from ingest.state import LEASES, READ_STORES, ReadStores
from projections.read_models import RunsReadStore, SeriesReadStore


class _NoLeases:
    def live_run_ids(self) -> frozenset[str]:
        return frozenset()

    def held(self) -> Sequence[LeaseRow]:
        return ()

    def expires_us(self, writer_id: str) -> int | None:
        return None


@dataclass(frozen=True)
class _Stores:
    runs: RunsReadStore | None
    series: SeriesReadStore | None

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        return True


def app_of(
    routes: Sequence[Route],
    *,
    runs: RunsReadStore | None = None,
    series: SeriesReadStore | None = None,
) -> web.Application:
    """Those of the handlers that are asked must find their store."""
    app = web.Application()
    app[READ_STORES] = cast(ReadStores, _Stores(runs, series))
    app[LEASES] = _NoLeases()
    for route in routes:
        app.router.add_route(route.method, route.path, route.handler)
    return app


async def serve(app: web.Application) -> None:
    """On a free port of loopback, whose URL is printed, until standard input ends."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, max_line_size=REQUEST_LINE_BYTES_MAX)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


@contextmanager
def running(module: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """A process of `python -m module` that serves, as in life; its URL and its pid."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.stdin.close()
