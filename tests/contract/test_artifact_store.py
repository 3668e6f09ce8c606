"""Every artifact store keeps the whole contract of ingest/artifact_stores/base.py."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from ingest.artifact_stores.base import ArtifactStore, PutOutcome
from ingest.artifact_stores.local import open_local_store
from ingest.artifact_stores.s3 import open_s3_store
from ingest.blob_uploads import Digest, Upload
from ingest.errors import (
    BlobNotFound,
    DigestMismatch,
    InvalidRequest,
    NoSuchPart,
    PartsMissing,
    TooLarge,
    UploadNotFound,
    WrongPartSize,
)
from tests.support.s3_server import BUCKET, S3Server, running_s3
from tracker.events.limits import ARTIFACT_BYTES_MAX

PART = 5 * 1024 * 1024  # the smallest that S3 takes
NOW_AND_A_DAY_US = 24 * 3600 * 1_000_000


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


class Backend:
    """A place for artifacts; `open` it as often as servers would."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder

    @asynccontextmanager
    async def open(self, workspace: str = "default") -> AsyncIterator[ArtifactStore]:
        if self.kind == "local":
            async with open_local_store(self.folder, workspace=workspace, part_bytes=PART) as local:
                yield local
        else:
            prefix = f"{self.folder.name}/"
            async with open_s3_store(
                BUCKET, prefix=prefix, workspace=workspace, part_bytes=PART
            ) as s3:
                yield s3


@pytest.fixture(params=["local", "s3"])
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Backend:
    if request.param == "s3":
        server = cast(S3Server, request.getfixturevalue("s3_server"))
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
    return Backend(request.param, tmp_path)


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[ArtifactStore]:
    async with backend.open() as store:
        yield store


def blob(size: int) -> tuple[Digest, bytes]:
    data = random.Random(size).randbytes(size)
    return Digest(hashlib.sha256(data).hexdigest()), data


async def chunks_of(data: bytes, chunk: int = 700_001) -> AsyncIterator[bytes]:
    for start in range(0, len(data), chunk):
        yield data[start : start + chunk]


async def broken_off(data: bytes) -> AsyncIterator[bytes]:
    yield data
    raise ConnectionResetError("the sender has gone")


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("nobody needs these bytes")
    yield b""


def part_of(upload: Upload, data: bytes, number: int) -> AsyncIterator[bytes]:
    start = upload.offset_of(number)
    return chunks_of(data[start : start + upload.size_of(number)])


async def put_parts(store: ArtifactStore, upload: Upload, data: bytes, *numbers: int) -> None:
    for number in numbers:
        await store.uploads.put_part(upload, number, part_of(upload, data, number))


async def read(store: ArtifactStore, digest: Digest, **asked: int) -> bytes:
    async with store.open(digest, **asked) as chunks:
        pieces = [piece async for piece in chunks]
    assert all(0 < len(piece) <= 1024 * 1024 for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, 4096, PART - 1, PART, 2 * PART + 12_345])
async def test_what_was_put_is_read_again(store: ArtifactStore, size: int) -> None:
    digest, data = blob(size)

    outcome = await store.put(digest, chunks_of(data))

    assert outcome is PutOutcome.STORED
    assert await store.stat(digest) == size
    assert await read(store, digest) == data


async def test_a_blob_that_is_present_is_not_read_again(store: ArtifactStore) -> None:
    digest, data = blob(1000)
    await store.put(digest, chunks_of(data))

    assert await store.put(digest, unread()) is PutOutcome.PRESENT
    assert await read(store, digest) == data


async def test_the_same_blob_put_by_several_at_once_is_one_blob(store: ArtifactStore) -> None:
    digest, data = blob(PART + 1)

    outcomes = await asyncio.gather(*(store.put(digest, chunks_of(data)) for _ in range(3)))

    assert PutOutcome.STORED in outcomes
    assert await read(store, digest) == data
    assert await store.clean(before_us=later_us()) == 0  # and nothing is left over


@pytest.mark.parametrize("size", [10, 2 * PART + 1])
async def test_bytes_that_are_not_what_their_name_says_are_refused(
    store: ArtifactStore, size: int
) -> None:
    digest, data = blob(size)
    wrong = data[:-1] + bytes([data[-1] ^ 1])

    with pytest.raises(DigestMismatch) as error:
        await store.put(digest, chunks_of(wrong))

    assert error.value.details["sha256"] == hashlib.sha256(wrong).hexdigest()
    assert await store.stat(digest) is None
    assert await store.clean(before_us=later_us()) == 0


@pytest.mark.parametrize("size", [10, PART, 2 * PART])
async def test_a_put_that_breaks_off_leaves_nothing(store: ArtifactStore, size: int) -> None:
    digest, data = blob(size)

    with pytest.raises(ConnectionResetError):
        await store.put(digest, broken_off(data))

    assert await store.stat(digest) is None
    assert await store.clean(before_us=later_us()) == 0
    assert await store.put(digest, chunks_of(data)) is PutOutcome.STORED


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (10, 20), (0, PART), (PART - 1, PART + 1), (PART, 10 * PART)]
)
async def test_a_range_is_just_those_bytes(store: ArtifactStore, start: int, end: int) -> None:
    digest, data = blob(PART + 100)
    await store.put(digest, chunks_of(data))

    assert await read(store, digest, start=start, end=end) == data[start:end]
    assert await read(store, digest, start=start) == data[start:]


