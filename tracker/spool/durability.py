"""The background thread that makes spooled records survive a power cut.

One daemon thread per process serves every writer. While anything is written it syncs
every 200 ms, or as soon as a writer has 1 MiB unsynced. After a second without news it
arms the writers (their next record wakes it) and sleeps on a lock: an idle process has
no timer running. The thread takes no signals and never holds a writer's lock while it
syncs, so a log call does not wait for the disk.

A forked child has no such thread; its first writer starts its own. Writers inherited
from the parent are abandoned in the child at once, else two processes would write the
same sequence numbers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable
from typing import Final, Protocol

SYNC_INTERVAL_S: Final = 0.2
UNSYNCED_BYTES_MAX: Final = 1024 * 1024
# Training that logs at least once a second never pays for waking the thread.
_QUIET_ROUNDS_BEFORE_SLEEP: Final = 5


class Syncable(Protocol):
    """What the thread needs of a writer. Nothing here raises OSError."""

    def sync(self) -> bool:
        """Make durable what was written before the call; False if there was nothing to do."""

    def arm(self) -> bool:
        """Have the next record call `wake`; False if something was written since `sync`."""

    def take_notices(self) -> list[str]:
        """Warnings to show; each is returned once."""

    def abandon_after_fork(self) -> None: ...


class Durability:
    """The thread and the writers it serves. `of_this_process` gives the one to use."""

    def __init__(self, interval_s: float = SYNC_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._writers: dict[int, Syncable] = {}
        # A lock used as a signal: released to wake the thread, which is who acquires it.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, writer: Syncable) -> None:
        self._writers[id(writer)] = writer

    def remove(self, writer: Syncable) -> None:
        self._writers.pop(id(writer), None)

    def wake(self) -> None:
        """Start syncing now, if it is not under way. Cheap; safe from any thread."""
        if self._thread is None:
            self._start()
        if self._bell.locked():
            try:
                self._bell.release()
            except RuntimeError:
                return  # another thread has just rung

    def abandon_after_fork(self) -> None:
        for writer in list(self._writers.values()):
            writer.abandon_after_fork()
        self._writers.clear()

    def _start(self) -> None:
        # Never waits: a signal handler may come here while its own thread is inside.
        if not self._start_lock.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="tracker-sync", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:
            return  # the interpreter is shutting down: close() syncs
        finally:
            self._start_lock.release()

    def _run(self) -> None:
        if sys.platform != "win32":
            # Signals go to the training's threads, whose waits they are meant to interrupt.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            self._bell.acquire()
            quiet_rounds = 0
            while quiet_rounds < _QUIET_ROUNDS_BEFORE_SLEEP or not self._arm_all():
                self._bell.acquire(timeout=self._interval_s)
                quiet_rounds = 0 if self._sync_all() else quiet_rounds + 1

    def _sync_all(self) -> bool:
        had_news = False
        for writer in list(self._writers.values()):
            had_news |= writer.sync()
            show(writer.take_notices())
        return had_news

    def _arm_all(self) -> bool:
        return all(writer.arm() for writer in list(self._writers.values()))


def show(notices: Iterable[str]) -> None:
    """Say it through the `tracker.spool` logger, which reaches stderr unless configured.

    Only where no lock of a writer is held: a logging handler may itself log a metric.
    """
    for notice in notices:
        import logging  # costs 4 ms of every import of the SDK otherwise

        logging.getLogger("tracker.spool").warning(notice)


_of_process: dict[int, Durability] = {}


def of_this_process() -> Durability:
    """The process's one Durability, made at the first call, also in a forked child."""
    if not _of_process and sys.platform != "win32":
        os.register_at_fork(after_in_child=_forget_parent)
    return _of_process.setdefault(os.getpid(), Durability())


def _forget_parent() -> None:
    for pid, durability in list(_of_process.items()):
        if pid != os.getpid():
            durability.abandon_after_fork()
            # Kept, emptied: the entry says that the hook is registered.
