"""Media types by a file's name: what a file is, and what MLflow's proxy calls it."""

from __future__ import annotations

import mimetypes
from typing import Final

_SHOWN_AS_TEXT: Final = frozenset(
    {
        *("txt", "log", "err", "cfg", "conf", "cnf", "cf", "ini", "properties", "prop", "hocon"),
        *("toml", "yaml", "yml", "xml", "json", "js", "py", "py3", "csv", "tsv", "md", "rst"),
        *("ipynb", "MLmodel", "mlproject"),
    }
)
_BYTES: Final = "application/octet-stream"


def media_type_of(path: str) -> str | None:
    """What the file is; None when its name does not tell."""
    return mimetypes.guess_type(path.rpartition("/")[2])[0]


def served_media_type_of(name: str) -> str:
    """What MLflow sends it as: plain text for all that people read."""
    extension = name.rpartition(".")[2] if "." in name else name
    if extension in _SHOWN_AS_TEXT:
        return "text/plain"
    return media_type_of(name) or _BYTES
