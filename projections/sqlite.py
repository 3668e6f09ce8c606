"""SQLite files of projections: how they are opened, and how their rows are compared.

SQLite before 3.51.3 can corrupt a file when two connections checkpoint at once, so exactly
one connection per file writes and checkpoints. Readers open it with mode=ro and never do.
"""

from __future__ import annotations

import re
import sqlite3
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


class FileRows:
    """TableRows of a SQLite file, as one transaction of a connection sees them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tables(self) -> dict[str, tuple[str, ...]]:
        found = {}
        names = self._connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " ORDER BY name"
        )
        for (table,) in names.fetchall():
            info = self._connection.execute(
                "SELECT name, pk FROM pragma_table_info(?)", (table,)
            ).fetchall()
            found[table] = tuple(name for name, _ in sorted(info, key=_key_first))
        return found

    def key_length(self, table: str) -> int:
        """All columns where there is no primary key."""
        info = self._connection.execute("SELECT pk FROM pragma_table_info(?)", (table,)).fetchall()
        return sum(1 for (pk,) in info if pk) or len(info)

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Names come from the file's own schema."""
        columns = self.tables()[table]
        names = ", ".join(_quoted(column) for column in columns)
        order = ", ".join(str(i + 1) for i in range(len(columns)))
        return iter(
            self._connection.execute(f"SELECT {names} FROM {_quoted(table)} ORDER BY {order}")
        )


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
