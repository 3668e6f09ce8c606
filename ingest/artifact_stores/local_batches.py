"""Many small blobs into a folder, with two syncs of the disk for all of them.

Each blob is written under incoming/, all are made durable at once, then all get their names,
then the names are made durable. Where the system can sync a whole file system (Linux), that
costs two calls however many blobs there are, though it also waits for what others have
written; elsewhere every file and folder is synced by itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from ingest.artifact_stores.base import PutOutcome
from ingest.artifact_stores.durable_files import make_folder, sync_folder, write_all
from ingest.artifact_stores.refusals import check_digest
from ingest.blob_uploads import Digest
from ingest.errors import DigestMismatch

# Below it, syncing the few files costs less than looking at the whole file system.
_FILES_SYNCED_SINGLY_MAX: Final = 4

Blob = tuple[Digest, memoryview]


def write_batch(
    blobs: Sequence[Blob], incoming: Path, path_of: Callable[[Digest], Path]
) -> list[PutOutcome | DigestMismatch]:
    """Store what is not there yet; say of each blob what became of it. Blocks."""
    name = uuid.uuid4().hex
    written: dict[Digest, Path] = {}
    outcomes: list[PutOutcome | DigestMismatch] = []
    make_folder(incoming)
    try:
        for number, (digest, data) in enumerate(blobs):
            try:
                check_digest(digest, hashlib.sha256(data).hexdigest())
            except DigestMismatch as error:
                outcomes.append(error)
                continue
            if digest in written or path_of(digest).exists():
                outcomes.append(PutOutcome.PRESENT)
                continue
            written[digest] = incoming / f"{name}-{number}"
            _write(written[digest], data)
            outcomes.append(PutOutcome.STORED)
        _publish(written, incoming, path_of)
    except OSError:
        for path in written.values():
            with suppress(OSError):  # it has its name already, or clean() will remove it
                path.unlink(missing_ok=True)
        raise
    return outcomes


def _write(path: Path, data: memoryview) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data, 0)
    finally:
        os.close(fd)


def _publish(
    written: dict[Digest, Path], incoming: Path, path_of: Callable[[Digest], Path]
) -> None:
    if not written:
        return
    _sync(written.values(), incoming)
    folders: set[Path] = set()
    for digest, temporary in written.items():
        path = path_of(digest)
        if path.parent not in folders:
            _make_folder(path.parent, folders)
        temporary.rename(path)
    _sync(folders, incoming)


def _make_folder(folder: Path, to_sync: set[Path]) -> None:
    """The folder of a blob; what holds new names is synced with all the rest."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        to_sync.add(folder.parent)
    to_sync.add(folder)


def _sync(paths: Iterable[Path], folder: Path) -> None:
    paths = list(paths)
    syncfs = _syncfs() if len(paths) > _FILES_SYNCED_SINGLY_MAX else None
    if syncfs is None:
        for path in paths:
            sync_folder(path) if path.is_dir() else _sync_file(path)
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(fd)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@cache
def _syncfs() -> Callable[[int], int] | None:
    """Linux's syncfs(2), which since 5.8 also tells of failed writes; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is not None:
        function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
    return function
