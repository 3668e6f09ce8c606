"""The server of this machine: found through <home>/server/server.json, or started.

Logging needs none: the spool keeps what is logged for "local" until a server looks. A
query does, so it starts a small one that leaves when nobody has asked for a minute.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tracker.refusals import LocalServerMissing

# A start takes a second; a machine that is crowded, or a slow disk, takes many.
START_TIMEOUT_S: Final = 60.0
HEALTH_TIMEOUT_S: Final = 2.0
IDLE_EXIT_S: Final = 60
LOST_RACE_WAIT_S: Final = 2.0
# How a server says that another one has the store: that one is about to answer.
_LOST_RACE: Final = "in use by another server"
_LOG_BYTES_MAX: Final = 1024 * 1024
POLL_S: Final = 0.03
# What `tracker[server]` brings; any of them missing means that the extra is.
_SERVER_MODULES: Final = ("pydantic", "aiosqlite", "orjson", "numpy")


def ensure_running(home: Path) -> str:
    """The address of this machine's server, started if there is none. Blocks up to a minute.

    Raises LocalServerMissing, with the end of the server's log if it died.
    """
    return find(home) or _start(home)


def find(home: Path) -> str | None:
    """The address of a server of this home that lives and answers, or None."""
    try:
        noted = json.loads((home / "server" / "server.json").read_text())
        uri, pid = str(noted["url"]), int(noted["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # None has run, or the note is being written or was torn.
    return uri if _is_alive(pid) and answers_health(uri) else None


def missing_modules() -> list[str]:
    """What must be installed before a server can run on this machine."""
    return [name for name in _SERVER_MODULES if importlib.util.find_spec(name) is None]


def answers_health(uri: str) -> bool:
    parts = urlsplit(uri)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port, timeout=HEALTH_TIMEOUT_S
    )
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _start(home: Path) -> str:
    missing = missing_modules()
    if missing:
        raise LocalServerMissing(
            "the destination is 'local', and a query of local data needs a server on this "
            f"machine, for which {', '.join(missing)} must be installed",
            hint="Run `pip install 'tracker[server]'`, or name a server with TRACKER_URI.",
        )
    log_path = home / "server" / "local.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    is_long = log_path.exists() and log_path.stat().st_size > _LOG_BYTES_MAX
    # Appended to: others may be starting one, too, and each looks for its own last words.
    with log_path.open("wb" if is_long else "ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tracker", "server"),
                *("--host", "127.0.0.1", "--port", "0", "--idle-exit-s", str(IDLE_EXIT_S)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "TRACKER_HOME": str(home)},
        )
    # Collects its exit code whenever it leaves, so that it does not stay as a zombie.
    has_left = threading.Event()

    def wait() -> None:
        process.wait()
        has_left.set()

    threading.Thread(target=wait, name="tracker-local-server", daemon=True).start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        uri = find(home)
        if uri is not None:
            return uri
        if has_left.is_set():
            has_left.clear()
            if _LOST_RACE not in _words(log_path, log_start):
                deadline = min(deadline, time.monotonic() + LOST_RACE_WAIT_S)
        time.sleep(POLL_S)
    raise LocalServerMissing(
        f"no server could be started on this machine within {START_TIMEOUT_S:g} s: "
        f"{_last_line(_words(log_path, log_start))}",
        hint=f"Its log is {log_path}. Run `tracker server` by hand to see what is wrong.",
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _words(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(_LOG_BYTES_MAX).decode(errors="replace")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
