"""The shipper as a thread of the training process (TRACKER_SHIPPER=thread).

For machines that allow no second process. It shares the interpreter with the training and
dies with it; what it leaves is delivered by the next shipper that sees the spool.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Final

from tracker.shipper.bell import listening
from tracker.shipper.shipper import Shipper, is_remote
from tracker.shipper.transmit import KeyOf, no_key
from tracker.spool.folder import SpoolRoot

_STOP_TIMEOUT_S: Final = 2.0


class ShipperThread:
    """One daemon thread with an event loop of its own, shipping one spool."""

    def __init__(self, root: SpoolRoot, *, key_of: KeyOf = no_key) -> None:
        self._root = root
        self._key_of = key_of
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shipper: Shipper | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="tracker-shipper", daemon=True)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_shipping(self) -> bool:
        """Whether it runs and was not told to stop, which may take it a while."""
        return self.is_running and not self._is_stopping

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for it at most two seconds."""
        self._is_stopping = True
        loop, shipper = self._loop, self._shipper
        if loop is not None and shipper is not None and not loop.is_closed():
            loop.call_soon_threadsafe(shipper.stop)
        self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.run(self._ship())

    async def _ship(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._shipper = shipper = Shipper(self._root.path, accepts=is_remote, key_of=self._key_of)
        if self._is_stopping:  # before there was a shipper to tell
            return
        with listening(self._root.doorbell, shipper.wake):
            await shipper.run()


_threads: dict[Path, ShipperThread] = {}
_locks: dict[int, threading.Lock] = {}


def _lock() -> threading.Lock:
    """One for each process: a child may be forked while a thread of its parent holds it."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def ensure_thread(root: SpoolRoot, *, key_of: KeyOf = no_key) -> ShipperThread:
    """The thread of this process that ships `root`, started if there is none."""
    with _lock():
        thread = _threads.get(root.path)
        if thread is None or not thread.is_shipping:
            root.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            thread = _threads[root.path] = ShipperThread(root, key_of=key_of)
            thread.start()
        return thread
