"""Files that wait in the spool to be uploaded: their bytes as they were at the call.

    <writer folder>/blobs/<sha256>.<n>      one file for each record that names the digest

A source is copied and hashed at once (tracker.spool.copying): what is staged is what was hashed,
whatever happens to the source meanwhile. A file appears under its name whole, by a rename. A
second record of the same bytes costs a link.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tracker.events.errors import InvalidEvent
from tracker.events.limits import ARTIFACT_BYTES_MAX
from tracker.spool.copying import copy_and_hash, write_all

BLOBS_NAME: Final = "blobs"
# A file that somebody writes to is read again; one that never stands still is taken as read.
_TRIES: Final = 3
# More files than these are synced with all else on their disk, which takes as long as one of them.
_SYNCED_SINGLY_MAX: Final = 4
_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows would change line ends


class StagedFile(NamedTuple):
    digest: str  # SHA-256 in hex
    size: int
    path: Path
    was_changing: bool = False


class Staging:
    """The blobs of one writer folder. Thread-safe: every file has a name of its own."""

    def __init__(self, writer_folder: Path) -> None:
        self._folder = writer_folder / BLOBS_NAME
        self._numbers = iter(range(1, 2**62))
        self._staged: dict[str, Path] = {}

    def take_file(self, source: Path) -> StagedFile:
        """Stage a regular file. Raises InvalidEvent for what is none, OSError as met."""
        for attempt in range(_TRIES):
            staged, was_changing = self._take(source)
            if not was_changing or attempt == _TRIES - 1:
                return staged._replace(was_changing=was_changing)
            staged.path.unlink(missing_ok=True)
            self._staged.pop(staged.digest, None)
        raise AssertionError("unreachable")

    def take_bytes(self, data: bytes) -> StagedFile:
        """Stage what is in memory. Raises OSError."""
        digest = hashlib.sha256(data).hexdigest()
        linked = self._link(digest, len(data))
        if linked is not None:
            return linked
        with self._temporary() as (path, fd):
            write_all(fd, data)
            return self._named(path, digest, len(data))

    def _take(self, source: Path) -> tuple[StagedFile, bool]:
        # O_NONBLOCK: opening a FIFO must not wait for somebody to write into it.
        try:
            fd = os.open(source, os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            if error.errno == errno.ENXIO:  # how a socket is refused
                raise InvalidEvent(f"{source} is no regular file, but a socket") from None
            raise
        try:
            before = os.fstat(fd)
            _check_source(source, before)
            with self._temporary() as (path, to_fd):
                digest, size = copy_and_hash(fd, to_fd, before.st_size)
                after = os.fstat(fd)
                was_changing = (before.st_size, before.st_mtime_ns) != (size, after.st_mtime_ns)
                return self._named(path, digest, size), was_changing
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[str, int]]:
        path = f"{self._folder}/.staging-{os.getpid()}-{next(self._numbers)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path, flags, 0o600)
        try:
            yield path, fd
        except BaseException:
            os.unlink(path)  # noqa: PTH108 a Path costs more than the call, ten thousand times
            raise
        finally:
            os.close(fd)

    def _named(self, path: str, digest: str, size: int) -> StagedFile:
        named = Path(f"{self._folder}/{digest}.{next(self._numbers)}")
        os.rename(path, named)  # noqa: PTH104 for the same reason
        self._staged[digest] = named
        return StagedFile(digest, size, named)

    def _link(self, digest: str, size: int) -> StagedFile | None:
        known = self._staged.get(digest)
        if known is None:
            return None
        named = self._folder / f"{digest}.{next(self._numbers)}"
        try:
            os.link(known, named)
        except OSError:  # uploaded and removed since, or a file system without links
            del self._staged[digest]
            return None
        return StagedFile(digest, size, named)


def staged_files(writer_folder: Path) -> dict[str, list[Path]]:
    """Every staged file of a writer by digest; none if there are none."""
    found: dict[str, list[Path]] = {}
    try:
        with os.scandir(writer_folder / BLOBS_NAME) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return {}
    for name in names:
        digest = name.partition(".")[0]
        found.setdefault(digest, []).append(writer_folder / BLOBS_NAME / name)
    return found


def staged_size(writer_folder: Path) -> tuple[int, int]:
    """(files, bytes) that wait to be uploaded; bytes that several records share count once."""
    files = staged_files(writer_folder)
    size = 0
    for paths in files.values():
        with contextlib.suppress(OSError):
            size += paths[0].stat().st_size
    return sum(map(len, files.values())), size


def sync_staged(paths: Sequence[Path]) -> None:
    """Make staged files and their names survive a power cut. What is gone is fine.

    Raises OSError when a disk fails.
    """
    folders = {path.parent for path in paths}
    if len(paths) > _SYNCED_SINGLY_MAX and all(_sync_file_system(folder) for folder in folders):
        return
    for target in (*paths, *folders):
        with contextlib.suppress(FileNotFoundError), _opened(target) as fd:
            os.fsync(fd)


def _sync_file_system(folder: Path) -> bool:
    """All of the folder's file system at once; False where the system cannot (not Linux)."""
    import ctypes  # costs an import of the SDK milliseconds

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    with contextlib.suppress(FileNotFoundError), _opened(folder) as fd:
        if syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _check_source(source: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InvalidEvent(f"{source} is a folder; log it with log_artifacts")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidEvent(f"{source} is no regular file (a FIFO, socket or device), not logged")
    if status.st_size > ARTIFACT_BYTES_MAX:
        raise InvalidEvent(
            f"{source} has {status.st_size} bytes; at most {ARTIFACT_BYTES_MAX} are allowed "
            "(artifact_bytes_max); split it, or log a reference to where it lies"
        )
