"""The calls by which the spool's writer reaches the disk, in one place so that tests can fail them.

`datasync` is the strongest flush the system has: fdatasync, or F_FULLFSYNC on macOS,
where fsync leaves the data in the drive's own cache.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_NEW_FILE_MODE: Final = 0o600


def _datasync(fd: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif sys.platform == "win32":
        os.fsync(fd)
    else:
        os.fdatasync(fd)


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags, _NEW_FILE_MODE)


class FileCalls(NamedTuple):
    """Behave as the os functions of these names; every one may raise OSError."""

    write: Callable[[int, bytes], int] = os.write
    datasync: Callable[[int], None] = _datasync
    open: Callable[[Path, int], int] = _open


OS_FILES: Final = FileCalls()


def write_all(files: FileCalls, fd: int, data: bytes) -> None:
    """Write everything or raise OSError; how much was written then is for the caller to undo."""
    view = data
    while view:
        view = view[files.write(fd, view) :]


def allocate(path: Path, size: int) -> None:
    """Make a file whose bytes are really taken from the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _NEW_FILE_MODE)
    try:
        if sys.platform == "linux":
            os.posix_fallocate(fd, 0, size)
        else:
            os.write(fd, bytes(size))
    finally:
        os.close(fd)
