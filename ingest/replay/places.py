"""What SRC and DST of a replay may name, told from their text alone.

PATH, sqlite:///PATH             a log in a SQLite file
postgresql://…                   a log in PostgreSQL
http://…, https://…              a server
archive:DIR, archive:s3://…      an archive; also a folder that holds one, and s3://…
parquet:DIR, parquet:s3://…      tables for other engines; only written
duckdb:FILE                      likewise
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from tracker.events.errors import TrackerError

_SQLITE: Final = "sqlite:///"


class PlaceNotUnderstood(TrackerError):
    """The text names no place that can be read from, or written to."""


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    uri: str

    def __str__(self) -> str:
        """Without password and options."""
        parts = urlsplit(self.uri)
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{user}{parts.hostname or ''}{port}{parts.path}"


@dataclass(frozen=True, slots=True)
class ServerPlace:
    uri: str

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    location: str  # a folder, or s3://BUCKET/PREFIX

    def __str__(self) -> str:
        return f"archive:{self.location}"


@dataclass(frozen=True, slots=True)
class ParquetPlace:
    location: str

    def __str__(self) -> str:
        return f"parquet:{self.location}"


@dataclass(frozen=True, slots=True)
class DuckdbPlace:
    path: Path

    def __str__(self) -> str:
        return f"duckdb:{self.path}"


LogPlace: TypeAlias = SqlitePlace | PostgresPlace | ServerPlace | ArchivePlace
Place: TypeAlias = LogPlace | ParquetPlace | DuckdbPlace


def source_of(text: str) -> LogPlace:
    """Raises PlaceNotUnderstood; also for a file that is not there."""
    place = _place_of(text)
    if isinstance(place, ParquetPlace | DuckdbPlace):
        raise PlaceNotUnderstood(
            f"{place} cannot be replayed: tables for other engines have no event log in them; "
            "SRC is a SQLite file, postgresql://…, http://…, or an archive"
        )
    if isinstance(place, SqlitePlace):
        if place.path.is_dir():
            return ArchivePlace(str(place.path))
        if not place.path.is_file():
            raise PlaceNotUnderstood(f"there is no store at {place.path}")
    return place


def destination_of(text: str) -> Place:
    """Raises PlaceNotUnderstood."""
    place = _place_of(text)
    if isinstance(place, SqlitePlace) and place.path.is_dir():
        raise PlaceNotUnderstood(
            f"{place.path} is a folder: name a file for a SQLite store, or say what is to be "
            f"written with archive:{place.path} or parquet:{place.path}"
        )
    return place


def is_same(source: Place, destination: Place) -> bool:
    """Whether both texts name one place, as far as their texts tell."""
    if isinstance(source, SqlitePlace) and isinstance(destination, SqlitePlace):
        if destination.path.exists():
            return source.path.samefile(destination.path)
        return False
    if isinstance(source, PostgresPlace) and isinstance(destination, PostgresPlace):
        return _address(source.uri) == _address(destination.uri)
    return source == destination


def _place_of(text: str) -> Place:
    scheme, colon, rest = text.partition(":")
    match scheme.lower() if colon else "":
        case "http" | "https":
            if not urlsplit(text).hostname:
                raise PlaceNotUnderstood(f"{text!r} names no host")
            return ServerPlace(text.rstrip("/"))
        case "postgresql" | "postgres":
            return PostgresPlace(text)
        case "archive":
            return ArchivePlace(_location(rest, "archive"))
        case "s3":
            return ArchivePlace(_location(text, "archive"))
        case "parquet":
            return ParquetPlace(_location(rest, "parquet"))
        case "duckdb":
            if not rest:
                raise PlaceNotUnderstood("duckdb: what file? For example duckdb:runs.duckdb")
            return DuckdbPlace(_absolute(rest.removeprefix("//")))
        case "sqlite":
            if not text.startswith(_SQLITE) or text == _SQLITE:
                raise PlaceNotUnderstood(
                    "use sqlite:///PATH (four slashes for an absolute path), or the path alone"
                )
            return SqlitePlace(_absolute(text.removeprefix(_SQLITE)))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) or not text:
        raise PlaceNotUnderstood(
            f"{scheme}:… is no place that is known: use a path or sqlite:///PATH, "
            "postgresql://…, http(s)://…, archive:DIR, s3://BUCKET/PREFIX, parquet:DIR or "
            "duckdb:FILE"
        )
    return SqlitePlace(_absolute(text))


def _location(text: str, kind: str) -> str:
    if text.startswith("s3://"):
        return text.rstrip("/")
    if not text or re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise PlaceNotUnderstood(f"{kind}: give a folder, or s3://BUCKET/PREFIX")
    return str(_absolute(text))


def _absolute(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _address(uri: str) -> tuple[str, int, str]:
    parts = urlsplit(uri)
    return (parts.hostname or "localhost", parts.port or 5432, parts.path)
