"""The whole server inside a test's own event loop, on a free port of loopback."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import aiohttp
from aiohttp import web

from ingest.app import build_app
from ingest.binding import listen
from ingest.serving import running
from ingest.settings import load_settings
from tracker.events import wire
from tracker.events.types import Event

BATCH = {"Content-Type": wire.BATCH_CONTENT_TYPE}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def code(self) -> str:
        """The machine-readable code of a refusal; a refusal without one fails the test."""
        error = self.json["error"]
        assert error["message"]
        return str(error["code"])


@dataclass
class TestServer:
    """`ask` it anything; `app` is for a look inside."""

    __test__ = False

    url: str
    app: web.Application
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **request: Any) -> Answer:
        async with self.session.request(method, f"{self.url}{path}", **request) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            value = await response.json() if is_json else None
            return Answer(response.status, response.headers, body, value)

    async def append(self, body: bytes) -> Answer:
        return await self.ask("POST", "/api/v1/append", data=body, headers=BATCH)


@asynccontextmanager
async def serving(home: Path, **given: Any) -> AsyncIterator[TestServer]:
    """A server on a store under `home`. `given` are settings by name."""
    settings = load_settings(
        **{
            "home": home,
            "spool_dir": home / "spool",
            "backend_store_uri": f"sqlite:///{home / 'server' / 'log.db'}",
            "host": "127.0.0.1",
            "port": 0,
            **given,
        }
    )
    app = build_app(settings)
    with listen(settings.host, settings.port) as listening:
        async with (
            running(app, listening, settings=settings, waiting=[]) as url,
            aiohttp.ClientSession() as session,
        ):
            yield TestServer(url, app, session)


def batch_body(
    first_seq: int = 1,
    n: int = 3,
    *,
    writer_id: str = "w1",
    run_id: str = "run-1",
    epoch: int = 1,
    key: str = "loss",
    value: float = 0.5,
) -> bytes:
    """A batch of n records of one metric, step = sequence number."""
    frame = wire.metrics_frame(
        offsets=range(n),
        keys=[key],
        steps=array("q", range(first_seq, first_seq + n)),
        times=array("q", [1_700_000_000_000_000] * n),
        values=[array("d", [value]) * n],
    )
    return frames_body([frame], first_seq, n, writer_id=writer_id, run_id=run_id, epoch=epoch)


def events_body(
    first_seq: int, *events: Event, writer_id: str = "w1", run_id: str = "run-1"
) -> bytes:
    frame = wire.events_frame(offsets=range(len(events)), events=events)
    return frames_body([frame], first_seq, len(events), writer_id=writer_id, run_id=run_id)


def frames_body(
    frames: list[Any],
    first_seq: int,
    n: int,
    *,
    writer_id: str = "w1",
    run_id: str = "run-1",
    epoch: int = 1,
) -> bytes:
    payload = wire.encode_payload(frames)
    header = wire.BatchHeader(run_id, writer_id, epoch, first_seq, n, crc32(payload))
    return wire.encode_batch(header, payload)
