"""Walking a folder that is logged: which files it has, and under which paths.

Links are followed only to what lies inside the folder, and never in circles. What is left
out is said, not silently skipped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tracker.events.errors import InvalidEvent


class FoundFile(NamedTuple):
    source: Path
    path: str  # relative to the folder, with /


class LeftOut(NamedTuple):
    path: str
    reason: str


def files_in(folder: Path) -> Iterator[FoundFile | LeftOut]:
    """Every file of a folder, in order of path. Raises InvalidEvent if it is no folder."""
    if not folder.is_dir():
        raise InvalidEvent(f"{folder} is no folder; log a single file with log_artifact")
    root = folder.resolve()
    yield from _walk(root, root, "", (root,))


def _walk(
    root: Path, folder: Path, prefix: str, above: tuple[Path, ...]
) -> Iterator[FoundFile | LeftOut]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 names are all that is needed
    except OSError as error:
        yield LeftOut(prefix or ".", f"cannot be listed: {error.strerror}")
        return
    for name in names:
        entry, path = folder / name, prefix + name
        try:
            target = entry.resolve(strict=True)
            mode = target.stat().st_mode
        except (OSError, RuntimeError) as error:  # a dangling link, or one in a circle
            yield LeftOut(path, f"cannot be followed: {error}")
            continue
        if not target.is_relative_to(root):
            yield LeftOut(path, "is a link out of the folder")
        elif stat.S_ISDIR(mode):
            if target in above:
                yield LeftOut(path, "is a link to a folder around it")
            else:
                yield from _walk(root, target, path + "/", (*above, target))
        elif stat.S_ISREG(mode):
            yield FoundFile(target, path)
        else:
            yield LeftOut(path, "is no regular file")
