"""One process's artifacts of one run: staged files, and the records that name them.

The records go through a writer of their own, so that a file of gigabytes never holds back
metrics: a shipper sends each of them only when the file it names is in the store.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tracker.artifacts.media import media_type_of
from tracker.artifacts.syncing import Syncing
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.types import EventType
from tracker.notices import notices
from tracker.recording import Plan, Recording
from tracker.spool.losses import NO_SPACE
from tracker.spool.meta import KIND_ARTIFACTS
from tracker.spool.staging import StagedFile, Staging

# How long the end of a run waits for sizes and etags of references.
_ASKED_WAIT_S: Final = 2.0


class ArtifactRecorder:
    """Thread-safe. Opens its writer with the first artifact."""

    def __init__(self, plan: Plan) -> None:
        self.recording = Recording(plan._replace(kind=KIND_ARTIFACTS), is_owner=False)
        self._lock = threading.Lock()
        self._staging: Staging | None = None
        self._staging_path: Path | None = None
        self._syncing = Syncing()
        self._asking: list[threading.Thread] = []
        self._asked_of: dict[str, object] = {}  # path -> whose answer may still be recorded

    def log_file(self, source: Path, path: str, *, model_id: str | None = None) -> None:
        """Stage a file as it is now and record it under `path`.

        Raises InvalidEvent for a path that cannot be one and for what is no regular file,
        OSError for a file that cannot be read. A spool without room loses the file, which
        is said and recorded.
        """
        check_artifact_path(path)
        self._log(lambda staging: staging.take_file(source), path, model_id, source=source)

    def log_bytes(
        self, data: bytes, path: str, *, media_type: str | None = None, model_id: str | None = None
    ) -> None:
        """The same for what is in memory."""
        check_artifact_path(path)
        self._log(lambda staging: staging.take_bytes(data), path, model_id, media_type=media_type)

    def log_reference(self, path: str, uri: str, find_out: Callable[[], Mapping[str, Any]]) -> None:
        """Record where something lies; its bytes stay there.

        `find_out` may ask a network for size and etag: it is called in a thread, and what it
        finds is recorded after the reference, unless the path means something else by then.
        """
        check_artifact_path(path)
        if self._opened() is None:
            return
        fact = {"path": path, "uri": uri}
        token = object()
        with self._lock:
            self._asked_of[path] = token
        self.recording.log_event(EventType.ARTIFACT_LOGGED, fact)

        def complete() -> None:
            found = find_out()
            with self._lock:
                if self._asked_of.get(path) is token:
                    del self._asked_of[path]
                    if found:
                        self.recording.log_event(EventType.ARTIFACT_LOGGED, {**fact, **found})

        thread = threading.Thread(target=complete, name="tracker-artifacts", daemon=True)
        with self._lock:
            self._asking = [each for each in self._asking if each.is_alive()]
            self._asking.append(thread)
        with contextlib.suppress(RuntimeError):  # no thread starts while the interpreter ends
            thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Wait, so long at most, until what is staged is on disk; shortly for what is asked of
        references, which are recorded without it, too."""
        deadline = time.monotonic() + timeout_s
        is_synced = self._syncing.wait(timeout_s)
        with self._lock:
            asking = [thread for thread in self._asking if thread.is_alive()]
        asked_by = min(deadline, time.monotonic() + _ASKED_WAIT_S)
        for thread in asking:
            thread.join(max(0.0, asked_by - time.monotonic()))
        return is_synced

    def leave_to_parent(self) -> None:
        """After a fork, in the child: go on with a writer and a folder of one's own."""
        self._lock = threading.Lock()
        self._staging = None
        self._syncing = Syncing()
        self._asking = []
        self._asked_of = {}
        self.recording.leave_to_parent()

    def _log(
        self,
        take: Callable[[Staging], StagedFile],
        path: str,
        model_id: str | None,
        *,
        source: Path | None = None,
        media_type: str | None = None,
    ) -> None:
        staging = self._opened()
        if staging is None:
            if source is not None:
                source.stat()  # a disabled run, too, says that a file is missing
            return
        try:
            staged = take(staging)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._lose(path, error)
            return
        if staged.was_changing:
            notices.warn_once(
                f"changing {source}",
                f"{source} was being written to while it was logged; it is recorded as it was read",
            )
        with self._lock:
            self._asked_of.pop(path, None)
        fact = {
            "path": path,
            "digest": staged.digest,
            "size": staged.size,
            "media_type": media_type or media_type_of(path),
        }
        if model_id is not None:
            fact["model_id"] = model_id
        self.recording.log_event(EventType.ARTIFACT_LOGGED, fact)
        self._syncing.add(staged.path)

    def _lose(self, path: str, error: OSError) -> None:
        reason = f"artifact {path!r} could not be staged: {os.strerror(error.errno or 0)}"
        notices.warn_once(
            "staging",
            f"{reason}; it is LOST. Make room in the spool, or set TRACKER_SPOOL_DIR",
        )
        fact = {"reason": reason[:2000], "count": 1}
        self.recording.log_event(EventType.EVENTS_DROPPED, fact)

    def _opened(self) -> Staging | None:
        """Where to stage; None for a run that is not recorded."""
        with self._lock:
            folder = self.recording.open_silently().path
            if folder is None:
                return None
            if self._staging is None or folder != self._staging_path:
                self._staging, self._staging_path = Staging(folder), folder
            return self._staging
