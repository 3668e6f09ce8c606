"""Two kinds of databases with MLflow's tables, read with one kind of query.

Queries have `?` for their parameters. Everything is read in one transaction that changes
nothing, so what MLflow's server writes meanwhile does not show.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from tracker.integrations.mlflow_import.source import SourceUnreadable

Row = Sequence[Any]


class Tables(Protocol):
    """A connection to a database. Raises SourceUnreadable."""

    # Behind a text in ORDER BY: the order of code points, whatever the database's own is.
    by_code_point: str

    async def columns(self, table: str) -> frozenset[str]:
        """The columns of a table; none when there is no such table."""
        ...

    async def rows(self, query: str, *params: Any) -> Sequence[Row]: ...

    async def aclose(self) -> None: ...


class SqliteTables:
    by_code_point = "COLLATE BINARY"

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise SourceUnreadable(f"there is no file {path}")
        self._connection = sqlite3.connect(
            f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, isolation_level=None, timeout=10
        )
        self._is_begun = False

    async def columns(self, table: str) -> frozenset[str]:
        rows = await self.rows("SELECT name FROM pragma_table_info(?)", table)
        return frozenset(name for (name,) in rows)

    async def rows(self, query: str, *params: Any) -> Sequence[Row]:
        try:
            if not self._is_begun:
                self._connection.execute("BEGIN")
                self._is_begun = True
            return self._connection.execute(query, params).fetchall()
        except sqlite3.Error as error:
            raise SourceUnreadable(f"the database cannot be read: {error}") from None

    async def aclose(self) -> None:
        self._connection.close()


class PostgresTables:
    """Needs asyncpg, which the extra `postgres` brings."""

    by_code_point = 'COLLATE "C"'

    def __init__(self, connection: Any, transaction: Any) -> None:
        self._connection = connection
        self._transaction = transaction

    @classmethod
    async def open(cls, uri: str) -> PostgresTables:
        try:
            import asyncpg
        except ImportError:
            raise SourceUnreadable(
                "reading PostgreSQL needs asyncpg: pip install 'tracker[postgres]'"
            ) from None
        scheme, _, rest = uri.partition("://")
        try:
            connection = await asyncpg.connect(f"postgresql://{rest}", timeout=10)
        except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as error:
            reason = str(error) or type(error).__name__
            host = urlsplit(uri).hostname or scheme
            raise SourceUnreadable(f"PostgreSQL at {host} cannot be read: {reason}") from None
        transaction = connection.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
        return cls(connection, transaction)

    async def columns(self, table: str) -> frozenset[str]:
        rows = await self.rows(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_name = ? AND table_schema = ANY (current_schemas(false))",
            table,
        )
        return frozenset(name for (name,) in rows)

    async def rows(self, query: str, *params: Any) -> Sequence[Row]:
        import asyncpg

        pieces = query.split("?")
        numbered = "".join(
            piece if index == 0 else f"${index}{piece}" for index, piece in enumerate(pieces)
        )
        try:
            found: Sequence[Row] = await self._connection.fetch(numbered, *params)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SourceUnreadable(f"the database cannot be read: {error}") from None
        return found

    async def aclose(self) -> None:
        await self._transaction.rollback()
        await self._connection.close()


async def open_tables(uri: str) -> Tables:
    """The database at sqlite:///PATH or postgresql://… (also with a driver: postgresql+x://)."""
    scheme = uri.partition("://")[0].partition("+")[0]
    match scheme:
        case "sqlite":
            path = unquote(uri.partition("://")[2].partition("?")[0])
            if not path.startswith("/"):
                raise SourceUnreadable(f"{uri} is no address of a file; write sqlite:///PATH")
            # As SQLAlchemy has it: three slashes and a relative path, four and an absolute one.
            return SqliteTables(Path(path[1:]))
        case "postgresql" | "postgres":
            return await PostgresTables.open(uri)
        case _:
            raise SourceUnreadable(
                f"{scheme}:// cannot be read; use sqlite:///PATH, postgresql://… or a folder mlruns"
            )
