"""An HTTP proxy on loopback that counts the parts of uploads that were stored."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web

from tests.support.processes import free_port
from tests.support.proxies import served


class CountingProxy:
    """`parts_max`: once so many parts are on their way or stored, further ones are held back.

    Those that are held back when the limit goes are never passed on: their senders are gone.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.parts_stored = 0
        self.parts_max: int | None = None
        self._parts_passed = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for_parts(self, count: int, *, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self.parts_stored < count:
            assert time.monotonic() < deadline, f"only {self.parts_stored} parts came through"
            time.sleep(0.01)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        is_part = request.method == "PUT" and "/parts/" in request.path
        if is_part:
            if self.parts_max is not None and self._parts_passed >= self.parts_max:
                while self.parts_max is not None:
                    await asyncio.sleep(0.01)
                return web.Response(status=502, text="too late")
            self._parts_passed += 1
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "content-length", "transfer-encoding")
        }
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    request.method,
                    self.upstream + request.path_qs,
                    data=io.BytesIO(body),
                    headers=headers,
                ) as answer,
            ):
                content = await answer.read()
                if is_part and answer.status == 200:
                    self.parts_stored += 1
                return web.Response(
                    body=content, status=answer.status, content_type=answer.content_type
                )
        except aiohttp.ClientError:
            return web.Response(status=502, text="nobody there")


@contextmanager
def counting_proxy(upstream: str) -> Iterator[CountingProxy]:
    proxy = CountingProxy(upstream)
    with served(proxy):
        yield proxy
