"""Files that wait in the spool to be uploaded: their bytes as they were at the call.

    <writer folder>/blobs/<sha256>.<n>      one file for each record that names the digest

A source is copied and hashed at once: where the file system can share blocks (reflink) the
copy is free; a file that has been left alone is copied by the kernel while it is hashed, and
both are done again if it was touched after all; else each piece is hashed while it is written.
What is staged is what was hashed, whatever happens to the source meanwhile. A file appears under
its name whole, by a rename. A second record of the same bytes costs a link.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from tracker.events.errors import InvalidEvent
from tracker.events.limits import ARTIFACT_BYTES_MAX

BLOBS_NAME: Final = "blobs"
_CHUNK_BYTES: Final = 1024 * 1024
# Smaller files are not worth a second thread.
_ONE_THREAD_BYTES: Final = 512 * 1024
# linux/fs.h: #define FICLONE _IOW(0x94, 9, int)
_FICLONE: Final = 0x40049409
# A file that somebody writes to is read again; one that never stands still is taken as read.
_TRIES: Final = 3
# File times advance in steps of milliseconds, of two seconds on the coarsest file systems.
_LEFT_ALONE_NS: Final = 4_000_000_000
_has_copy_file_range: Final = hasattr(os, "copy_file_range")


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
            _write_all(fd, data)
            return self._named(path, digest, len(data))

    def _take(self, source: Path) -> tuple[StagedFile, bool]:
        # O_NONBLOCK: opening a FIFO must not wait for somebody to write into it.
        try:
            fd = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            if error.errno == errno.ENXIO:  # how a socket is refused
                raise InvalidEvent(f"{source} is no regular file, but a socket") from None
            raise
        try:
            before = os.fstat(fd)
            _check_source(source, before)
            with self._temporary() as (path, to_fd):
                digest, size = _copy_and_hash(fd, to_fd, before.st_size)
                after = os.fstat(fd)
                was_changing = (before.st_size, before.st_mtime_ns) != (size, after.st_mtime_ns)
                return self._named(path, digest, size), was_changing
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, int]]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f".staging-{os.getpid()}-{next(self._numbers)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            yield path, fd
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def _named(self, path: Path, digest: str, size: int) -> StagedFile:
        named = self._folder / f"{digest}.{next(self._numbers)}"
        path.rename(named)
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


def sync_staged(path: Path) -> None:
    """Make a staged file and its name survive a power cut. A file that is gone is fine."""
    for target in (path, path.parent):
        try:
            fd = os.open(target, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            os.fsync(fd)
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


def _copy_and_hash(from_fd: int, to_fd: int, size: int) -> tuple[str, int]:
    """(SHA-256 in hex, bytes) of what is in `to_fd` afterwards.

    Not more than `size` bytes are read: of a log that never stops growing, what there was.
    """
    if size > _ONE_THREAD_BYTES and _reflink(from_fd, to_fd):
        return _hash(to_fd, size)
    if size <= _ONE_THREAD_BYTES:
        return _copy_in_turn(from_fd, to_fd, size)
    if _has_copy_file_range and time.time_ns() - os.fstat(from_fd).st_mtime_ns > _LEFT_ALONE_NS:
        copied = _copy_by_kernel(from_fd, to_fd, size)
        if copied is not None:
            return copied
    return _copy_side_by_side(from_fd, to_fd, size)


def _reflink(from_fd: int, to_fd: int) -> bool:
    """Share the blocks of the source with the copy, if this file system can."""
    try:
        import fcntl

        fcntl.ioctl(to_fd, _FICLONE, from_fd)
    except (ImportError, OSError):
        return False
    return True


def _hash(fd: int, limit: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while n := os.preadv(fd, [buffer[: limit - size]], size):
        digest.update(buffer[:n])
        size += n
    return digest.hexdigest(), size


def _copy_in_turn(from_fd: int, to_fd: int, limit: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while data := os.read(from_fd, min(_CHUNK_BYTES, limit - size)):
        digest.update(data)
        _write_all(to_fd, data)
        size += len(data)
    return digest.hexdigest(), size


def _copy_by_kernel(from_fd: int, to_fd: int, limit: int) -> tuple[str, int] | None:
    """None when the kernel cannot copy here, or the file was touched meanwhile.

    Whoever writes to a file that was last written seconds ago gives it another time.
    """
    before = os.fstat(from_fd)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracker-staging") as thread:
        copying = thread.submit(_copy_range, from_fd, to_fd, limit)
        digest, size = _hash(from_fd, limit)
        is_whole = copying.result() and size == limit
    after = os.fstat(from_fd)
    if is_whole and (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
        return digest, size
    os.lseek(from_fd, 0, os.SEEK_SET)
    os.lseek(to_fd, 0, os.SEEK_SET)
    os.ftruncate(to_fd, 0)
    return None


def _copy_range(from_fd: int, to_fd: int, limit: int) -> bool:
    at = 0
    try:
        while at < limit:
            n = os.copy_file_range(from_fd, to_fd, limit - at, at, at)
            if n == 0:
                return False
            at += n
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False  # another file system, or one that cannot
    return True


def _copy_side_by_side(from_fd: int, to_fd: int, limit: int) -> tuple[str, int]:
    """Hash in another thread what this one writes; both let go of the interpreter's lock."""
    digest, size = hashlib.sha256(), 0
    hashing: Future[None] | None = None
    buffers = (bytearray(_CHUNK_BYTES), bytearray(_CHUNK_BYTES))
    turn = 0
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracker-staging") as thread:
        while n := os.readv(from_fd, [memoryview(buffers[turn])[: limit - size]]):
            view = memoryview(buffers[turn])[:n]
            if hashing is not None:
                hashing.result()
            hashing = thread.submit(digest.update, view)
            _write_all(to_fd, view)
            size += n
            turn = 1 - turn
        if hashing is not None:
            hashing.result()
    return digest.hexdigest(), size


def _write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        written = os.write(fd, view)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]
