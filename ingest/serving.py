"""From settings to a listening server and back: start, announce, wait, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from ingest.app import build_app
from ingest.logs import log_to_stderr
from ingest.runner import JsonErrorRunner
from ingest.settings import InvalidSettings, Settings, load_settings


async def serve(
    settings: Settings, listening: socket.socket, *, announce: Callable[[str], None]
) -> None:
    """Serve on `listening` until SIGTERM or SIGINT; return when everything is on disk."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = JsonErrorRunner(build_app(settings), shutdown_timeout=settings.drain_s)
    await runner.setup()
    try:
        await web.SockSite(runner, listening, backlog=1024).start()
        announce(url_of(settings.host, listening))
        await stop.wait()
    finally:
        await runner.cleanup()


def listen(host: str, port: int) -> socket.socket:
    """A bound and listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host.strip("[]"), port), family=family, backlog=1024)
    listening.setblocking(False)
    return listening


def url_of(host: str, listening: socket.socket) -> str:
    name = host.strip("[]")
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{listening.getsockname()[1]}"


def run_server(
    *, given: Mapping[str, Any], log_level: str, announce: Callable[[str], None]
) -> None:
    """The `tracker server` command: settings, socket, loop. Raises TrackerError."""
    settings = load_settings(**given)
    log_to_stderr(level=logging.getLevelNamesMapping()[log_level.upper()])
    try:
        listening = listen(settings.host, settings.port)
    except OSError as error:
        raise InvalidSettings(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another --port or --host"
        ) from None
    asyncio.run(serve(settings, listening, announce=lambda url: announce(f"listening on {url}")))
