"""The ledger of garbage collection in a folder: gc/<kind>/<sha256>, empty files.

Their time is the file's. Notes are not synced: what a power loss takes back was condemned
again by the next collection, and one that it brings back is looked at anew before anything
is removed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.artifact_stores.durable_files import make_folder
from ingest.artifact_stores.ledger import Note, StoredBlob
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import Busy, InvalidRequest

if TYPE_CHECKING:
    from ingest.artifact_stores.local import LocalArtifactStore

_FOLDERS_A_READ: Final = 16


class LocalLedger:
    """See Ledger."""

    def __init__(self, store: LocalArtifactStore, root: Path) -> None:
        self._store = store
        self._root = root

    async def blobs(self) -> AsyncIterator[StoredBlob]:
        names = [f"{number:02x}" for number in range(256)]
        for at in range(0, len(names), _FOLDERS_A_READ):
            folders = [self._root / "blobs" / name for name in names[at : at + _FOLDERS_A_READ]]
            for blob in await self._store.blocking(_blobs_in, folders):
                yield blob

    async def notes(self, note: Note) -> AsyncIterator[tuple[Digest, int]]:
        for blob in await self._store.blocking(_blobs_in, [self._folder(note)]):
            yield blob.digest, blob.time_us

    async def has(self, note: Note, digest: Digest) -> bool:
        return await self._store.blocking(self.path_of(note, digest).exists)

    async def write(self, note: Note, digest: Digest) -> None:
        await self._store.blocking(_touch, self.path_of(note, digest))

    async def remove(self, note: Note, digest: Digest) -> None:
        await self._store.blocking(self.path_of(note, digest).unlink, missing_ok=True)

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[None]:
        fd = await self._store.blocking(_lock, self._root / "gc" / "lock", fcntl.LOCK_EX)
        if fd is None:
            raise Busy("another collection is under way in this artifact store; wait for its end")
        try:
            yield
        finally:
            os.close(fd)

    async def is_collecting(self) -> bool:
        fd = await self._store.blocking(_lock, self._root / "gc" / "lock", fcntl.LOCK_SH)
        if fd is None:
            return True
        os.close(fd)
        return False

    def path_of(self, note: Note, digest: Digest) -> Path:
        return self._folder(note) / digest_of(digest)

    def _folder(self, note: Note) -> Path:
        return self._root / "gc" / note


def _blobs_in(folders: list[Path]) -> list[StoredBlob]:
    return [blob for folder in folders for blob in _files_of(folder)]


def _files_of(folder: Path) -> Iterator[StoredBlob]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            digest = digest_of(entry.name)
            found = entry.stat(follow_symlinks=False)
        except (InvalidRequest, FileNotFoundError):
            continue  # no name of ours, or gone meanwhile
        yield StoredBlob(digest, found.st_size, found.st_mtime_ns // 1000)


def _touch(path: Path) -> None:
    make_folder(path.parent)
    path.touch(mode=0o600)


def _lock(path: Path, kind: int) -> int | None:
    """The file, locked; None while somebody else holds it."""
    make_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd
