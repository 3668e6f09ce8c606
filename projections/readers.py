"""Read-only connections to a projection's file, each on a thread of its own.

A query is a function called with a connection, so it costs one change of threads however
many statements it has, and it sees one state of the file: it runs inside one transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from projections.connection import Connection
from projections.projection import ProjectionStoreFailed
from projections.search.dialect import SQLITE, Dialect
from projections.search.errors import InvalidQuery
from projections.search.sqlite_functions import register_functions
from projections.sqlite import open_for_reading

T = TypeVar("T")


class QueryReaders(Protocol):
    """Connections for queries on one build, or on the one that serves."""

    @property
    def label(self) -> str:
        """What is read, for people."""
        ...

    @property
    def dialect(self) -> Dialect: ...

    async def run(self, query: Callable[[Connection], T], *, searches: bool = False) -> T:
        """Call `query` with a connection, which sees one state.

        It may be called again, if the state that it saw first is not the one it saw later; so
        it changes nothing but what can be changed twice. Raises InvalidQuery when what
        `searches` takes longer than QUERY_TIMEOUT_S, and ProjectionStoreFailed when the tables
        cannot be read: what asks for one thing by its name is no fault of who asks, however
        long it takes.
        """
        ...

    def pinned(self, build: str | None) -> QueryReaders:
        """Readers of the build that a query has read, for what takes several queries."""
        ...

    async def aclose(self) -> None: ...


# As many as answer at once on a small server; more would only take turns. The one that was
# free last is taken first, so that mostly one cache is warm and the others stay small.
READERS: Final = 3
QUERY_TIMEOUT_S: Final = 30.0
# SQLite asks whether to go on after so many of its instructions: about every millisecond.
_INSTRUCTIONS_BETWEEN_CHECKS: Final = 50_000
_CACHE_KIB: Final = 64 * 1024


class Readers:
    """A pool of connections to one file. The file must exist before the first query."""

    dialect: Dialect = SQLITE

    def __init__(self, path: Path) -> None:
        self.label = str(path)
        self._free: asyncio.LifoQueue[_Reader] = asyncio.LifoQueue()
        self._all = [_Reader(path) for _ in range(READERS)]
        for reader in reversed(self._all):
            self._free.put_nowait(reader)

    async def run(self, query: Callable[[Connection], T], *, searches: bool = False) -> T:
        """See QueryReaders."""
        reader = await self._free.get()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                reader.thread, reader.run, query, searches
            )
        finally:
            self._free.put_nowait(reader)

    def pinned(self, build: str | None) -> Readers:
        return self  # a file is one build

    async def aclose(self) -> None:
        """Close when the queries under way have ended."""
        loop = asyncio.get_running_loop()
        for reader in self._all:
            await loop.run_in_executor(reader.thread, reader.close)
            reader.thread.shutdown(wait=False)


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._deadline = 0.0
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runs-reader")

    def run(self, query: Callable[[Connection], T], searches: bool) -> T:
        self._deadline = time.monotonic() + QUERY_TIMEOUT_S
        try:
            connection = self._open()
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if searches and time.monotonic() > self._deadline:
                raise InvalidQuery(
                    f"the search took longer than {QUERY_TIMEOUT_S:.0f} seconds",
                    hint="narrow it by experiment or by a condition on a param or metric",
                ) from error
            raise ProjectionStoreFailed(f"{self._path} cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ProjectionStoreFailed(f"{self._path} cannot be read: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = open_for_reading(self._path)
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.set_progress_handler(self._is_late, _INSTRUCTIONS_BETWEEN_CHECKS)
            register_functions(connection)
            self._connection = connection
        return self._connection

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline
