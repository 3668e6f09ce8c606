"""API keys by server address, for the processes that deliver after the training has gone.

A helper serves every run of a spool, also those that other shells with other keys have
started, and those of last week. So the process that is given a key notes it here, in a
file that only its user can read, and whoever ships looks it up by address: a key is never
sent to a server it was not given for.

    <home>/credentials.json      {"http://host:5000": "the key"}, mode 0600
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tracker.spool.locks import FileLock

FILE_NAME: Final = "credentials.json"
LOCK_NAME: Final = "credentials.lock"
# Who holds it writes a few bytes; one that is stopped meanwhile must not stop a training.
LOCK_WAIT_S: Final = 2.0


def remember(home: Path, uri: str, api_key: str) -> None:
    """Note the key of a server. Raises OSError when the file cannot be written.

    Those who note keys at the same time do it one after the other: else the last one would
    take the keys of the others away again.
    """
    if _read(home).get(uri) == api_key:
        return
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock.acquire(home / LOCK_NAME, wait_s=LOCK_WAIT_S)
    try:
        _write(home, _read(home) | {uri: api_key})
    finally:
        if lock is not None:
            lock.release()


def _write(home: Path, keys: Mapping[str, str]) -> None:
    path = home / FILE_NAME
    temporary = home / f".{FILE_NAME}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(keys, file, indent=1)
    temporary.replace(path)


def key_for(home: Path, uri: str) -> str | None:
    """The key noted for a server; None if there is none or the file cannot be read."""
    return _read(home).get(uri)


def _read(home: Path) -> dict[str, str]:
    try:
        keys = json.loads((home / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(keys, dict):
        return {}
    return {str(uri): key for uri, key in keys.items() if isinstance(key, str)}
