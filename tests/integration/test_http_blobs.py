"""/api/v1/blobs over HTTP: whole and in ranges."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.blob_server import (
    DATA,
    OTHER,
    SHA256,
    blob_path,
    get,
    put,
    serving_blobs,
    speak,
)
from tests.support.http_server import TestServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving_blobs(tmp_path) as server:
        yield server


async def test_a_blob_is_stored_once_and_read_again(server: TestServer, tmp_path: Path) -> None:
    first, second = await put(server), await put(server)
    read = await get(server)

    facts = {"sha256": SHA256, "size": len(DATA)}
    assert (first.status, first.json) == (200, facts | {"outcome": "stored"})
    assert (second.status, second.json) == (200, facts | {"outcome": "present"})
    assert (read.status, read.body) == (200, DATA)
    assert blob_path(tmp_path).read_bytes() == DATA


async def test_an_empty_blob_is_one(server: TestServer) -> None:
    empty = hashlib.sha256(b"").hexdigest()

    assert (await put(server, empty, b"")).json["outcome"] == "stored"
    assert (await get(server, empty)).body == b""


async def test_a_body_of_unknown_length_is_taken(server: TestServer) -> None:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 50_000):
            yield DATA[start : start + 50_000]

    answer = await server.ask("PUT", f"/api/v1/blobs/{SHA256}", data=body())

    assert answer.json["outcome"] == "stored"
    assert (await get(server)).body == DATA


async def test_bytes_with_another_digest_are_refused(server: TestServer, tmp_path: Path) -> None:
    answer = await put(server, OTHER)

    assert (answer.status, answer.code) == (422, "digest_mismatch")
    assert answer.json["error"]["details"]["sha256"] == SHA256
    assert (await get(server, OTHER)).status == 404
    assert not blob_path(tmp_path, OTHER).exists()


async def test_head_says_the_size_and_nothing_else(server: TestServer) -> None:
    await put(server)

    there = await server.ask("HEAD", f"/api/v1/blobs/{SHA256}")
    not_there = await server.ask("HEAD", f"/api/v1/blobs/{OTHER}")

    assert (there.status, there.headers["Content-Length"], there.body) == (200, "300000", b"")
    assert (not_there.status, not_there.body) == (404, b"")


async def test_a_browser_runs_nothing_of_a_blob(server: TestServer) -> None:
    page = b"<!doctype html><script>alert(1)</script>"
    await put(server, hashlib.sha256(page).hexdigest(), page)

    for method in ("GET", "HEAD"):
        answer = await server.ask(method, f"/api/v1/blobs/{hashlib.sha256(page).hexdigest()}")

        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_a_body_that_nobody_needs_is_not_waited_for(server: TestServer) -> None:
    await put(server)
    head = f"PUT /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n"

    answer = await speak(server, f"{head}\r\n".encode(), until=b"}")

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"outcome":"present"' in answer


@pytest.mark.parametrize("is_present", [True, False])
async def test_a_client_that_asks_first_sends_only_what_is_needed(
    server: TestServer, is_present: bool
) -> None:
    if is_present:
        await put(server)
    head = (
        f"PUT /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 300000\r\nExpect: 100-continue\r\n\r\n"
    )

    answer = await speak(server, head.encode(), until=b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK" if is_present else b"HTTP/1.1 100 Continue")


@pytest.mark.parametrize(
    "address",
    [
        f"/api/v1/blobs/{SHA256}",
        "/api/v1/runs/{run_id}/artifacts/a.bin",
        "/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/a.bin",
    ],
)
async def test_who_is_asked_for_the_body_sends_it_and_may_send_more(
    server: TestServer, address: str
) -> None:
    """As curl does with every file: it waits for 100 Continue before the body."""
    created = await server.ask("POST", "/api/2.0/mlflow/runs/create", json={"experiment_id": "0"})
    place = address.format(run_id=created.json["run"]["info"]["run_id"])
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(60):
            for _ in range(2):
                writer.write(
                    f"PUT {place}?again HTTP/1.1\r\nHost: localhost\r\n"
                    f"Content-Length: {len(DATA)}\r\nExpect: 100-continue\r\n\r\n".encode()
                )
                first = await reader.readuntil(b"\r\n\r\n")
                if first.startswith(b"HTTP/1.1 200"):
                    break  # it is present already: whoever has not sent it need not
                writer.write(DATA)
                answer = await reader.readuntil(b"\r\n\r\n")

                assert first.startswith(b"HTTP/1.1 100 Continue")
                assert answer.startswith(b"HTTP/1.1 200 OK")
                length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
    finally:
        writer.close()


async def test_who_is_not_asked_for_the_body_is_heard_no_more(server: TestServer) -> None:
    await put(server)
    head = (
        f"PUT /api/v1/blobs/{SHA256} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 300\r\nExpect: 100-continue\r\n\r\n"
    )

    said = await speak(
        server, head.encode() + b"x" * 300 + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    )

    assert said.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close" in said


async def test_a_blob_without_a_url_of_its_own_says_so(server: TestServer) -> None:
    await put(server)

    answer = await server.ask("GET", f"/api/v1/blobs/{SHA256}/url")

    assert answer.json == {"sha256": SHA256, "size": 300_000, "url": None, "expires_us": None}


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-99", 10, 100),
        ("bytes=299990-", 299_990, 300_000),
        ("bytes=-5", 299_995, 300_000),
        ("bytes=-900000", 0, 300_000),
        ("bytes=299999-900000", 299_999, 300_000),
    ],
)
async def test_a_range_is_answered_with_just_that(
    server: TestServer, asked: str, start: int, end: int
) -> None:
    await put(server)

    answer = await get(server, Range=asked)

    assert (answer.status, answer.body) == (206, DATA[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/300000"


@pytest.mark.parametrize("asked", ["bytes=a-b", "lines=1-2", "bytes=5-1", "bytes=0-1,5-9", "x"])
async def test_a_range_that_makes_no_sense_is_ignored(server: TestServer, asked: str) -> None:
    await put(server)

    answer = await get(server, Range=asked)

    assert (answer.status, answer.body) == (200, DATA)


async def test_a_range_beyond_the_end_is_refused(server: TestServer) -> None:
    await put(server)

    answer = await get(server, Range="bytes=300000-")

    assert (answer.status, answer.code) == (416, "range_not_satisfiable")
    assert answer.json["error"]["details"]["size"] == 300_000


async def test_a_range_of_another_version_is_the_whole(server: TestServer) -> None:
    await put(server)
    headers = {"Range": "bytes=0-9", "If-Range": f'"{OTHER}"'}

    assert (await get(server, **headers)).status == 200
    assert (await get(server, **headers | {"If-Range": f'"{SHA256}"'})).status == 206
