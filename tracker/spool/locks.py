"""The file lock by which others tell a live process from a dead one, without a network.

A writer takes flock(LOCK_EX) on its folder's `lock` and keeps it for its whole life; the
kernel lets go of it however the process ends. It proves something only about the file it
was taken on: in a copied folder, or on another machine, a free lock means nothing.

A forked child shares the lock with its parent until it closes the inherited descriptor,
which is why it must close it and must never unlock it. All are closed right after a fork, also
that of a folder which another thread of the parent was just about to make.
"""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

from tracker.spool.folder import WriterFolder
from tracker.spool.machine import boot_id, machine_id
from tracker.spool.meta import WriterMeta

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

# A probe holds the lock for microseconds, so who meets one gets it a moment later; unless the
# probing process is stopped just then, for as long as a busy machine does that.
_PROBE_PAUSE_S: Final = 0.002
_PROBE_WAIT_S: Final = 0.05
_STALLED_PROBE_WAIT_S: Final = 30.0


class WriterState(StrEnum):
    LIVE = "live"
    DEAD = "dead"
    REBOOTED = "rebooted"  # dead too: the machine has been started again since
    FOREIGN = "foreign"  # a copy, or another machine's: nothing can be said


class FileLock:
    """An exclusive lock on a file, held until `release` or the process's end."""

    __slots__ = ("_fd", "inode", "path")

    def __init__(self, path: Path, inode: int, fd: int) -> None:
        self.path = path
        self.inode = inode
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path, *, wait_s: float = _PROBE_WAIT_S) -> FileLock | None:
        """Take the lock, made if absent; None if another process keeps it beyond `wait_s`.

        Who only probes it is waited for longer: else nobody might take it at all.
        """
        deadline = time.monotonic() + wait_s
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        lock = cls(path, os.fstat(fd).st_ino, fd)
        _inheritable.add(lock)
        try:
            while not _try_lock(fd, shared=False):
                late_s = time.monotonic() - deadline
                if late_s >= 0 and (late_s > _STALLED_PROBE_WAIT_S or not _is_only_probed(fd)):
                    lock.release()
                    return None
                time.sleep(_PROBE_PAUSE_S)
            return lock
        except BaseException:
            lock.release()
            raise

    def release(self) -> None:
        """Let go. A second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        _inheritable.discard(self)

    def abandon_after_fork(self) -> None:
        """In a forked child: close the inherited descriptor. The parent keeps the lock."""
        self.release()


class _Inheritable:
    """The locks of this process; a forked child closes them before it does anything else."""

    def __init__(self) -> None:
        self._locks: set[FileLock] = set()
        self._is_watching = False

    def add(self, lock: FileLock) -> None:
        self._locks.add(lock)
        if not self._is_watching and hasattr(os, "register_at_fork"):
            self._is_watching = True
            os.register_at_fork(after_in_child=self._abandon_all)

    def discard(self, lock: FileLock) -> None:
        self._locks.discard(lock)

    def _abandon_all(self) -> None:
        for lock in list(self._locks):
            lock.abandon_after_fork()


_inheritable: Final = _Inheritable()


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock; False if the file does not exist.

    Probes with a shared lock for a moment, so that probes do not meet each other.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(fd, shared=True)
    finally:
        os.close(fd)


def writer_state(folder: WriterFolder, meta: WriterMeta) -> WriterState:
    """Whether the writer of a folder lives, as far as this machine can know.

    DEAD also covers a writer that closed in order: what it wrote last tells the two apart.
    """
    if fcntl is None or not meta.machine_id or meta.machine_id != machine_id():
        return WriterState.FOREIGN
    try:
        fd = os.open(folder.lock, os.O_RDONLY)
    except OSError:
        return WriterState.FOREIGN
    try:
        if os.fstat(fd).st_ino != meta.lock_inode:
            return WriterState.FOREIGN
        if meta.boot_id and meta.boot_id != boot_id():
            return WriterState.REBOOTED
        return WriterState.DEAD if _try_lock(fd, shared=True) else WriterState.LIVE
    finally:
        os.close(fd)


def _is_only_probed(fd: int) -> bool:
    """Whether those who have the lock share it. Of the file that is open, whatever its name."""
    if not _try_lock(fd, shared=True):
        return False
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _try_lock(fd: int, *, shared: bool) -> bool:
    if fcntl is None:  # Windows: no writer is ever taken for dead
        return True
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
