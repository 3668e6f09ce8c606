"""Every artifact store's many, unnamed and noted blobs, as ingest/artifact_stores/base.py says."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from ingest.artifact_stores import s3_ledger
from ingest.artifact_stores.base import ArtifactStore, PutOutcome
from ingest.artifact_stores.ledger import Note, keep
from ingest.artifact_stores.local import open_local_store
from ingest.artifact_stores.s3 import open_s3_store
from ingest.blob_uploads import Digest
from ingest.errors import Busy, DigestMismatch
from tests.support.s3_server import BUCKET, S3Server, running_s3

PART = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["local", "s3"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ArtifactStore]:
    async with opened(request, tmp_path, monkeypatch) as store:
        yield store


@asynccontextmanager
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ArtifactStore]:
    if request.param == "local":
        async with open_local_store(tmp_path, workspace="default", part_bytes=PART) as local:
            yield local
        return
    server = cast(S3Server, request.getfixturevalue("s3_server"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_ledger.S3Ledger, "settle_s", 0.05)
    async with open_s3_store(
        BUCKET, prefix=f"{tmp_path.name}/", workspace="default", part_bytes=PART
    ) as s3:
        yield s3


def blob(data: bytes) -> tuple[Digest, memoryview]:
    return Digest(hashlib.sha256(data).hexdigest()), memoryview(data)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(store: ArtifactStore, digest: Digest) -> bytes:
    async with store.open(digest) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_many_blobs_are_stored_and_each_is_answered_for(store: ArtifactStore) -> None:
    many = [blob(b"%d" % number * number) for number in range(40)]
    wrong = (blob(b"never stored")[0], memoryview(b"other bytes"))
    await store.put(many[3][0], pieces(bytes(many[3][1])))

    outcomes = await store.put_many([*many, many[5], wrong])

    assert outcomes[3] is PutOutcome.PRESENT
    assert {o for i, o in enumerate(outcomes[:40]) if i != 3} == {PutOutcome.STORED}
    assert outcomes[40] in (PutOutcome.PRESENT, PutOutcome.STORED)  # S3: both at once
    assert isinstance(outcomes[41], DigestMismatch)
    for digest, data in many:
        assert await read(store, digest) == data


async def test_bytes_without_a_name_get_the_one_they_have(store: ArtifactStore) -> None:
    data = b"x" * 100_000
    digest = Digest(hashlib.sha256(data * 3).hexdigest())

    first = await store.put_unnamed(pieces(data, data, data))
    again = await store.put_unnamed(pieces(data, data, data))
    empty = await store.put_unnamed(pieces())

    assert first == (digest, 300_000, PutOutcome.STORED)
    assert again == (digest, 300_000, PutOutcome.PRESENT)
    assert empty[1:] == (0, PutOutcome.STORED)
    assert await read(store, digest) == data * 3


async def test_the_ledger_lists_blobs_with_their_size_and_time(store: ArtifactStore) -> None:
    digest, data = blob(b"listed")
    await store.put(digest, pieces(bytes(data)))

    (found,) = [each async for each in store.ledger.blobs()]

    assert (found.digest, found.size) == (digest, 6)
    assert abs(found.time_us / 1e6 - time.time()) < 60


async def test_notes_are_written_listed_and_removed(store: ArtifactStore) -> None:
    digest, _ = blob(b"noted")

    assert not await store.ledger.has(Note.CONDEMNED, digest)
    await store.ledger.write(Note.CONDEMNED, digest)
    await store.ledger.write(Note.CONDEMNED, digest)

    ((noted, time_us),) = [each async for each in store.ledger.notes(Note.CONDEMNED)]
    assert noted == digest
    assert abs(time_us / 1e6 - time.time()) < 60
    assert not await store.ledger.has(Note.WANTED, digest)
    await store.ledger.remove(Note.CONDEMNED, digest)
    await store.ledger.remove(Note.CONDEMNED, digest)
    assert not await store.ledger.has(Note.CONDEMNED, digest)


async def test_keeping_takes_a_condemnation_back(store: ArtifactStore) -> None:
    digest, _ = blob(b"kept")
    await store.ledger.write(Note.CONDEMNED, digest)

    await keep(store.ledger, digest)

    assert not await store.ledger.has(Note.CONDEMNED, digest)
    assert not await store.ledger.has(Note.WANTED, digest)


async def test_a_blob_that_is_being_removed_is_not_called_present(store: ArtifactStore) -> None:
    digest, _ = blob(b"going")
    for note in (Note.CONDEMNED, Note.REMOVING):
        await store.ledger.write(note, digest)

    async with store.ledger.collecting():
        with pytest.raises(Busy):
            await keep(store.ledger, digest)

    await keep(store.ledger, digest)  # that collector is gone
    assert not await store.ledger.has(Note.CONDEMNED, digest)


async def test_only_one_collector_works_at_a_time(store: ArtifactStore) -> None:
    async with store.ledger.collecting():
        assert await store.ledger.is_collecting()
        with pytest.raises(Busy):
            async with store.ledger.collecting():
                pass

    assert not await store.ledger.is_collecting()
    async with store.ledger.collecting():
        pass
