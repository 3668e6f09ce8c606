"""Proves that the bytes in an artifact store are those that the trees name."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from ingest.artifact_stores.base import ArtifactStore
from ingest.artifact_stores.together import together
from ingest.artifact_zip import files_below
from ingest.blob_uploads import digest_of
from ingest.errors import BlobNotFound, StoreUnavailable
from projections.read_models import ArtifactView, RunsReadStore

FINDINGS_MAX: Final = 1000
_AT_ONCE: Final = 4
_PAGE: Final = 1000

Progress = Callable[[str, int, int], None]
Fault = Literal["lost", "damaged", "other_size"]


@dataclass(frozen=True, slots=True)
class ArtifactFinding:
    """lost: no such blob. damaged: other bytes. other_size: the tree says another length."""

    fault: Fault
    digest: str
    owner: str  # of one of the files that name the blob; '' when none does
    path: str
    message: str


@dataclass(slots=True)
class ArtifactReport:
    """`findings_count` counts them all, `findings` holds the first."""

    files: int = 0
    references: int = 0  # their bytes are elsewhere: nothing to read
    blobs: int = 0
    bytes: int = 0
    findings_count: int = 0
    findings: list[ArtifactFinding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return self.findings_count == 0

    def find(self, fault: Fault, digest: str, named: _Named | None, message: str) -> None:
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            owner, path = (named.owner, named.path) if named else ("", "")
            self.findings.append(ArtifactFinding(fault, digest, owner, path, message))


@dataclass(frozen=True, slots=True)
class _Named:
    owner: str
    path: str
    size: int | None


async def verify_tree(
    runs: RunsReadStore, store: ArtifactStore, owner: str, *, progress: Progress
) -> ArtifactReport:
    """Read every file of one run or model again."""

    async def files() -> AsyncIterator[tuple[str, ArtifactView]]:
        async for view in files_below(runs, owner, ""):
            yield owner, view

    return await _Verification(store, progress).run(files())


async def verify_all(
    runs: RunsReadStore, store: ArtifactStore, *, progress: Progress
) -> ArtifactReport:
    """Read every blob of the store again, and look for every file of every tree."""

    async def files() -> AsyncIterator[tuple[str, ArtifactView]]:
        after = ("", "")
        while page := await runs.every_artifact(after=after, max_results=_PAGE):
            for owner, view in page:
                yield owner, view
            after = (page[-1][0], page[-1][1].path)

    verification = _Verification(store, progress)
    return await verification.run(files(), and_all_blobs=True)


class _Verification:
    def __init__(self, store: ArtifactStore, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        self._report = ArtifactReport()
        self._named: defaultdict[str, list[_Named]] = defaultdict(list)

    async def run(
        self, files: AsyncIterator[tuple[str, ArtifactView]], *, and_all_blobs: bool = False
    ) -> ArtifactReport:
        async for owner, view in files:
            self._report.files += 1
            if view.digest is None:
                self._report.references += 1
            else:
                self._named[view.digest].append(_Named(owner, view.path, view.size))
        digests = set(self._named)
        if and_all_blobs:
            digests |= {blob.digest async for blob in self._store.ledger.blobs()}
        todo = iter(sorted(digests))
        done = 0

        async def read() -> None:
            nonlocal done
            for digest in todo:
                await self._verify(digest)
                done += 1
                self._progress("blobs", done, len(digests))

        await together((read() for _ in range(_AT_ONCE)), at_once=_AT_ONCE)
        return self._report

    async def _verify(self, digest: str) -> None:
        named = self._named.get(digest, [])
        first = named[0] if named else None
        try:
            size, found = await self._hash(digest)
        except BlobNotFound:
            for each in named:
                self._report.find(
                    "lost", digest, each, f"{each.path} of {each.owner}: its bytes are not there"
                )
            return
        except StoreUnavailable as error:
            self._report.find("damaged", digest, first, f"cannot be read: {error.message}")
            return
        self._report.blobs += 1
        self._report.bytes += size
        if found != digest:
            self._report.find("damaged", digest, first, f"the bytes have the SHA-256 {found}")
            return
        for each in named:
            if each.size is not None and each.size != size:
                self._report.find(
                    "other_size",
                    digest,
                    each,
                    f"{each.path} of {each.owner} is said to have {each.size} bytes; it has {size}",
                )

    async def _hash(self, digest: str) -> tuple[int, str]:
        hasher, size = hashlib.sha256(), 0
        async with self._store.open(digest_of(digest)) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                await asyncio.to_thread(hasher.update, chunk)
        return size, hasher.hexdigest()
