"""Which run a log call belongs to.

Every thread and every asyncio task may have runs of its own; they nest. One that has none
logs to the run of the process: the innermost run started by the main thread, else the one
started last anywhere. So a data-loading thread logs to the training's run without being
told, while two threads that each called start_run stay apart.

A run lives in a context variable, so tasks inherit it from where they were created. The
variable may outlive the run (another task ended it); ended runs are stepped over.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.run import Run

context_run: ContextVar[Run | None] = ContextVar("tracker_run", default=None)


class ActiveRuns:
    """The runs this process has started or joined and not ended, in order of start.

    `shared` is the run of the process; log calls read it directly, as this is their hot
    path.
    """

    def __init__(self) -> None:
        self.shared: Run | None = None
        self.last: Run | None = None
        self._runs: list[Run] = []
        self._lock = threading.RLock()

    def own(self) -> Run | None:
        """The innermost run of this thread or task, without the process's run."""
        run = context_run.get()
        while run is not None and run.is_ended:
            run = run.outer
        return run

    def current(self) -> Run | None:
        """The run that a log call made here belongs to."""
        return self.own() or self.shared

    def to_end(self) -> Run | None:
        """The run that end_run() means here: never one that another thread has started."""
        run = self.own()
        if run is not None:
            return run
        thread_id = threading.get_ident()
        with self._lock:
            return next((r for r in reversed(self._runs) if r.thread_id == thread_id), None)

    def push(self, run: Run) -> None:
        run.outer = self.own()
        context_run.set(run)
        with self._lock:
            self._runs.append(run)
            self._choose()
        self.last = run

    def pop(self, run: Run) -> None:
        """Take out a run that has ended."""
        with self._lock:
            if run in self._runs:
                self._runs.remove(run)
            self._choose()
        if context_run.get() is run:
            context_run.set(self.own())

    def all(self) -> list[Run]:
        """Innermost first, which is the order to end them in."""
        with self._lock:
            return self._runs[::-1]

    def keep_in_child(self) -> list[Run]:
        """After a fork: keep what the forking thread logged to; return all runs there were.

        The other threads, and the runs that only they could reach, stayed with the parent.
        """
        self._lock = threading.RLock()
        runs = self._runs
        current = self.current()
        chain: list[Run] = []
        while current is not None:
            if current in runs:
                chain.append(current)
            current = current.outer
        self._runs = chain[::-1]
        for run in chain:
            run.thread_id = threading.get_ident()
        self._choose()
        return runs

    def _choose(self) -> None:
        main_id = threading.main_thread().ident
        by_main = [run for run in self._runs if run.thread_id == main_id]
        candidates = by_main or self._runs
        self.shared = candidates[-1] if candidates else None
