"""Writing files that are there as a whole or not at all, and saying what a disk said.

Everything here blocks: callers run it in threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ingest.errors import ApiError, StoreFull, StoreUnavailable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns what the operating system says of a disk into errors of ours."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise  # OSErrors as well, but about whoever sends
    except OSError as error:
        raise error_of(error) from error


def error_of(error: OSError) -> ApiError:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return StoreFull(
            f"the artifact store has no room ({reason}); nothing was kept, send it again later",
            retry_after_s=60.0,
        )
    return StoreUnavailable(
        f"the artifact store's disk failed ({reason}); send it again", retry_after_s=5.0
    )


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents; what is new survives a power loss."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish(fd: int, temporary: Path, path: Path) -> None:
    """Give a finished file its name for good. `path` is replaced if it is there."""
    os.fsync(fd)
    make_folder(path.parent)
    temporary.rename(path)
    sync_folder(path.parent)
