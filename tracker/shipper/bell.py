"""The listening end of the doorbell: makes the FIFO and wakes a shipper when it is rung."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def listening(path: Path, on_ring: Callable[[], None]) -> Iterator[None]:
    """Call `on_ring` in the running loop whenever somebody rings at `path`.

    Where FIFOs are not to be had (Windows, some network disks) nobody rings, and the
    shipper's polling has to do.
    """
    fd = _open(path)
    if fd is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def answer() -> None:
        with suppress(BlockingIOError):
            os.read(fd, 4096)
        on_ring()

    loop.add_reader(fd, answer)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _open(path: Path) -> int | None:
    if sys.platform == "win32":
        return None
    try:
        with suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # Opened for both, the FIFO never reports an end while no writer has it open.
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd
