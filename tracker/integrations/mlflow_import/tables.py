"""Two kinds of databases with MLflow's tables, read with one kind of query.

Queries have `?` for their parameters; several may be asked at once. Everything is read in one
transaction that changes nothing, so what MLflow's server writes meanwhile does not show.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from tracker.integrations.mlflow_import.source import SourceUnreadable

Row = Sequence[Any]

_TIMEOUT_S: Final = 10


class Tables(Protocol):
    """A connection to a database. Raises SourceUnreadable."""

    # Behind a text in ORDER BY: the order of code points, whatever the database's own is.
    by_code_point: str

    async def columns(self, table: str) -> frozenset[str]:
        """The columns of a table; none when there is no such table."""
        ...

    async def rows(self, query: str, *params: Any) -> Sequence[Row]: ...

    def pages(self, query: str, *params: Any, rows_max: int) -> AsyncIterator[Sequence[Row]]:
        """The same rows, that many at once; other queries may be asked in between."""
        ...

    async def aclose(self) -> None: ...


class SqliteTables:
    by_code_point = "COLLATE BINARY"

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise SourceUnreadable(f"there is no file {path}")
        self._connection = sqlite3.connect(
            f"file:{quote(str(path.resolve()))}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=_TIMEOUT_S,
        )
        self._is_begun = False

    async def columns(self, table: str) -> frozenset[str]:
        rows = await self.rows("SELECT name FROM pragma_table_info(?)", table)
        return frozenset(name for (name,) in rows)

    async def rows(self, query: str, *params: Any) -> Sequence[Row]:
        with _sqlite_errors():
            return self._execute(query, params).fetchall()

    async def pages(self, query: str, *params: Any, rows_max: int) -> AsyncIterator[Sequence[Row]]:
        with _sqlite_errors():
            cursor = self._execute(query, params)
        while True:
            with _sqlite_errors():
                page = cursor.fetchmany(rows_max)
            if not page:
                return
            yield page

    def _execute(self, query: str, params: Sequence[Any]) -> sqlite3.Cursor:
        if not self._is_begun:
            self._connection.execute("BEGIN")
            self._is_begun = True
        return self._connection.execute(query, params)

    async def aclose(self) -> None:
        self._connection.close()


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SourceUnreadable(f"the database cannot be read: {error}") from None


class PostgresTables:
    """Needs asyncpg, which the extra `postgres` brings."""

    by_code_point = 'COLLATE "C"'

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()  # a connection answers one question at a time

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
            connection = await asyncpg.connect(f"postgresql://{rest}", timeout=_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as error:
            reason = str(error) or type(error).__name__
            host = urlsplit(uri).hostname or scheme
            raise SourceUnreadable(f"PostgreSQL at {host} cannot be read: {reason}") from None
        with _postgres_errors():
            await connection.transaction(isolation="repeatable_read", readonly=True).start()
        return cls(connection)

    async def columns(self, table: str) -> frozenset[str]:
        rows = await self.rows(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_name = ? AND table_schema = ANY (current_schemas(false))",
            table,
        )
        return frozenset(name for (name,) in rows)

    async def rows(self, query: str, *params: Any) -> Sequence[Row]:
        async with self._asking():
            found: Sequence[Row] = await self._connection.fetch(_numbered(query), *params)
        return found

    async def pages(self, query: str, *params: Any, rows_max: int) -> AsyncIterator[Sequence[Row]]:
        async with self._asking():
            cursor = await self._connection.cursor(_numbered(query), *params)
        while True:
            async with self._asking():
                page = await cursor.fetch(rows_max)
            if not page:
                return
            yield page

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        async with self._lock:
            with _postgres_errors():
                yield

    async def aclose(self) -> None:
        # Nothing was written: what ends with the connection needs no rollback.
        await self._connection.close(timeout=_TIMEOUT_S)


@contextmanager
def _postgres_errors() -> Iterator[None]:
    import asyncpg

    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SourceUnreadable(f"the database cannot be read: {error}") from None


def _numbered(query: str) -> str:
    """The query with PostgreSQL's names for its parameters: $1, $2."""
    pieces = query.split("?")
    return pieces[0] + "".join(f"${index}{piece}" for index, piece in enumerate(pieces[1:], 1))


def sqlite_path(uri: str) -> Path:
    """As SQLAlchemy has it: three slashes and a relative path, four and an absolute one."""
    path = unquote(uri.partition("://")[2].partition("?")[0])
    if not path.startswith("/"):
        raise SourceUnreadable(f"{uri} is no address of a file; write sqlite:///PATH")
    return Path(path[1:])


async def open_tables(uri: str) -> Tables:
    """The database at sqlite:///PATH or postgresql://… (also with a driver: postgresql+x://)."""
    scheme = uri.partition("://")[0].partition("+")[0]
    match scheme:
        case "sqlite":
            return SqliteTables(sqlite_path(uri))
        case "postgresql" | "postgres":
            return await PostgresTables.open(uri)
        case _:
            raise SourceUnreadable(
                f"{scheme}:// cannot be read; use sqlite:///PATH, postgresql://… or a folder mlruns"
            )
