"""The rows of a build, table by table: what state hashes and verify are made of."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class TableRows(Protocol):
    """All rows of a build as one state of it."""

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """The columns of every table, primary key first."""
        ...

    def key_length(self, table: str) -> int:
        """How many of the columns are the primary key."""
        ...

    def rows(self, table: str) -> Iterator[Any]:
        """Its rows in order of their primary keys, each a sequence of those columns."""
        ...


def hashes_of(source: TableRows, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """A SHA-256 per table over its rows, types and float bits included."""
    hashes = {}
    for table in sorted(source.tables()):
        if table not in without:
            digest = hashlib.sha256()
            for row in source.rows(table):
                digest.update(canonical(row))
            hashes[table] = digest.hexdigest()
    return hashes


def canonical(row: Any) -> bytes:
    """A row as bytes: equal if and only if every value is, by type and bits."""
    return b"".join(map(_canonical, row))


def _canonical(value: Any) -> bytes:
    match value:
        case None:
            return b"n"
        case int():
            return b"i%d;" % value
        case float():
            return b"f" + struct.pack("<d", value)
        case str():
            text = value.encode("utf-8", "surrogatepass")
            return b"s%d:" % len(text) + text
        case _:
            blob = bytes(value)
            return b"b%d:" % len(blob) + blob
