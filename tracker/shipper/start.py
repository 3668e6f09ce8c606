"""Starting the helper process. Kept apart from it: the training must not import aiohttp."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from tracker.spool.folder import SpoolRoot
from tracker.spool.locks import is_locked

_LOG_BYTES_MAX: Final = 1024 * 1024


def ensure_running(root: SpoolRoot) -> None:
    """Start a helper unless one runs. Raises OSError if no process can be started."""
    root.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_locked(root.helper_lock):
        return
    log = root.helper_log
    is_long = log.exists() and log.stat().st_size > _LOG_BYTES_MAX
    with log.open("wb" if is_long else "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker.shipper.helper", "--spool", str(root.path)],
            cwd="/" if os.name == "posix" else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=True,
        )
    # It outlives us; nobody here waits for it, and that is not worth a warning.
    process.returncode = 0
