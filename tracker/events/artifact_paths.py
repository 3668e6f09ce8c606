"""Where an artifact lies in its run's tree: a relative path with `/` between its parts.

A path travels to other machines and becomes files there when it is downloaded. So what no
file system can hold, what would lead out of the folder, and what means something else on
another system is refused where the path first appears, with the part that is to be changed.
"""

from __future__ import annotations

import re
from typing import Final

from tracker.events import limits
from tracker.events.errors import InvalidEvent

# Windows knows these as devices, in any case and with any extension.
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.I)
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # and halves of characters
_DRIVE: Final = re.compile(r"[a-zA-Z]:")
_DECODINGS: Final = 3


def check_artifact_path(path: str) -> None:
    """Raise InvalidEvent unless `path` may name a file (or folder) of a run.

    Parts are separated by `/`; none is empty, `.` or `..`, in plain text or percent-encoded;
    none is longer than 255 bytes, the longest name of a file.
    """
    if not isinstance(path, str):
        raise InvalidEvent(f"an artifact's path must be a string, not {type(path).__name__}")
    shown = path[:80]
    if not 0 < len(path) <= limits.ARTIFACT_PATH_CHARACTERS_MAX:
        raise InvalidEvent(
            f"artifact path {shown!r}… has {len(path)} characters; 1 to "
            f"{limits.ARTIFACT_PATH_CHARACTERS_MAX} are allowed (artifact_path_characters_max)"
        )
    if _CONTROLS.search(path):
        raise InvalidEvent(f"artifact path {shown!r} has a control character; use printable text")
    if "\\" in path:
        raise InvalidEvent(f"artifact path {shown!r} has a backslash; separate parts with /")
    if any(part == "." for part in path.split("/")):
        raise InvalidEvent(f"artifact path {shown!r} has a part '.'; leave it out")
    decoded = path
    for _ in range(_DECODINGS):
        _check_escape(decoded, shown)
        if "%" not in decoded:
            break
        from urllib.parse import unquote  # costs an import of the SDK milliseconds

        decoded = unquote(decoded)
    else:
        _check_escape(decoded, shown)
    for part in path.split("/"):
        _check_part(part, shown)


def _check_escape(path: str, shown: str) -> None:
    """What leads out of a folder, in the encoding at hand; a backslash separates on Windows."""
    path = path.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path):
        raise InvalidEvent(f"artifact path {shown!r} is absolute; name it relative to the run")
    if any(part == ".." for part in path.split("/")):
        raise InvalidEvent(f"artifact path {shown!r} has a part '..'; spell it out")


def _check_part(part: str, shown: str) -> None:
    if not part:
        raise InvalidEvent(f"artifact path {shown!r} has an empty part; remove the extra /")
    if len(part.encode()) > limits.ARTIFACT_NAME_BYTES_MAX:
        raise InvalidEvent(
            f"artifact path {shown!r}… has a part of {len(part.encode())} bytes; at most "
            f"{limits.ARTIFACT_NAME_BYTES_MAX} are allowed (artifact_name_bytes_max)"
        )
    if _RESERVED.fullmatch(part) or part[-1] in ". ":
        raise InvalidEvent(
            f"artifact path {shown!r}: Windows cannot hold a file called {part[:40]!r}; rename it"
        )
