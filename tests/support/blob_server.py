"""A server whose blobs are asked for over HTTP, and what its folders hold."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ingest import blob_bodies
from ingest.components import COUNTERS
from tests.support.http_server import Answer, TestServer, serving
from tracker.events.limits import ARTIFACT_PART_BYTES

PART = ARTIFACT_PART_BYTES
DATA = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@asynccontextmanager
async def serving_blobs(home: Path) -> AsyncIterator[TestServer]:
    async with serving(home) as server:
        yield server
        # Whatever a test has sent: no bug was met, nothing is under way, nothing half-done lies.
        assert server.app[COUNTERS].refusals["internal_error"] == 0
        await until_nothing_is_under_way(server)
        assert not list(artifacts(home).rglob("incoming/*"))


async def until_nothing_is_under_way(server: TestServer) -> None:
    async with asyncio.timeout(60):
        while server.app[blob_bodies.BLOB_TRANSFERS].under_way:
            await asyncio.sleep(0.01)


def artifacts(home: Path) -> Path:
    return home / "server" / "artifacts" / "default"


def blob_path(home: Path, sha256: str = SHA256) -> Path:
    return artifacts(home) / "blobs" / sha256[:2] / sha256


async def put(server: TestServer, sha256: str = SHA256, data: bytes = DATA) -> Answer:
    return await server.ask("PUT", f"/api/v1/blobs/{sha256}", data=data)


async def get(server: TestServer, sha256: str = SHA256, **headers: str) -> Answer:
    return await server.ask("GET", f"/api/v1/blobs/{sha256}", headers=headers)


async def begin(server: TestServer, sha256: str, size: int) -> tuple[str, Answer]:
    """The path of an upload in parts, and what was answered."""
    path = f"/api/v1/blobs/{sha256}/uploads"
    answer = await server.ask("POST", path, json={"size": size})
    return f"{path}/{answer.json.get('upload_id')}", answer


async def speak(server: TestServer, sent: bytes, *, until: bytes | None = None) -> bytes:
    """Send bytes as they are; what comes back until the server closes, or says `until`."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    try:
        async with asyncio.timeout(60):
            return await (reader.readuntil(until) if until else reader.read())
    finally:
        writer.close()
