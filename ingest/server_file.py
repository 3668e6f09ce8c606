"""server.json: where clients of the same user find the server that serves "local"."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

NAME: Final = "server.json"


@contextmanager
def published(folder: Path, *, url: str, backend_store_uri: str) -> Iterator[bool]:
    """Keep the file there for the length of the block; False when another server has it."""
    path = folder / NAME
    if _is_anothers(path):
        yield False
        return
    content = {"url": url, "pid": os.getpid(), "backend_store_uri": backend_store_uri}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{NAME}.{os.getpid()}")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(path)
    try:
        yield True
    finally:
        if not _is_anothers(path):
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_anothers(path: Path) -> bool:
    pid = _read(path).get("pid")
    return isinstance(pid, int) and pid != os.getpid() and _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
