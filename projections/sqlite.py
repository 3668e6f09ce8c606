"""SQLite files of projections: how they are opened, and how their rows are compared.

SQLite before 3.51.3 can corrupt a file when two connections checkpoint at once, so exactly
one connection per file writes and checkpoints. Readers open it with mode=ro and never do.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from projections import sql
from projections.projection import ProjectionStoreFailed

_BUSY_TIMEOUT_S: Final = 10.0
_WAL_BYTES_KEPT: Final = 16 * 1024 * 1024
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ABOUT_A_ROW: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.NotSupportedError,
)


@cache
def statements(file_name: str) -> Mapping[str, str]:
    """The named blocks of an SQL file: `-- name: x` begins block x."""
    _, *parts = _NAME.split(sql.load(file_name))
    return dict(zip(parts[0::2], parts[1::2], strict=True))


def open_for_writing(
    path: Path, *, schema: str, fill: Callable[[sqlite3.Connection], object]
) -> sqlite3.Connection:
    """The one writing connection of a projection's file; lays the file out when it is new.

    `fill` puts in the first rows, in the transaction that makes the tables. Raises
    ProjectionStoreFailed.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
            connection.execute("PRAGMA wal_autocheckpoint = 2000")
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
                connection.execute("BEGIN IMMEDIATE")
                for statement in _split(schema):
                    connection.execute(statement)
                fill(connection)
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise ProjectionStoreFailed(f"{path} cannot be opened: {error}") from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A read-only connection that never checkpoints. Raises sqlite3.Error if there is no file."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_S
    )
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def is_about_the_store(error: sqlite3.Error) -> bool:
    """Whether trying again later may help; else it is about the row that was written."""
    return not isinstance(error, _ABOUT_A_ROW)


def tables_of(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """The columns of every table, primary key first, in order of name."""
    found = {}
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        " ORDER BY name"
    )
    for (table,) in names.fetchall():
        info = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
        found[table] = tuple(name for name, _ in sorted(info, key=_key_first))
    return found


def rows_of(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    """All rows of a table in order of its columns. Names come from the file's own schema."""
    names = ", ".join(_quoted(column) for column in columns)
    order = ", ".join(str(i + 1) for i in range(len(columns)))
    return iter(connection.execute(f"SELECT {names} FROM {_quoted(table)} ORDER BY {order}"))


def table_hashes(
    connection: sqlite3.Connection, *, without: frozenset[str] = frozenset()
) -> dict[str, str]:
    """A SHA-256 per table over its rows, types and float bits included."""
    hashes = {}
    for table, columns in tables_of(connection).items():
        if table not in without:
            digest = hashlib.sha256()
            for row in rows_of(connection, table, columns):
                digest.update(canonical(row))
            hashes[table] = digest.hexdigest()
    return hashes


def canonical(row: tuple[Any, ...]) -> bytes:
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


def _split(script: str) -> Iterator[str]:
    # executescript would commit first; statement by statement keeps one transaction.
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _key_first(column: tuple[str, int]) -> int:
    return column[1] or 1_000_000


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
