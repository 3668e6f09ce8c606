"""The interface of an artifact store: the whole contract, once.

tests/contract/test_artifact_store.py holds every backend to this page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ingest.artifact_stores.ledger import Ledger
from ingest.blob_uploads import Digest, Upload
from ingest.errors import DigestMismatch


class PutOutcome(StrEnum):
    STORED = "stored"
    PRESENT = "present"  # the same bytes were there already; nothing was written


@dataclass(frozen=True, slots=True)
class PartUrl:
    """Where a part may be PUT without asking the server again, until `expires_us`."""

    number: int
    url: str
    expires_us: int


@dataclass(frozen=True, slots=True)
class DownloadUrl:
    url: str
    expires_us: int


class ArtifactStore(Protocol):
    """The blobs of one workspace, each under the SHA-256 of its bytes.

    A blob is there as a whole or not at all: it can be found only after all of its bytes
    were read, their SHA-256 was compared with its name, and they are durable. Blobs never
    change, so putting one again, or twice at once, is the same as putting it once.
    Memory is bounded, however large a blob is.

    Everything raises StoreUnavailable (try again later; nothing is half-visible),
    StoreFull (there is no room) and StoreRefused (the store does not let the server in).
    """

    @property
    def uploads(self) -> PartUploads:
        """Blobs that come in parts."""
        ...

    @property
    def ledger(self) -> Ledger:
        """What garbage collection notes beside the blobs.

        A blob that may be condemned is called present only after `ledger.keep`, which is
        what `ingest.blob_intake` does.
        """
        ...

    async def put(self, digest: Digest, chunks: AsyncIterator[bytes]) -> PutOutcome:
        """Store what `chunks` yields. A blob that is present already is not read.

        Raises DigestMismatch when the bytes are others than `digest` says; then, and
        whenever `chunks` raises, nothing is left behind.
        """
        ...

    async def put_unnamed(self, chunks: AsyncIterator[bytes]) -> tuple[Digest, int, PutOutcome]:
        """Store bytes whose SHA-256 nobody knows yet; return it, and how many bytes they were."""
        ...

    async def put_many(
        self, blobs: Sequence[tuple[Digest, memoryview]]
    ) -> Sequence[PutOutcome | DigestMismatch]:
        """Store small blobs, together faster than one by one; say of each what became of it.

        All are durable before it returns. When it raises, some may be stored.
        """
        ...

    async def stat(self, digest: Digest) -> int | None:
        """The blob's size in bytes; None when there is no such blob."""
        ...

    def open(
        self, digest: Digest, *, start: int = 0, end: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes from `start` up to and without `end`, in chunks of at most 1 MiB.

        Entering raises BlobNotFound. A store that fails in the middle makes the iterator
        raise: it never ends early as if all had been read. A blob deleted meanwhile may be
        read to its end or fail. The bytes are as the store gave them: whoever needs proof
        hashes what arrived.
        """
        ...

    async def delete(self, digest: Digest) -> bool:
        """Remove the blob for good; False when there was none."""
        ...

    async def download_url(self, digest: Digest) -> DownloadUrl | None:
        """Where anyone may GET the blob for a while; None when the store has no such URLs."""
        ...

    async def clean(self, *, before_us: int) -> int:
        """Remove what was begun and had no activity since; return how many things that were.

        Blobs are never touched.
        """
        ...


class PartUploads(Protocol):
    """Uploads of blobs in parts: any order, several at once, over any length of time.

    What is known of an upload is kept in the store, so another server, or the same one
    after a crash, goes on with it. Every method but `create` and `abort` raises
    UploadNotFound when the upload was aborted or cleaned away.
    """

    async def create(self, digest: Digest, *, size: int) -> Upload:
        """Begin an upload of 1 to artifact_bytes_max bytes."""
        ...

    async def find(self, upload_id: str) -> Upload:
        """Raises UploadNotFound; also for an id that could not be one."""
        ...

    async def put_part(self, upload: Upload, number: int, chunks: AsyncIterator[bytes]) -> None:
        """Store part `number`, counted from 1; a part put again replaces the earlier one.

        Times in S3 are whole seconds: of two that differ and came within one, either may
        stay, and completing finds out. Raises NoSuchPart and WrongPartSize. A part that
        broke off is not present.
        """
        ...

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        """The size of every part that is present, by number."""
        ...

    async def part_urls(self, upload: Upload, numbers: Sequence[int]) -> Sequence[PartUrl] | None:
        """URLs to PUT these parts to the store itself; None when the store has no such URLs."""
        ...

    async def complete(self, upload: Upload) -> PutOutcome:
        """Check the whole SHA-256 and let the blob be found. Completing twice is fine.

        Raises PartsMissing when parts are not there, or turn out to be damaged: the upload
        stays, and the parts named are to be put again. Raises DigestMismatch when all parts
        are as they were sent, but are not the blob: the upload is gone then. Raises Busy
        while a part is being written.
        """
        ...

    async def abort(self, upload: Upload) -> None:
        """Forget the upload and its parts. The blob itself, if there is one, stays."""
        ...