async def test_a_range_beyond_the_end_is_empty(store: ArtifactStore) -> None:
    digest, data = blob(10)
    await store.put(digest, chunks_of(data))

    assert await read(store, digest, start=10, end=20) == b""
    assert await read(store, digest, start=5, end=5) == b""


async def test_what_is_not_there_is_not_found(store: ArtifactStore) -> None:
    digest, _ = blob(10)

    assert await store.stat(digest) is None
    assert await store.delete(digest) is False
    with pytest.raises(BlobNotFound):
        await read(store, digest)
    with pytest.raises(BlobNotFound):
        await read(store, digest, start=1, end=2)


async def test_a_deleted_blob_is_gone_and_can_be_put_again(store: ArtifactStore) -> None:
    digest, data = blob(10)
    await store.put(digest, chunks_of(data))

    assert await store.delete(digest) is True
    assert await store.stat(digest) is None
    assert await store.put(digest, chunks_of(data)) is PutOutcome.STORED


async def test_workspaces_do_not_see_each_other(store: ArtifactStore, backend: Backend) -> None:
    digest, data = blob(10)
    await store.put(digest, chunks_of(data))
    upload = await store.uploads.create(digest, size=20)

    async with backend.open("other") as other:
        assert await other.stat(digest) is None
        with pytest.raises(UploadNotFound):
            await other.uploads.find(upload.upload_id)


