"""An HTTP proxy in front of a server that misbehaves as it is told to, on loopback."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web

from projections.columns import decode_batch
from tests.support.processes import free_port
from tests.support.proxies import served

FAULTS = (
    "reply_lost",
    "cut_in_body",
    "status_429",
    "status_500",
    "status_503",
    "garbage",
    "slow",
    "refused_connection",
)


class FaultyProxy:
    """Forwards to `upstream`; while `fault` is set every append meets it instead.

    `records_max`: once more records than that have passed, every append meets status_503.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.fault: str | None = None
        self.met: Counter[str] = Counter()
        self.records_max: int | None = None
        self.records_passed = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        is_append = request.path == "/api/v1/append"
        fault = self.fault if is_append else None
        if is_append and self.records_max is not None and self.records_passed > self.records_max:
            fault = "status_503"
        if fault:
            self.met[fault] += 1
        if fault in ("cut_in_body", "refused_connection"):
            if fault == "cut_in_body":
                await request.content.read(10)
            return self.hang_up(request)
        if fault and fault.startswith("status_"):
            headers = {"Retry-After": "0.1"} if fault != "status_500" else {}
            return web.Response(status=int(fault[7:]), text="no", headers=headers)
        if fault == "garbage":
            return web.Response(body=b"\x00<html>not what you asked for")
        if fault == "slow":
            await asyncio.sleep(0.5)
        body = await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                self.upstream + request.path_qs,
                data=body,
                headers={
                    name: value
                    for name, value in request.headers.items()
                    if name in ("Content-Type", "Authorization")
                },
            ) as answer,
        ):
            text = await answer.read()
            if fault == "reply_lost":
                return self.hang_up(request)
            if is_append and answer.status == 200 and self.records_max is not None:
                self.records_passed += decode_batch(body)[0].n
            return web.Response(status=answer.status, body=text, content_type=answer.content_type)

    @staticmethod
    def hang_up(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@contextmanager
def running_proxy(upstream: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(upstream)
    with served(proxy):
        yield proxy
