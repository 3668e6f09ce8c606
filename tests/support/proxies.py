"""Serves a proxy's `handle` on a port of loopback, from a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from aiohttp import web


class Proxy(Protocol):
    port: int

    async def handle(self, request: web.Request) -> web.StreamResponse: ...


@contextmanager
def served(proxy: Proxy) -> Iterator[None]:
    started, stopped = threading.Event(), threading.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        # Who is still asking when the test is over was killed, or is asking too late.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", proxy.port).start()
        started.set()
        while not stopped.is_set():
            await asyncio.sleep(0.02)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    try:
        yield
    finally:
        stopped.set()
        thread.join()
