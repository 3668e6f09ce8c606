"""Copying a file while it is hashed: what was hashed is what is in the copy, whatever happens.

Where the file system can share blocks (reflink) the copy is free, and it is the copy that is
hashed. Else each piece is read once, hashed by the caller's thread and written by another, so
that on two cores a copy costs its caller no more than the hashing does. Nothing waits for the
disk here: what is staged is brought to it after the call.
"""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import threading
from typing import Final

_CHUNK_BYTES: Final = 1024 * 1024
# Read, being hashed, being written; more of them only leave the processor's cache.
_CHUNKS: Final = 3
# Smaller files are not worth a second thread.
_ONE_THREAD_BYTES: Final = 512 * 1024
# How much is written at once, and so how large the pieces of memory are that the kernel caches it
# in. Those for more are cut from the largest free blocks, which a virtual machine may have given
# back to its host; to get them again takes several times as long as the copy.
_WRITTEN_BYTES: Final = 64 * 1024
# linux/fs.h: #define FICLONE _IOW(0x94, 9, int)
_FICLONE: Final = 0x40049409
_has_readv: Final = hasattr(os, "readv")  # not on Windows


def copy_and_hash(from_fd: int, to_fd: int, size: int) -> tuple[str, int]:
    """(SHA-256 in hex, bytes) of what is in `to_fd` afterwards.

    Not more than `size` bytes are read: of a log that never stops growing, what there was.
    Raises OSError as met.
    """
    if size <= _ONE_THREAD_BYTES or not _has_readv:
        return _copy_in_turn(from_fd, to_fd, size)
    if _reflink(from_fd, to_fd):
        return _hash(to_fd, size)
    try:
        return _copy_side_by_side(from_fd, to_fd, size)
    except RuntimeError:  # no thread can be started while the interpreter shuts down
        return _copy_in_turn(from_fd, to_fd, size)


def write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        written = os.write(fd, view[:_WRITTEN_BYTES])
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]


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
        write_all(to_fd, data)
        size += len(data)
    return digest.hexdigest(), size


def _copy_side_by_side(from_fd: int, to_fd: int, limit: int) -> tuple[str, int]:
    """Raises RuntimeError, with nothing read, when no thread can be started."""
    copying = _Copying(from_fd, to_fd, limit)
    digest, size = hashlib.sha256(), 0
    try:
        try:
            copying.start()
        except RuntimeError:
            copying.close()
            raise
        while (chunk := copying.full.get()) is not None:
            buffer, n = chunk
            digest.update(memoryview(buffer)[:n])
            size += n
            copying.empty.put(buffer)
    finally:
        copying.empty.put(None)  # also when a handler has thrown an exception in here
    copying.join()
    if copying.error is not None:
        raise copying.error
    return digest.hexdigest(), size


class _Copying(threading.Thread):
    """Reads pieces for another thread to hash (`full`), and writes them.

    Its descriptors are its own: one that the caller has closed may be another file by then.
    """

    def __init__(self, from_fd: int, to_fd: int, limit: int) -> None:
        super().__init__(name="tracker-staging", daemon=True)
        self._from_fd = os.dup(from_fd)
        self._to_fd = os.dup(to_fd)
        self._limit = limit
        self.error: OSError | None = None
        self.empty: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
        self.full: queue.SimpleQueue[tuple[bytearray, int] | None] = queue.SimpleQueue()
        for _ in range(_CHUNKS):
            self.empty.put(bytearray(_CHUNK_BYTES))

    def run(self) -> None:
        try:
            self._copy()
        except OSError as error:
            self.error = error
        finally:
            self.close()
            self.full.put(None)

    def close(self) -> None:
        os.close(self._from_fd)
        os.close(self._to_fd)

    def _copy(self) -> None:
        size = 0
        while (buffer := self.empty.get()) is not None:
            n = os.readv(self._from_fd, [memoryview(buffer)[: self._limit - size]])
            if n == 0:
                return
            self.full.put((buffer, n))
            write_all(self._to_fd, memoryview(buffer)[:n])
            size += n
