"""Makes sure that somebody ships what this process records.

    destination    mode       TRACKER_SHIPPER   who ships
    http(s)        online     helper            a detached process, one per user and spool
    http(s)        online     thread            a thread of this process
    http(s)        online     none              whoever runs `tracker sync`
    local          online     any               a `tracker server` with this spool folder
    any            offline    any               whoever runs `tracker sync`

The helper is looked for, and started, in the background: a start costs the training
nothing, and a helper that cannot be started is a warning, not an error. While runs are
being recorded it is looked for again now and then, as a helper may be killed too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from tracker.config import ClientSettings
from tracker.notices import notices

_LOOK_EVERY_S: Final = 15.0
# Looking for a helper imports modules and may start a process; the training's first steps
# should not share the interpreter with that.
_HEAD_START_S: Final = 0.02


class Hosting:
    """`is_needed` says whether this process still records anything."""

    def __init__(self, is_needed: Callable[[], bool]) -> None:
        self._is_needed = is_needed
        self._watched: dict[Path, threading.Event] = {}
        self._lock = threading.Lock()

    def ensure(self, settings: ClientSettings, *, uri: str, mode: str) -> None:
        """See to it, in the background, that what goes to `uri` is shipped."""
        if mode != "online" or uri == "local":
            return
        _note_key(settings, uri)
        if settings.shipper == "none":
            return
        with self._lock:
            look_now = self._watched.get(settings.spool_dir)
            if look_now is not None:
                look_now.set()
                return
            look_now = self._watched[settings.spool_dir] = threading.Event()
        threading.Thread(
            target=self._watch, args=(settings, look_now), name="tracker-hosting", daemon=True
        ).start()

    def _watch(self, settings: ClientSettings, look_now: threading.Event) -> None:
        look_now.wait(_HEAD_START_S)
        while True:
            look_now.clear()
            _start(settings)
            if not look_now.wait(_LOOK_EVERY_S) and not self._is_needed():
                with self._lock:
                    if not look_now.is_set():
                        del self._watched[settings.spool_dir]
                        return


def _note_key(settings: ClientSettings, uri: str) -> None:
    """Leave the key where whoever ships to `uri` finds it, now or after this process."""
    if settings.api_key is None:
        return
    from tracker.credentials import remember

    try:
        remember(settings.home, uri, settings.api_key)
    except OSError as error:
        notices.warn_once(
            "credentials",
            f"the API key cannot be noted in {settings.home} ({error}); "
            f"what is not sent in time needs: tracker sync --api-key …",
        )


def _start(settings: ClientSettings) -> None:
    from tracker.spool.folder import SpoolRoot
    from tracker.spool.locks import is_locked

    root = SpoolRoot(settings.spool_dir)
    try:
        if settings.shipper == "thread":
            from tracker.credentials import key_for
            from tracker.shipper.thread import ensure_thread

            ensure_thread(root, key_of=partial(key_for, settings.home))
        elif not is_locked(root.helper_lock):
            from tracker.shipper.start import ensure_running

            ensure_running(root)
    except (OSError, ImportError, RuntimeError) as error:
        notices.warn_once(
            "shipper",
            f"no shipper could be started ({error}); the data stays in the spool, "
            "send it with: tracker sync",
        )
