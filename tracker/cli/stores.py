"""Which store a command means: a file, the file a server here would use, or a server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

_SQLITE: Final = "sqlite:///"


def is_server(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def store_path_of(source: str | None) -> Path:
    """The log database's file. Raises UsageError when there is none."""
    if source is None:
        from ingest.settings import load_settings

        path = load_settings().store_path
        if path is None:
            raise click.UsageError("a store in memory cannot be opened from here")
    else:
        path = Path(source.removeprefix(_SQLITE)).expanduser().absolute()
    if not path.is_file():
        raise click.UsageError(f"there is no store at {path}")
    return path
