"""What may not be asked of /api/v1/blobs, and what goes wrong on either side."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest import blob_bodies
from ingest.state import ARTIFACT_STORE
from tests.support.blob_server import (
    DATA,
    OTHER,
    SHA256,
    begin,
    blob_path,
    get,
    put,
    serving_blobs,
    speak,
    until_nothing_is_under_way,
)
from tests.support.http_server import TestServer
from tracker.events.limits import ARTIFACT_BYTES_MAX


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving_blobs(tmp_path) as server:
        yield server


TRAVERSALS = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fx",
    "..%5c..%5cx",
    "%252e%252e%252f",
    "..%c0%af..%c0%afx",
    "%00",
    f"{SHA256}%00",
    f"{SHA256}%0a",
    f"..%2f{SHA256}",
    f"{SHA256}%2f..%2f..%2f..%2fx",
    "%2fetc%2fpasswd",
    "C:%5cwindows",
    "CON",
    SHA256.upper(),
    SHA256[:-1],
    "\uff41" * 64,
    "a" * 4000,
]


@pytest.mark.parametrize("name", TRAVERSALS)
async def test_only_a_digest_leads_anywhere(server: TestServer, tmp_path: Path, name: str) -> None:
    await put(server)
    before = sorted(tmp_path.rglob("*"))
    for method, rest in (
        ("GET", ""),
        ("HEAD", ""),
        ("PUT", ""),
        ("POST", "/uploads"),
        ("GET", "/url"),
        ("GET", "/uploads/x"),
    ):
        path = f"/api/v1/blobs/{name}{rest}"
        request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
        answer = await speak(server, f"{request}Connection: close\r\n\r\n".encode())

        assert answer.split(b" ")[1] in (b"400", b"404"), answer[:200]
        assert DATA[:50] not in answer
    assert sorted(path for path in tmp_path.rglob("*") if "-wal" not in path.name) == [
        path for path in before if "-wal" not in path.name
    ]


@pytest.mark.parametrize("name", ["..", "..%2f..%2fx", "%00", "x" * 4000, "A" * 32, "0" * 32])
async def test_only_an_upload_id_leads_anywhere(server: TestServer, name: str) -> None:
    for method, rest in (("GET", ""), ("PUT", "/parts/1"), ("POST", "/complete"), ("DELETE", "")):
        request = f"{method} /api/v1/blobs/{SHA256}/uploads/{name}{rest} HTTP/1.1\r\n"
        answer = await speak(
            server,
            f"{request}Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode(),
        )

        assert answer.split(b" ")[1] in (b"400", b"404", b"405"), answer[:200]


async def test_a_symlink_among_the_blobs_is_not_followed(
    server: TestServer, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    blob_path(tmp_path).parent.mkdir(parents=True)
    blob_path(tmp_path).symlink_to(secret)

    request = f"GET /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"

    answer = await speak(server, f"{request}\r\n".encode())

    assert b"secret" not in answer


async def test_a_blob_that_says_it_is_too_large_is_refused_unread(server: TestServer) -> None:
    head = (
        f"PUT /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {ARTIFACT_BYTES_MAX + 1}\r\n\r\n"
    )

    answer = await speak(server, head.encode(), until=b"}}")

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"artifact_bytes_max" in answer


async def test_a_sender_who_goes_away_leaves_nothing(server: TestServer, tmp_path: Path) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = f"PUT /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n"
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}\r\n".encode() + DATA[:200_000])
    await writer.drain()
    while server.app[blob_bodies.BLOB_TRANSFERS].under_way == 0:
        await asyncio.sleep(0.01)

    writer.close()

    await until_nothing_is_under_way(server)
    assert (await get(server)).status == 404
    assert (await put(server)).json["outcome"] == "stored"


async def test_a_sender_who_says_no_more_is_given_up(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_bodies, "BODY_SILENCE_S_MAX", 0.2)
    head = f"PUT /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n"

    answer = await speak(server, f"{head}\r\n".encode() + DATA[:1000], until=b"}}")

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_stalled" in answer


async def test_too_many_at_once_are_put_off(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_bodies, "TRANSFERS_MAX", 0)

    answer = await put(server)

    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "busy", "1")


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        (errno.ENOSPC, 507, "store_full"),
        (errno.EDQUOT, 507, "store_full"),
        (errno.EIO, 503, "store_unavailable"),
        (errno.EROFS, 503, "store_unavailable"),
    ],
)
async def test_a_disk_that_fails_leaves_nothing_half_visible(
    server: TestServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    code: str,
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    path, _ = await begin(server, OTHER, len(DATA))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        whole = await put(server)
        part = await server.ask("PUT", f"{path}/parts/1", data=DATA)

    for answer in (whole, part):
        assert (answer.status, answer.code) == (status, code)
        assert "Retry-After" in answer.headers
    assert (await get(server)).status == 404
    assert (await server.ask("GET", path)).json["present"] == []
    assert (await put(server)).json["outcome"] == "stored"


async def test_a_blob_that_lost_its_end_is_not_answered_as_whole(
    server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(server)
    store = server.app[ARTIFACT_STORE]

    async def longer(_: str) -> int:
        return len(DATA) + 10

    monkeypatch.setattr(store, "stat", longer)
    request = f"GET /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    answer = await speak(server, request.encode())

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: 300010" in head
    assert len(body) < 300_010


async def test_the_description_says_that_bodies_are_bytes(server: TestServer) -> None:
    document = json.loads((await server.ask("GET", "/api/v1/openapi.json")).body)

    body = document["paths"]["/api/v1/blobs/{sha256}"]["put"]["requestBody"]
    assert body["content"] == {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
