"""The media type of a file by its name, as the field's tools expect it."""

from __future__ import annotations

import mimetypes
from typing import Final

# What Python's table lacks, or says differently on different systems.
_KNOWN: Final = {
    ".jsonl": "application/jsonl",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".npy": "application/octet-stream",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


def media_type_of(path: str) -> str:
    name = path.rpartition("/")[2]
    suffix = "." + name.rpartition(".")[2].lower() if "." in name else ""
    known = _KNOWN.get(suffix)
    if known is None:
        known, encoding = mimetypes.guess_type(name, strict=True)
        if encoding is not None:  # a compressed file is no text
            known = "application/octet-stream"
    return known or "application/octet-stream"
