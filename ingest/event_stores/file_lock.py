"""One owner per file: an advisory lock that the kernel drops when its process ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tracker.events.errors import TrackerError

if sys.platform != "win32":
    import fcntl


class StoreInUse(TrackerError):
    """Another process has the store open for writing."""


class FileLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path, *, what: str) -> FileLock:
        """Lock `path`, or raise StoreInUse naming the owner's process id.

        Windows has no such lock here: there, starting two servers on one store is up to
        the operator.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if sys.platform != "win32":
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise StoreInUse(
                    f"{what} is in use by another server (process {owner}); "
                    "stop that server, or give this one another --backend-store-uri"
                ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)
