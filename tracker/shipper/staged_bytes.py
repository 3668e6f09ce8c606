"""Reading staged files, which may be gone or have changed since they were staged. Blocks."""

from __future__ import annotations

import os
from pathlib import Path

from tracker.shipper.blobs import LostBlob, NamedBlob


def read_whole(blob: NamedBlob) -> bytes | None:
    """None when it is gone, or no longer as long as it was."""
    if blob.path is None:
        return None
    try:
        data = blob.path.read_bytes()
    except FileNotFoundError:
        return None
    return data if len(data) == blob.size else None


def read_part(path: Path, start: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = os.pread(file.fileno(), length, start)
            while len(data) < length:
                more = os.pread(file.fileno(), length - len(data), start + len(data))
                if not more:
                    raise LostBlob(f"{path.name} is shorter than it was when it was logged")
                data += more
            return data
    except FileNotFoundError:
        raise LostBlob(f"{path.name} is gone from the spool") from None


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
