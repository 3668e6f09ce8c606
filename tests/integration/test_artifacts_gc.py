"""Garbage collection of blobs: what it keeps, what it removes, and what it says before."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from ingest.artifact_stores import s3_ledger
from ingest.artifact_stores.base import ArtifactStore
from ingest.artifact_stores.ledger import Note
from ingest.artifact_stores.local import open_local_store
from ingest.artifact_stores.s3 import open_s3_store
from ingest.blob_intake import present_size, receive
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import Busy, StoreUnavailable
from ingest.gc import GcPlan, GcReport, collect, undo
from ingest.gc_references import SpoolReferences
from tests.support.s3_server import BUCKET, S3Server, running_s3
from tests.support.spools import meta_for_tests
from tracker.events.types import Event
from tracker.spool.folder import SpoolRoot
from tracker.spool.staging import Staging
from tracker.spool.writer import SpoolWriter

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["local", "s3"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ArtifactStore]:
    if request.param == "local":
        async with open_local_store(tmp_path, workspace="default") as local:
            yield local
        return
    server = cast(S3Server, request.getfixturevalue("s3_server"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_ledger.S3Ledger, "settle_s", 0.02)
    async with open_s3_store(BUCKET, prefix=f"{tmp_path.name}/", workspace="default") as s3:
        yield s3


class Named:
    """References that a test sets. `then` is what happens when they are asked for."""

    def __init__(self, *digests: str) -> None:
        self.digests = set(digests)
        self.asked = 0

    async def of(self, digests: Sequence[Digest]) -> frozenset[str]:
        self.asked += 1
        return frozenset(self.digests.intersection(digests))


def sha256_of(data: bytes) -> Digest:
    return digest_of(hashlib.sha256(data).hexdigest())


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def put(store: ArtifactStore, data: bytes) -> Digest:
    digest = sha256_of(data)
    await receive(store, digest, pieces(data))
    return digest


async def days_later(
    store: ArtifactStore, references: Named, days: float, *, is_dry_run: bool = False
) -> GcReport:
    """A collection whose clock is `days` ahead."""
    ahead_us = round(days * DAY_S * 1e6)
    plan = GcPlan(is_dry_run=is_dry_run, now_us=lambda: time.time_ns() // 1000 + ahead_us)
    return await collect({"default": store}, [references], plan)


async def test_what_nobody_refers_to_is_condemned_first_and_removed_a_week_later(
    store: ArtifactStore,
) -> None:
    kept, gone = await put(store, b"kept"), await put(store, b"gone!")
    named = Named(kept)

    at_once = await days_later(store, named, 0)
    first = await days_later(store, named, 8)
    last = await days_later(store, named, 7.1)

    assert (at_once.young.blobs, at_once.condemned.blobs) == (1, 0)
    assert (first.condemned.blobs, first.condemned.bytes) == (1, 5)
    assert first.condemned.digests == [gone]
    assert first.referred.blobs == 1
    assert (last.removed.blobs, last.removed.digests) == (1, [gone])
    assert await store.stat(gone) is None
    assert await store.stat(kept) == 4
    for note in Note:
        assert [each async for each in store.ledger.notes(note)] == []


@pytest.mark.parametrize("store", ["local"], indirect=True)
async def test_a_condemned_blob_waits_until_the_undo_window_is_over(
    store: ArtifactStore, tmp_path: Path
) -> None:
    digest = await put(store, b"data")
    month_ago = time.time() - 30 * DAY_S
    os.utime(next(tmp_path.rglob(f"blobs/*/{digest}")), (month_ago, month_ago))

    condemned = await days_later(store, Named(), 0)
    waiting = [await days_later(store, Named(), days) for days in (0, 3, 6.9)]
    last = await days_later(store, Named(), 7.1)

    assert condemned.condemned.blobs == 1
    assert [each.waiting.blobs for each in waiting] == [1, 1, 1]
    assert last.removed.digests == [digest]


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(store: ArtifactStore) -> None:
    gone = await put(store, b"gone")

    dry = await days_later(store, Named(), 8, is_dry_run=True)
    await days_later(store, Named(), 8)
    dry_again = await days_later(store, Named(), 16, is_dry_run=True)

    assert (dry.condemned.blobs, dry.is_dry_run) == (1, True)
    assert dry_again.removed.digests == [gone]
    assert await store.stat(gone) == 4


async def test_a_condemned_blob_that_is_logged_again_is_taken_back(store: ArtifactStore) -> None:
    digest = await put(store, b"data")
    await days_later(store, Named(), 8)

    report = await days_later(store, Named(digest), 16)
    after = await days_later(store, Named(), 24)

    assert report.restored.digests == [digest]
    assert (after.condemned.blobs, after.removed.blobs) == (1, 0)


async def test_whoever_is_told_that_it_is_present_keeps_it(store: ArtifactStore) -> None:
    digest = await put(store, b"data")
    await days_later(store, Named(), 8)

    assert await present_size(store, digest) == 4
    after = await days_later(store, Named(), 16)

    assert (after.removed.blobs, after.condemned.blobs) == (0, 1)
    await put(store, b"data")  # the same again
    assert not await store.ledger.has(Note.CONDEMNED, digest)


async def test_undo_takes_all_condemnations_back(store: ArtifactStore) -> None:
    digest = await put(store, b"data")
    await days_later(store, Named(), 8)

    report = await undo({"default": store})
    after = await days_later(store, Named(), 16)

    assert report.restored.digests == [digest]
    assert (after.removed.blobs, after.condemned.blobs) == (0, 1)


async def test_what_is_referred_to_since_the_first_look_is_spared(store: ArtifactStore) -> None:
    digest = await put(store, b"data")
    await days_later(store, Named(), 8)

    class Later(Named):
        async def of(self, digests: Sequence[Digest]) -> frozenset[str]:
            await super().of(digests)
            return frozenset({digest} if self.asked > 1 else ())

    report = await days_later(store, Later(), 16)

    assert (report.spared.blobs, report.removed.blobs) == (1, 0)
    assert await store.stat(digest) == 4


async def test_references_that_cannot_be_asked_for_remove_nothing(store: ArtifactStore) -> None:
    digest = await put(store, b"data")
    await days_later(store, Named(), 8)

    class Unknown(Named):
        async def of(self, digests: Sequence[Digest]) -> frozenset[str]:
            raise StoreUnavailable("nobody knows")

    with pytest.raises(StoreUnavailable):
        await days_later(store, Unknown(), 16)
    assert await store.stat(digest) == 4


async def test_a_removal_that_meets_a_wish_at_any_step_is_safe(store: ArtifactStore) -> None:
    """The uploader comes between any two operations of the collector on the ledger."""
    for step in range(12):
        digest = await put(store, b"data %d" % step)
        await days_later(store, Named(), 8)
        outcome = await _uploaded_at(store, digest, step)

        if outcome is not None:  # it was told that the blob is there
            assert await store.stat(digest) is not None, step
        await days_later(store, Named(), 7.1)


async def _uploaded_at(store: ArtifactStore, digest: Digest, step: int) -> int | None:
    ledger, count, outcome = store.ledger, 0, None
    real = {name: getattr(ledger, name) for name in ("has", "write", "remove")}

    async def ask() -> None:
        nonlocal outcome, count
        count += 1
        if count - 1 != step:
            return
        for name, method in real.items():
            setattr(ledger, name, method)
        try:
            outcome = await present_size(store, digest)
        except Busy:
            outcome = None

    def stepping(name: str) -> None:
        async def method(*arguments: object) -> object:
            await ask()
            return await real[name](*arguments)

        setattr(ledger, name, method)

    for name in real:
        stepping(name)
    try:
        await days_later(store, Named(), 16)
    finally:
        for name, method in real.items():
            setattr(ledger, name, method)
    return outcome


# -- the spool of this machine ------------------------------------------------------------


def test_staged_files_and_records_not_yet_acked_are_references(tmp_path: Path) -> None:
    root, digest = SpoolRoot(tmp_path / "spool"), "a" * 64
    assert SpoolReferences(root.path).all() == frozenset()
    writer = SpoolWriter.create(root, meta_for_tests())
    data = {"path": "p", "digest": digest, "size": 1}
    writer.log_event(Event("artifact.logged", 1, data))
    staged = Staging(writer.folder.path).take_bytes(b"staged")

    assert SpoolReferences(root.path).all() == {digest, staged.digest}
    writer.close()
