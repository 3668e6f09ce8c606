"""A server that keeps the rules of append, writers and leases in memory, and fails as told.

For tests of the shipper that need to see, or to forge, every single request. What a real
server makes of the same requests is held to in tests/integration.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from projections.columns import decode_batch, decode_payload
from tracker.events.wire import BatchHeader

Fault = Callable[["FakeIngest", bytes], web.Response | None]


@dataclass
class StoredWriter:
    next_seq: int = 1
    epoch: int = 1
    steps: list[int] = field(default_factory=list)
    event_types: list[str] = field(default_factory=list)
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    batches: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass
class FakeIngest:
    """`writers` is what is stored, `asked` counts requests by path, `leases` is what was said.

    `before` may answer an append instead of the store, `is_hanging` lets every request wait.
    """

    uri: str = ""
    writers: dict[str, StoredWriter] = field(default_factory=dict)
    leases: list[dict[str, Any]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    before: Fault | None = None
    is_hanging: bool = False
    body_bytes: list[int] = field(default_factory=list)
    in_flight: int = 0
    in_flight_max: int = 0

    async def append(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.body_bytes.append(len(body))
        await self._meet("append")
        refused = self.before(self, body) if self.before else None
        return refused or self.store(body)

    def store(self, body: bytes) -> web.Response:
        """What a server does with a batch."""
        header, payload = decode_batch(body)
        columns = decode_payload(payload, n=header.n)
        writer = self.writers.setdefault(header.writer_id, StoredWriter())
        if header.first_seq > writer.next_seq:
            return refusal(409, "sequence_gap", next_seq=writer.next_seq)
        known = writer.batches.get((header.first_seq, header.n))
        if known is not None and known != header.records_crc:
            return refusal(422, "sequence_reused")
        seen = writer.next_seq - header.first_seq
        if seen < header.n:
            self._take(writer, header, columns, seen)
        return web.json_response({"next_seq": writer.next_seq, "position": 1, "duplicate": False})

    def _take(self, writer: StoredWriter, header: BatchHeader, columns: Any, seen: int) -> None:
        rows = [
            (int(offset), int(step))
            for frame in columns.metrics
            for offset, step in zip(frame.offsets, frame.steps, strict=True)
        ]
        writer.steps += [step for offset, step in sorted(rows) if offset >= seen]
        writer.event_types += [e.event.type for e in columns.events if e.offset >= seen]
        writer.lost += [
            (header.first_seq + d.offset, d.width, d.reason)
            for d in columns.dropped
            if d.offset >= seen
        ]
        writer.batches[header.first_seq, header.n] = header.records_crc
        writer.next_seq = header.first_seq + header.n

    async def writer(self, request: web.Request) -> web.Response:
        await self._meet("writer")
        writer = self.writers.get(request.match_info["writer_id"])
        if writer is None:
            return refusal(404, "writer_not_found")
        return web.json_response({"next_seq": writer.next_seq, "epoch": writer.epoch})

    async def lease(self, request: web.Request) -> web.Response:
        await self._meet("leases")
        leases = (await request.json())["leases"]
        self.leases += leases
        outcomes = {"live": "renewed", "closed": "released", "dead": "run_ended"}
        return web.json_response(
            {
                "leases": [
                    {"writer_id": lease["writer_id"], "outcome": outcomes[lease["state"]]}
                    for lease in leases
                ]
            }
        )

    async def _meet(self, what: str) -> None:
        self.asked[what] += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            while self.is_hanging:
                await asyncio.sleep(0.01)
        finally:
            self.in_flight -= 1


def refusal(status: int, code: str, **details: Any) -> web.Response:
    error = {"code": code, "message": f"refused: {code}", "details": details}
    return web.json_response({"error": error}, status=status)


@asynccontextmanager
async def fake_ingest() -> AsyncIterator[FakeIngest]:
    """Running on a free port of loopback."""
    fake = FakeIngest()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/api/v1/append", fake.append)
    app.router.add_get("/api/v1/writers/{writer_id}", fake.writer)
    app.router.add_post("/api/v1/leases", fake.lease)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.uri = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        fake.is_hanging = False
        await runner.cleanup()
