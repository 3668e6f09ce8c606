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
    """`what`: all or environment; see tracker.artifacts.snapshot, which is imported there."""

    def __init__(self, run: Run, what: str) -> None:
        self._run = run
        self._what = what
        self._now = threading.Event()
        self._thread = threading.Thread(target=self._take, name="tracker-snapshot", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Take it now, if it is not taken yet, and wait for it that long."""
        self._now.set()
        self._thread.join(timeout_s)

    def _take(self) -> None:
        self._now.wait(_HEAD_START_S)
        try:
            from tracker.artifacts.snapshot import contents

            recorder: ArtifactRecorder = self._run.artifacts
            for path, content in contents(self._what).items():
                recorder.log_bytes(content, path)
        except Exception as error:  # noqa: BLE001 said; a snapshot is no reason to end a training
            notices.warn_once("snapshot", f"no snapshot of the environment was taken: {error}")
