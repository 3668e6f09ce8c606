"""Which store a command means: a file, a database, what a server here would use, or a server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")


def is_server(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def database_of(source: str | None) -> str | None:
    """The PostgreSQL that is meant; None when it is something else."""
    if source is not None:
        return source if source.startswith(_POSTGRES) else None
    from ingest.settings import load_settings

    return load_settings().postgres_uri


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
