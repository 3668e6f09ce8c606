"""An HTTP proxy in front of an S3 server that fails as it is told to, on loopback."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>no</Message></Error>'
)


@dataclass
class S3Proxy:
    """While `times` is above zero, a request that `matches` meets the fault instead.

    Faults: an S3 error as (status, code), "reply_lost" after the request was carried out,
    and "cut_in_body": half of the answer, then nothing.
    """

    upstream: str
    uri: str = ""
    fault: tuple[int, str] | str = ""
    times: int = 0
    matches: Callable[[web.Request], bool] = lambda request: True
    met: Counter[str] = field(default_factory=Counter)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        is_struck = self.times > 0 and self.matches(request)
        if is_struck:
            self.times -= 1
            self.met[request.method] += 1
        if is_struck and isinstance(self.fault, tuple):
            status, code = self.fault
            text = "" if request.method == "HEAD" else _ERROR.format(code=code)
            return web.Response(status=status, text=text, content_type="application/xml")
        # Host and all else stay as they were signed.
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                self.upstream + request.raw_path,
                data=io.BytesIO(body) if body else None,
                headers=request.headers,
            ) as answer,
        ):
            found = await answer.read()
            if is_struck:
                await self._break(request, answer, found)
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name not in ("Transfer-Encoding", "Connection")
            }
            if request.method == "HEAD":
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                return response
            return web.Response(status=answer.status, body=found, headers=kept)

    async def _break(
        self, request: web.Request, answer: aiohttp.ClientResponse, found: bytes
    ) -> None:
        if self.fault == "cut_in_body":
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            await response.write(found[: len(found) // 2])
        assert request.transport is not None
        request.transport.abort()


@asynccontextmanager
async def running_s3_proxy(upstream: str) -> AsyncIterator[S3Proxy]:
    proxy = S3Proxy(upstream)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.uri = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        await runner.cleanup()
