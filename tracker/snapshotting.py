"""The thread that keeps what a run is made with, shortly after the run has begun."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from tracker.notices import notices

if TYPE_CHECKING:
    from tracker.artifacts.recorder import ArtifactRecorder
    from tracker.run import Run

# The training's first steps come first; a run that ends sooner does not wait for this.
_HEAD_START_S: Final = 0.3


class SnapshotThread:
    """`what`: all, or environment (no code). What finds it out is imported in the thread."""

    def __init__(self, run: Run, what: str) -> None:
        self._run = run
        self._what = what
        self._now = threading.Event()
        self._thread = threading.Thread(target=self._take, name="tracker-snapshot", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Take it now, if it is not taken yet; whether it was complete within the time.

        What a process that exits sooner has not found out by then is not kept.
        """
        self._now.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take(self) -> None:
        self._now.wait(_HEAD_START_S)
        try:
            from tracker.artifacts import environment
            from tracker.artifacts.code_changes import CodeChanges

            recorder: ArtifactRecorder = self._run.artifacts
            changes = CodeChanges() if self._what == "all" else None  # git begins
            for path, content in environment.contents().items():
                recorder.log_bytes(content, path)
            if changes is not None:
                for path, content in changes.contents().items():
                    recorder.log_bytes(content, path)
        except Exception as error:  # noqa: BLE001 said; a snapshot is no reason to end a training
            notices.warn_once("snapshot", f"no snapshot of the environment was taken: {error}")
