"""POST /api/v1/blobs/batch: many small blobs in one body, and bodies that are none."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.artifact_stores import local_batches
from tests.support.http_server import Answer, TestServer, serving
from tracker.events import limits
from tracker.events.blob_batch import encode_blob_batch


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


def blob(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), data


async def post(server: TestServer, body: bytes) -> Answer:
    return await server.ask("POST", "/api/v1/blobs/batch", data=io.BytesIO(body))


async def test_a_batch_is_stored_and_read_again(server: TestServer) -> None:
    blobs = [blob(b"file %d" % number) for number in range(100)]

    answer = await post(server, encode_blob_batch([*blobs, blobs[0], ("0" * 64, b"not zeros")]))

    said = answer.json["blobs"]
    assert answer.status == 200
    assert [each["outcome"] for each in said] == ["stored"] * 100 + ["present", "refused"]
    assert [each["sha256"] for each in said[:100]] == [digest for digest, _ in blobs]
    assert said[101]["code"] == "digest_mismatch"
    for digest, data in blobs:
        assert (await server.ask("GET", f"/api/v1/blobs/{digest}")).body == data
    assert (await server.ask("HEAD", f"/api/v1/blobs/{'0' * 64}")).status == 404


async def test_an_empty_batch_and_an_empty_blob_are_fine(server: TestServer) -> None:
    assert (await post(server, b"")).json == {"blobs": []}
    assert (await post(server, encode_blob_batch([blob(b"")]))).json["blobs"][0]["outcome"] == (
        "stored"
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * 35, 400),
        (encode_blob_batch([blob(b"abc")])[:-1], 400),
        (struct.pack("<32sI", b"\0" * 32, limits.BLOB_BATCH_BLOB_BYTES_MAX + 1), 413),
        (encode_blob_batch([blob(b"a")] * (limits.BLOB_BATCH_BLOBS_MAX + 1)), 413),
        (b"\0" * (limits.BLOB_BATCH_BYTES_MAX + 1), 413),
    ],
)
async def test_a_body_that_is_no_batch_stores_nothing(
    server: TestServer, tmp_path: Path, body: bytes, status: int
) -> None:
    assert (await post(server, body)).status == status

    assert not list((tmp_path / "server" / "artifacts").rglob("blobs/*/*"))


async def test_a_full_disk_leaves_nothing_behind_and_the_batch_can_come_again(
    server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = encode_blob_batch([blob(b"%d" % number) for number in range(20)])
    with monkeypatch.context() as patch:

        def full(fd: int, data: memoryview, offset: int) -> None:
            if bytes(data) == b"13":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.pwrite(fd, data, offset)

        patch.setattr(local_batches, "write_all", full)
        answer = await post(server, body)

    assert (answer.status, answer.json["error"]["code"]) == (507, "store_full")
    assert not list((tmp_path / "server" / "artifacts").rglob("incoming/*"))
    assert not list((tmp_path / "server" / "artifacts").rglob("blobs/*/*"))
    assert {each["outcome"] for each in (await post(server, body)).json["blobs"]} == {"stored"}


async def test_without_a_way_to_sync_all_at_once_each_file_is_synced(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(local_batches, "_syncfs", lambda: None)

    def noted(fd: int) -> None:
        synced.append(fd)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)

    answer = await post(server, encode_blob_batch([blob(b"%d" % n) for n in range(20)]))

    assert answer.status == 200
    assert len(synced) >= 20
