"""Makes sure that somebody ships what this process records.

    destination    mode       TRACKER_SHIPPER   who ships
    http(s)        online     helper            a detached process, one per user and spool
    http(s)        online     thread            a thread of this process
    http(s)        online     none              whoever runs `tracker sync`
    local          online     any               a `tracker server` with this spool folder
    any            offline    any               whoever runs `tracker sync`

The helper is looked for, and started, in the background: a start costs the training
nothing, and a helper that cannot be started is a warning, not an error.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tracker.config import ClientSettings
from tracker.notices import notices

# A helper leaves when it has been idle; it is looked for again with the next run, but
# not with each of a hundred short ones.
_LOOK_AGAIN_S = 5.0
# Looking for a helper imports modules and may start a process; the training's first steps
# should not share the interpreter with that.
_HEAD_START_S = 0.02


class Hosting:
    def __init__(self) -> None:
        self._looked_at: dict[Path, float] = {}
        self._lock = threading.Lock()

    def ensure(self, settings: ClientSettings, *, uri: str, mode: str) -> bool:
        """See to it that `uri` is shipped to; whether anybody here is meant to do so."""
        if mode != "online" or uri == "local" or settings.shipper == "none":
            return False
        with self._lock:
            now = time.monotonic()
            before = self._looked_at.get(settings.spool_dir)
            if before is not None and now - before < _LOOK_AGAIN_S:
                return True
            self._looked_at[settings.spool_dir] = now
        threading.Thread(
            target=_start, args=(settings,), name="tracker-hosting", daemon=True
        ).start()
        return True


def _start(settings: ClientSettings) -> None:
    time.sleep(_HEAD_START_S)
    from tracker.spool.folder import SpoolRoot
    from tracker.spool.locks import is_locked

    root = SpoolRoot(settings.spool_dir)
    try:
        if settings.shipper == "thread":
            from tracker.shipper.thread import ensure_thread

            ensure_thread(root, api_key=settings.api_key)
        elif not is_locked(root.helper_lock):
            from tracker.shipper.start import ensure_running

            ensure_running(root)
    except (OSError, ImportError) as error:
        notices.warn_once(
            "shipper",
            f"no shipper could be started ({error}); the data stays in the spool, "
            "send it with: tracker sync",
        )
