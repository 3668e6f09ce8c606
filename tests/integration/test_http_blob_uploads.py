"""Uploads of blobs in parts, over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest import blob_bodies
from ingest.artifact_stores.cleaning import clean_once
from ingest.state import ARTIFACT_STORE
from tests.support.blob_server import (
    DATA,
    OTHER,
    PART,
    SHA256,
    artifacts,
    begin,
    get,
    put,
    serving_blobs,
)
from tests.support.http_server import TestServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving_blobs(tmp_path) as server:
        yield server


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
