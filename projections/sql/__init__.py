"""The SQL of the read stores, by file name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def load(name: str) -> str:
    """The text of the SQL file `name`, for example `runs_schema.sql`."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
