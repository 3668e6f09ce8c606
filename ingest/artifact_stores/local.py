"""Blobs in a folder.

    <folder>/<workspace>/blobs/<first two digits>/<sha256>
    <folder>/<workspace>/incoming/<random>         blobs on their way
    <folder>/<workspace>/uploads/<upload id>/      see ingest.artifact_stores.local_uploads

Whatever is under blobs/ is whole and durable: it was written elsewhere, checked, synced and
renamed. Names are made of validated digests and of what the server draws itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from ingest.artifact_stores.base import DownloadUrl, PutOutcome
from ingest.artifact_stores.durable_files import disk_errors, make_folder, publish, write_all
from ingest.artifact_stores.local_batches import write_batch
from ingest.artifact_stores.local_ledger import LocalLedger
from ingest.artifact_stores.local_uploads import LocalUploads
from ingest.artifact_stores.refusals import blob_not_found, check_digest
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import DigestMismatch, StoreUnavailable
from tracker.events.ids import is_workspace
from tracker.events.limits import ARTIFACT_PART_BYTES

CHUNK_BYTES: Final = 1024 * 1024
# Most of the time is spent waiting for the disk, which several do better than one.
THREADS_MAX: Final = 16

Result = TypeVar("Result")


class LocalArtifactStore:
    """See ArtifactStore."""

    def __init__(
        self, folder: Path, *, workspace: str, part_bytes: int, threads: ThreadPoolExecutor
    ) -> None:
        assert is_workspace(workspace)
        self._root = folder / workspace
        self._threads = threads
        self.uploads = LocalUploads(self, part_bytes=part_bytes)
        self.ledger = LocalLedger(self, self._root)

    async def put(self, digest: Digest, chunks: AsyncIterator[bytes]) -> PutOutcome:
        if await self.stat(digest) is not None:
            return PutOutcome.PRESENT
        path = self.incoming_folder / uuid.uuid4().hex
        first, second = await anext(chunks, b""), await anext(chunks, b"")
        if not second:
            # Most files are small, and going to a thread costs more than writing one.
            check_digest(digest, hashlib.sha256(first).hexdigest())
            await self.blocking(_write_whole, path, first, self.path_of(digest))
            return PutOutcome.STORED
        chunks = _chained(first, second, chunks)
        fd = await self.blocking(_create, path)
        try:
            _, found = await self.receive(fd, chunks)
            check_digest(digest, found)
            await self.blocking(publish, fd, path, self.path_of(digest))
        finally:
            os.close(fd)
            with suppress(OSError):  # it has moved, or cannot be removed now: clean() will
                path.unlink()
        return PutOutcome.STORED

    async def put_unnamed(self, chunks: AsyncIterator[bytes]) -> tuple[Digest, int, PutOutcome]:
        path = self.incoming_folder / uuid.uuid4().hex
        fd = await self.blocking(_create, path)
        try:
            size, found = await self.receive(fd, chunks)
            digest = digest_of(found)
            if await self.stat(digest) is not None:
                return digest, size, PutOutcome.PRESENT
            await self.blocking(publish, fd, path, self.path_of(digest))
        finally:
            os.close(fd)
            with suppress(OSError):  # it has moved, or cannot be removed now: clean() will
                path.unlink()
        return digest, size, PutOutcome.STORED

    async def put_many(
        self, blobs: Sequence[tuple[Digest, memoryview]]
    ) -> Sequence[PutOutcome | DigestMismatch]:
        return await self.blocking(write_batch, blobs, self.incoming_folder, self.path_of)

    async def stat(self, digest: Digest) -> int | None:
        return await self.blocking(_size_of, self.path_of(digest))

    @asynccontextmanager
    async def open(
        self, digest: Digest, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        fd = await self.blocking(_open, self.path_of(digest))
        if fd is None:
            raise blob_not_found(digest)
        try:
            size = os.fstat(fd).st_size
            yield self._read(fd, start, size if end is None else min(end, size))
        finally:
            os.close(fd)

    async def delete(self, digest: Digest) -> bool:
        return await self.blocking(_delete, self.path_of(digest))

    async def download_url(self, digest: Digest) -> DownloadUrl | None:
        return None

    async def clean(self, *, before_us: int) -> int:
        halves = await self.blocking(_clean_files, self.incoming_folder, before_us)
        return halves + await self.uploads.clean(before_us=before_us)

    # -- for LocalUploads too ---------------------------------------------------------------

    @property
    def incoming_folder(self) -> Path:
        return self._root / "incoming"

    @property
    def uploads_folder(self) -> Path:
        return self._root / "uploads"

    def path_of(self, digest: Digest) -> Path:
        return self._root / "blobs" / digest_of(digest)[:2] / digest

    async def blocking(
        self, function: Callable[..., Result], *arguments: Any, **named: Any
    ) -> Result:
        """Call in a thread of the store; what the disk says becomes an error of ours."""
        call = partial(function, *arguments, **named)
        running = asyncio.get_running_loop().run_in_executor(self._threads, call)
        with disk_errors():
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                # A thread cannot be stopped, and its file must not be closed under it.
                await asyncio.wait([running])
                raise

    async def receive(
        self, fd: int, chunks: AsyncIterator[bytes], *, offset: int = 0, size_max: int | None = None
    ) -> tuple[int, str]:
        """Write `chunks` from `offset` on; return how many bytes came, and their SHA-256.

        The next chunk is received while one is written. Of what goes beyond `size_max`
        nothing is written; the size returned says so.
        """
        hasher, size = hashlib.sha256(), 0
        writing: asyncio.Task[None] | None = None
        try:
            async for chunk in chunks:
                if writing is not None:
                    await writing
                at, size = offset + size, size + len(chunk)
                if size_max is not None and size > size_max:
                    break
                writing = asyncio.ensure_future(self.blocking(_take, fd, chunk, at, hasher))
        finally:
            if writing is not None:
                await asyncio.wait([writing])
        if writing is not None:
            writing.result()
        return size, hasher.hexdigest()

    async def _read(self, fd: int, position: int, end: int) -> AsyncIterator[bytes]:
        while position < end:
            chunk = await self.blocking(os.pread, fd, min(CHUNK_BYTES, end - position), position)
            if not chunk:
                raise StoreUnavailable("the blob's file ends too early; its disk was damaged")
            position += len(chunk)
            yield chunk


@asynccontextmanager
async def open_local_store(
    folder: Path, *, workspace: str, part_bytes: int = ARTIFACT_PART_BYTES
) -> AsyncIterator[LocalArtifactStore]:
    threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="artifacts")
    try:
        yield LocalArtifactStore(
            folder, workspace=workspace, part_bytes=part_bytes, threads=threads
        )
    finally:
        await asyncio.to_thread(threads.shutdown)


async def _chained(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for chunk in rest:
        yield chunk


def _write_whole(temporary: Path, data: bytes, path: Path) -> None:
    fd = _create(temporary)
    try:
        write_all(fd, data, 0)
        publish(fd, temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(fd)


def _take(fd: int, chunk: bytes, offset: int, hasher: Any) -> None:
    hasher.update(chunk)
    write_all(fd, chunk, offset)


def _create(path: Path) -> int:
    make_folder(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def _size_of(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return None


def _delete(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _clean_files(folder: Path, before_us: int) -> int:
    count = 0
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return 0
    for entry in entries:
        with suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_mtime_ns // 1000 < before_us:
                Path(entry.path).unlink()
                count += 1
    return count
