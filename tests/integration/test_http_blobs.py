"""/api/v1/blobs over HTTP: whole, in ranges, in parts; and everything that may not be."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest import blob_bodies
from ingest.artifact_stores.cleaning import clean_once
from ingest.components import COUNTERS
from ingest.state import ARTIFACT_STORE
from tests.support.http_server import Answer, TestServer, serving
from tracker.events.limits import ARTIFACT_BYTES_MAX, ARTIFACT_PART_BYTES

PART = ARTIFACT_PART_BYTES
DATA = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server
        # Whatever a test has sent: no bug was met, nothing is under way, nothing half-done lies.
        assert server.app[COUNTERS].refusals["internal_error"] == 0
        await until_nothing_is_under_way(server)
        assert not list(artifacts(tmp_path).rglob("incoming/*"))


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


# -- whole --------------------------------------------------------------------------------


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


# -- ranges -------------------------------------------------------------------------------


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


# -- parts --------------------------------------------------------------------------------


async def begin(server: TestServer, sha256: str, size: int) -> tuple[str, Answer]:
    path = f"/api/v1/blobs/{sha256}/uploads"
    answer = await server.ask("POST", path, json={"size": size})
    return f"{path}/{answer.json.get('upload_id')}", answer


async def test_parts_out_of_order_become_the_blob(server: TestServer) -> None:
    data = random.Random(8).randbytes(PART + 1000)
    sha256 = hashlib.sha256(data).hexdigest()

    path, begun = await begin(server, sha256, len(data))
    last = await server.ask("PUT", f"{path}/parts/2", data=io.BytesIO(data[PART:]))
    early = await server.ask("POST", f"{path}/complete")
    state = await server.ask("GET", path)
    first = await server.ask("PUT", f"{path}/parts/1", data=io.BytesIO(data[:PART]))
    done = await server.ask("POST", f"{path}/complete")
    again = await server.ask("POST", f"{path}/complete")

    assert begun.json["part_bytes"] == PART
    assert (begun.json["part_count"], begun.json["present"], begun.json["urls"]) == (2, [], None)
    assert (early.status, early.code) == (409, "parts_missing")
    assert early.json["error"]["details"] == {"missing": [1], "count": 1}
    assert state.json["present"] == [2]
    assert (last.json, first.json) == ({"number": 2, "size": 1000}, {"number": 1, "size": PART})
    assert done.json == {"sha256": sha256, "size": len(data), "outcome": "stored"}
    assert again.json["outcome"] == "present"
    assert (await get(server, sha256, Range="bytes=-2000")).body == data[-2000:]


async def test_what_is_there_needs_no_upload(server: TestServer) -> None:
    await put(server)

    _, begun = await begin(server, SHA256, len(DATA))

    assert (begun.status, begun.json["is_stored"], begun.json["upload_id"]) == (200, True, None)


async def test_parts_of_another_blob_are_refused_at_the_end(server: TestServer) -> None:
    path, _ = await begin(server, OTHER, len(DATA))
    await server.ask("PUT", f"{path}/parts/1", data=DATA)

    answer = await server.ask("POST", f"{path}/complete")

    assert (answer.status, answer.code) == (422, "digest_mismatch")
    assert (await server.ask("GET", path)).code == "upload_not_found"
    assert (await get(server, OTHER)).status == 404


async def test_an_aborted_upload_is_gone(server: TestServer) -> None:
    path, _ = await begin(server, SHA256, len(DATA))

    assert (await server.ask("DELETE", path)).status == 204
    for method, rest in (("GET", ""), ("PUT", "/parts/1"), ("POST", "/complete"), ("DELETE", "")):
        answer = await server.ask(method, f"{path}{rest}")
        assert (answer.status, answer.code) == (404, "upload_not_found")


async def test_an_upload_belongs_to_its_blob(server: TestServer) -> None:
    path, _ = await begin(server, SHA256, len(DATA))

    answer = await server.ask("PUT", f"{path.replace(SHA256, OTHER)}/parts/1", data=DATA)

    assert (answer.status, answer.code) == (404, "upload_not_found")


@pytest.mark.parametrize("number", ["0", "2", "-1", "1.5", "x", "99999999", "\u0661", "%2e%2e"])
async def test_a_part_that_does_not_exist_is_refused(server: TestServer, number: str) -> None:
    path, _ = await begin(server, SHA256, len(DATA))

    answer = await server.ask("PUT", f"{path}/parts/{number}", data=b"x")

    assert (answer.status, answer.code) in [(404, "no_such_part"), (404, "not_found")]


@pytest.mark.parametrize("size", [0, len(DATA) - 1, len(DATA) + 1])
async def test_a_part_of_another_size_is_refused(server: TestServer, size: int) -> None:
    path, _ = await begin(server, SHA256, len(DATA))

    async def unannounced() -> AsyncIterator[bytes]:
        yield bytes(size)

    for body in (bytes(size), unannounced()):
        answer = await server.ask("PUT", f"{path}/parts/1", data=body)
        assert (answer.status, answer.code) == (422, "wrong_part_size")
    assert (await server.ask("GET", path)).json["present"] == []


@pytest.mark.parametrize("body", ["{}", '{"size": 0}', '{"size": -5}', '{"size": "1"}', "[", "7"])
async def test_an_upload_needs_a_size(server: TestServer, body: str) -> None:
    answer = await server.ask("POST", f"/api/v1/blobs/{SHA256}/uploads", data=body)

    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_damaged_part_is_asked_for_again(server: TestServer, tmp_path: Path) -> None:
    """As a power loss leaves it: the part is marked, its bytes never reached the disk."""
    data = random.Random(9).randbytes(2 * PART)
    sha256 = hashlib.sha256(data).hexdigest()
    path, begun = await begin(server, sha256, len(data))
    for number in (1, 2):
        part = io.BytesIO(data[(number - 1) * PART : number * PART])
        await server.ask("PUT", f"{path}/parts/{number}", data=part)
    with (artifacts(tmp_path) / "uploads" / begun.json["upload_id"] / "data").open("r+b") as file:
        file.seek(PART)
        file.write(bytes(4096))

    refused = await server.ask("POST", f"{path}/complete")
    await server.ask("PUT", f"{path}/parts/2", data=io.BytesIO(data[PART:]))
    done = await server.ask("POST", f"{path}/complete")

    assert refused.json["error"]["details"] == {"missing": [2], "count": 1}
    assert done.json["outcome"] == "stored"


async def test_nobody_completes_an_upload_under_a_part_that_is_coming_in(
    server: TestServer,
) -> None:
    path, _ = await begin(server, SHA256, len(DATA))
    await server.ask("PUT", f"{path}/parts/1", data=DATA)
    may_go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA[:100]
        await may_go_on.wait()
        yield DATA[100:]

    again = asyncio.create_task(server.ask("PUT", f"{path}/parts/1", data=slow()))
    while server.app[blob_bodies.BLOB_TRANSFERS].under_way == 0:
        await asyncio.sleep(0.01)
    during = await server.ask("POST", f"{path}/complete")
    may_go_on.set()
    await again

    assert (during.status, during.code) == (503, "busy")
    assert (await server.ask("POST", f"{path}/complete")).json["outcome"] == "stored"


async def test_abandoned_uploads_are_cleaned_after_a_day(
    server: TestServer, tmp_path: Path
) -> None:
    old, begun = await begin(server, SHA256, len(DATA))
    await server.ask("PUT", f"{old}/parts/1", data=DATA)
    young, _ = await begin(server, OTHER, len(DATA))
    folder = artifacts(tmp_path) / "uploads" / begun.json["upload_id"]
    half = artifacts(tmp_path) / "incoming" / ("0" * 32)
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half a blob of a server that was killed")
    a_day_ago = folder.stat().st_mtime - 24 * 3600 - 5
    for path in (folder, half, *folder.iterdir()):
        os.utime(path, (a_day_ago, a_day_ago))

    await clean_once(server.app[ARTIFACT_STORE])

    assert not folder.exists()
    assert not half.exists()
    assert (await server.ask("GET", old)).status == 404
    assert (await server.ask("GET", young)).status == 200


# -- what may not be ----------------------------------------------------------------------

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
