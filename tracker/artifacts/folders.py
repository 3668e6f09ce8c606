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
    """Every file of a folder, in order of path. Raises InvalidEvent if it is no folder, and
    OSError if there is nothing."""
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise InvalidEvent(f"{folder} is no folder; log a single file with log_artifact")
    root = folder.resolve()
    yield from _walk(root, root, "", (root,))


def _walk(
    root: Path, folder: Path, prefix: str, above: tuple[Path, ...]
) -> Iterator[FoundFile | LeftOut]:
    """`folder` is resolved, so what lies in it and is no link lies inside the root."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield LeftOut(prefix or ".", f"cannot be listed: {error.strerror}")
        return
    for entry in entries:
        path, target = prefix + entry.name, Path(entry.path)
        try:
            if entry.is_symlink():
                target = target.resolve(strict=True)
                is_folder, is_file = target.is_dir(), target.is_file()
            else:
                is_folder = entry.is_dir(follow_symlinks=False)
                is_file = entry.is_file(follow_symlinks=False)
        except (OSError, RuntimeError) as error:  # a dangling link, or one in a circle
            yield LeftOut(path, f"cannot be followed: {error}")
            continue
        if not target.is_relative_to(root):
            yield LeftOut(path, "is a link out of the folder")
        elif is_folder and target in above:
            yield LeftOut(path, "is a link to a folder around it")
        elif is_folder:
            yield from _walk(root, target, path + "/", (*above, target))
        elif is_file:
            yield FoundFile(target, path)
        else:
            yield LeftOut(path, "is no regular file")
