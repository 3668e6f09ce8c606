"""Brings staged files to the disk soon after the call that staged them, many at once.

What is added within a fifth of a second is synced together, as the records of a spool are: a
sync of each file would hold up the folder that the next one is being staged in.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from tracker.notices import notices
from tracker.spool.staging import sync_staged

GATHER_S: Final = 0.2


class Syncing:
    """A thread that comes with the first file and goes when there are no more. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Path] = []
        self._is_running = False
        self._is_hurried = False

    def add(self, path: Path) -> None:
        with self._changed:
            self._waiting.append(path)
            if self._is_running:
                return
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="tracker-staging", daemon=True).start()
        except RuntimeError:  # no thread can be started while the interpreter shuts down
            self._run()

    def wait(self, timeout_s: float) -> bool:
        """Sync at once what was added; whether it was all on the disk within the time."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            is_synced = self._changed.wait_for(lambda: not self._is_running, timeout_s)
            self._is_hurried = False
        return is_synced

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_hurried, GATHER_S)
                paths, self._waiting = self._waiting, []
                if not paths:
                    self._is_running = False
                    self._changed.notify_all()
                    return
            try:
                sync_staged(paths)
            except OSError as error:
                notices.warn_once(
                    "staging", f"{paths[0]} and others may not survive a power cut: {error}"
                )
