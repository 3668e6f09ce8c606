"""The web UI's built files: read once, compressed once, named by what they are.

`ui/` holds the sources; their build lies beside this file under `assets/` and is part of
the package, so that nobody who installs it needs Node. All files are served below one
folder whose name is a digest of them all: a browser may keep them for ever, and the page
that names the folder is always asked for anew.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

PAGE_NAME: Final = "index.html"
FRAME_NAME: Final = "frame.html"
# Smaller files do not get smaller.
_COMPRESSED_FROM_BYTES: Final = 512
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    name: str
    media_type: str
    body: bytes
    compressed: bytes | None  # gzip, where that is shorter


@dataclass(frozen=True, slots=True)
class Build:
    """The page, with the folder's name in it, and the files of that folder."""

    digest: str
    page: Asset
    files: Mapping[str, Asset]


@functools.cache
def build() -> Build:
    """The build in the package. Raises FileNotFoundError when there is none."""
    folder = resources.files("ingest.ui") / "assets"
    contents = {entry.name: entry.read_bytes() for entry in _entries(folder)}
    if PAGE_NAME not in contents:
        raise FileNotFoundError(f"{folder} holds no {PAGE_NAME}; run: make ui")
    whole = hashlib.sha256()
    for name in sorted(contents):
        whole.update(name.encode() + b"\0" + hashlib.sha256(contents[name]).digest())
    digest = whole.hexdigest()[:16]
    page = contents.pop(PAGE_NAME).replace(b'"./', f'"/assets/{digest}/'.encode())
    files = {name: _asset(name, body) for name, body in contents.items()}
    return Build(digest, _asset(PAGE_NAME, page), files)


def _entries(folder: Traversable) -> list[Traversable]:
    return [entry for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []


def _asset(name: str, body: bytes) -> Asset:
    suffix = "." + name.rpartition(".")[2]
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= _COMPRESSED_FROM_BYTES else body
    return Asset(name, media_type, body, packed if len(packed) < len(body) else None)
