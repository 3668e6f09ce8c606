"""The server's life: listen, load, serve until told to stop, drain, put everything on disk.

/health answers as soon as the socket listens; what takes time to import (numpy, aiohttp,
pydantic) is imported beside the event loop meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ingest.binding import check_binding, listen, url_of
from ingest.doorman import Doorman

if TYPE_CHECKING:
    from aiohttp import web

    from ingest.settings import Settings

Announce = Callable[[str], None]


def run_server(*, given: Mapping[str, Any], log_level: str, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT. `given` are the flags, by the settings' names; host,
    port and insecure must be among them. Raises TrackerError when it cannot start."""
    host, port = given["host"], given["port"]
    check_binding(host, has_key=bool(given.get("api_key")), insecure=given["insecure"])
    with listen(host, port) as listening:
        asyncio.run(_serve(listening, given, log_level=log_level, announce=announce))


async def _serve(
    listening: socket.socket, given: Mapping[str, Any], *, log_level: str, announce: Announce
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Doorman(listening) as doorman:
        settings, app = await asyncio.to_thread(_load, given, log_level)
    async with (
        running(app, listening, settings=settings, waiting=doorman.waiting) as url,
        _serving_this_user(settings, url),
    ):
        announce(f"listening on {url}")
        await _until_told_or_idle(app, settings, stop)


def _load(given: Mapping[str, Any], log_level: str) -> tuple[Settings, web.Application]:
    from ingest.app import build_app
    from ingest.logs import log_to_stderr
    from ingest.settings import load_settings

    settings = load_settings(**given)
    log_to_stderr(level=logging.getLevelNamesMapping()[log_level.upper()])
    return settings, build_app(settings)


@asynccontextmanager
async def running(
    app: web.Application,
    listening: socket.socket,
    *,
    settings: Settings,
    waiting: list[socket.socket],
) -> AsyncIterator[str]:
    """Serve `app` on a listening socket; yields its address. Leaves when all is on disk."""
    from aiohttp import web

    from ingest.runner import TrackerRunner

    runner = TrackerRunner(app, shutdown_timeout=settings.drain_s)
    try:
        await runner.setup()
        await web.SockSite(runner, listening, backlog=1024).start()
        for connection in waiting:
            assert runner.server is not None
            await asyncio.get_running_loop().connect_accepted_socket(runner.server, connection)
        yield url_of(settings.host, listening)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _serving_this_user(settings: Settings, url: str) -> AsyncIterator[None]:
    """Be the server that "local" means, unless another one is."""
    if settings.artifacts_only:
        yield  # it takes no runs, so it is nobody's local server
        return
    from ingest.server_file import published
    from ingest.spool_host import hosting_spool

    label = settings.store_label
    with published(settings.server_folder, url=url, backend_store_uri=label) as is_ours:
        if is_ours:
            async with hosting_spool(settings, port=int(url.rpartition(":")[2])):
                yield
        else:
            yield


async def _until_told_or_idle(
    app: web.Application, settings: Settings, stop: asyncio.Event
) -> None:
    from ingest.idleness import idle_s

    if settings.idle_exit_s is None:
        await stop.wait()
        return
    while not stop.is_set():
        remaining = settings.idle_exit_s - idle_s(app)
        if remaining <= 0:
            return
        try:
            async with asyncio.timeout(min(1.0, remaining)):
                await stop.wait()
        except TimeoutError:
            continue