@pytest.mark.parametrize(
    "name", ["", "../x", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "/" * 64, "a\0" * 32]
)
async def test_only_a_digest_names_a_blob(store: ArtifactStore, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.stat(Digest(name))
    with pytest.raises(InvalidRequest):
        await store.put(Digest(name), unread())
    with pytest.raises(InvalidRequest):
        await store.uploads.create(Digest(name), size=1)
    with pytest.raises(UploadNotFound):
        await store.uploads.find(name)


# -- parts --------------------------------------------------------------------------------


async def test_parts_in_any_order_become_the_blob(store: ArtifactStore) -> None:
    digest, data = blob(3 * PART + 17)
    upload = await store.uploads.create(digest, size=len(data))

    await put_parts(store, upload, data, 4, 2, 1, 1)
    await asyncio.gather(put_parts(store, upload, data, 3), put_parts(store, upload, data, 3))
    assert await store.stat(digest) is None
    outcome = await store.uploads.complete(upload)

    assert outcome is PutOutcome.STORED
    assert await read(store, digest) == data
    with pytest.raises(UploadNotFound):
        await store.uploads.find(upload.upload_id)


async def test_an_upload_goes_on_in_another_server(store: ArtifactStore, backend: Backend) -> None:
    digest, data = blob(2 * PART + 1)
    begun = await store.uploads.create(digest, size=len(data))
    await put_parts(store, begun, data, 1, 3)

    async with backend.open() as other:
        upload = await other.uploads.find(begun.upload_id)
        assert upload == begun
        assert await other.uploads.parts(upload) == {1: PART, 3: 1}
        await put_parts(other, upload, data, 2)
        await other.uploads.complete(upload)

    assert await read(store, digest) == data


async def test_completing_twice_is_fine(store: ArtifactStore) -> None:
    digest, data = blob(10)
    upload = await store.uploads.create(digest, size=len(data))
    await put_parts(store, upload, data, 1)

    await store.uploads.complete(upload)

    assert await store.uploads.complete(upload) is PutOutcome.PRESENT


async def test_completing_names_the_parts_that_are_missing(store: ArtifactStore) -> None:
    digest, data = blob(4 * PART)
    upload = await store.uploads.create(digest, size=len(data))
    await put_parts(store, upload, data, 1, 3)

    with pytest.raises(PartsMissing) as error:
        await store.uploads.complete(upload)

    assert error.value.details == {"missing": [2, 4], "count": 2}
    assert await store.stat(digest) is None
    await put_parts(store, upload, data, 2, 4)
    assert await store.uploads.complete(upload) is PutOutcome.STORED


async def test_a_part_put_again_replaces_the_earlier_one(store: ArtifactStore) -> None:
    digest, data = blob(PART + 5)
    upload = await store.uploads.create(digest, size=len(data))
    await store.uploads.put_part(upload, 2, chunks_of(b"wrong"))
    await put_parts(store, upload, data, 1)
    await asyncio.sleep(1.1)  # the resolution of times in S3

    await put_parts(store, upload, data, 2)

    assert await store.uploads.complete(upload) is PutOutcome.STORED
    assert await read(store, digest) == data


async def test_parts_that_are_not_the_blob_are_refused_and_forgotten(
    store: ArtifactStore,
) -> None:
    digest, data = blob(PART + 5)
    upload = await store.uploads.create(digest, size=len(data))
    await put_parts(store, upload, data, 1)
    await store.uploads.put_part(upload, 2, chunks_of(b"wrong"))

    with pytest.raises(DigestMismatch):
        await store.uploads.complete(upload)

    assert await store.stat(digest) is None
    with pytest.raises(UploadNotFound):
        await store.uploads.complete(upload)


@pytest.mark.parametrize("size", [0, 4, 6])
async def test_a_part_of_another_size_is_refused(store: ArtifactStore, size: int) -> None:
    digest, data = blob(PART + 5)
    upload = await store.uploads.create(digest, size=len(data))

    with pytest.raises(WrongPartSize) as error:
        await store.uploads.put_part(upload, 2, chunks_of(bytes(size)))

    assert error.value.details["size"] == 5
    assert await store.uploads.parts(upload) == {}


async def test_a_part_that_breaks_off_is_not_present(store: ArtifactStore) -> None:
    digest, data = blob(PART + 5)
    upload = await store.uploads.create(digest, size=len(data))

    with pytest.raises(ConnectionResetError):
        await store.uploads.put_part(upload, 1, broken_off(data[:PART]))

    assert await store.uploads.parts(upload) == {}


@pytest.mark.parametrize("number", [-1, 0, 3, 10**9])
async def test_a_part_that_does_not_exist_is_refused(store: ArtifactStore, number: int) -> None:
    upload = await store.uploads.create(blob(1)[0], size=PART + 5)

    with pytest.raises(NoSuchPart):
        await store.uploads.put_part(upload, number, unread())


@pytest.mark.parametrize(
    ("size", "error"), [(0, InvalidRequest), (ARTIFACT_BYTES_MAX + 1, TooLarge)]
)
async def test_an_upload_has_a_size_that_its_parts_can_have(
    store: ArtifactStore, size: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await store.uploads.create(blob(1)[0], size=size)


async def test_an_aborted_upload_is_gone(store: ArtifactStore) -> None:
    digest, data = blob(PART + 5)
    upload = await store.uploads.create(digest, size=len(data))
    await put_parts(store, upload, data, 1, 2)

    await store.uploads.abort(upload)
    await store.uploads.abort(upload)

    for ask in (
        store.uploads.find(upload.upload_id),
        store.uploads.parts(upload),
        store.uploads.complete(upload),
        put_parts(store, upload, data, 1),
    ):
        with pytest.raises(UploadNotFound):
            await cast(Any, ask)
    assert await store.stat(digest) is None


async def test_of_two_uploads_of_one_blob_both_succeed(store: ArtifactStore) -> None:
    digest, data = blob(PART + 5)
    first = await store.uploads.create(digest, size=len(data))
    second = await store.uploads.create(digest, size=len(data))
    await put_parts(store, first, data, 1, 2)
    await store.uploads.complete(first)

    assert await store.uploads.complete(second) is PutOutcome.PRESENT
    with pytest.raises(UploadNotFound):
        await store.uploads.find(second.upload_id)
    assert await read(store, digest) == data


def later_us() -> int:
    """A time beyond now: S3 tells times in whole seconds."""
    return time.time_ns() // 1000 + 2_000_000


async def test_only_abandoned_uploads_are_cleaned_away(store: ArtifactStore) -> None:
    digest, data = blob(PART + 5)
    kept, _ = blob(30)
    await store.put(kept, chunks_of(blob(30)[1]))
    upload = await store.uploads.create(digest, size=len(data))
    await put_parts(store, upload, data, 1)

    assert await store.clean(before_us=time.time_ns() // 1000 - NOW_AND_A_DAY_US) == 0
    assert await store.uploads.parts(upload) == {1: PART}

    assert await store.clean(before_us=later_us()) == 1
    with pytest.raises(UploadNotFound):
        await store.uploads.find(upload.upload_id)
    assert await store.stat(kept) == 30


async def test_presigned_urls_reach_the_store_itself(
    store: ArtifactStore, backend: Backend
) -> None:
    """The parts go up and the blob comes down without the server, where there are URLs."""
    digest, data = blob(PART + 5)
    upload = await store.uploads.create(digest, size=len(data))

    urls = await store.uploads.part_urls(upload, [1, 2])

    if backend.kind == "local":
        assert urls is None
        assert await store.download_url(digest) is None
        return
    assert urls is not None
    async with aiohttp.ClientSession() as session:
        for part in urls:
            assert part.expires_us > time.time_ns() // 1000
            start = upload.offset_of(part.number)
            body = data[start : start + PART]
            async with session.put(part.url, data=io.BytesIO(body[:-1])) as answer:
                assert answer.status == 403  # a URL takes a part in its right size only
            async with session.put(part.url, data=io.BytesIO(body)) as answer:
                assert answer.status == 200
        await store.uploads.complete(upload)
        found = await store.download_url(digest)
        assert found is not None
        async with session.get(found.url) as answer:
            assert await answer.read() == data
            assert answer.headers["Content-Disposition"].startswith("attachment")
