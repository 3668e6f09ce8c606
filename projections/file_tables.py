"""FoldTables on one SQLite file. Holds the file's only writing connection."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from projections import sql
from projections.connection import Connection, WritableConnection
from projections.projection import CheckpointMoved, ProjectionStoreFailed
from projections.sqlite import FileRows, is_about_the_store, open_for_writing, statements
from projections.table_rows import hashes_of

T = TypeVar("T")


class FileTables:
    """See fold_tables.FoldTables. `name` is that of the projection, and of its SQL files."""

    def __init__(self, path: Path, name: str, fill: Callable[[WritableConnection], object]) -> None:
        self.label = str(path)
        self.connection = open_for_writing(path, schema=sql.load(f"{name}_schema.sql"), fill=fill)
        self._sql = statements(f"{name}_store.sql")
        self.position = int(self.connection.execute(self._sql["position"]).fetchone()[0])

    async def look(self, work: Callable[[Connection], T]) -> T:
        return self._done(work)

    async def run(self, work: Callable[[WritableConnection], T]) -> T:
        return work(self.connection)

    def moving(self, to: int) -> AbstractAsyncContextManager[FileTables]:
        return self._moving(to)

    async def put(self, work: Callable[[WritableConnection], T]) -> T:
        return self._done(work)

    async def hashes(self, *, without: frozenset[str] = frozenset()) -> Mapping[str, str]:
        return hashes_of(FileRows(self.connection), without=without)

    async def aclose(self) -> None:
        self.connection.close()

    @asynccontextmanager
    async def _moving(self, to: int) -> AsyncIterator[FileTables]:
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            values = {"from": self.position, "to": to}
            if connection.execute(self._sql["move_checkpoint"], values).rowcount != 1:
                raise CheckpointMoved(f"{self.label} is not at position {self.position} any more")
            yield self
            connection.execute("COMMIT")
        except BaseException as error:
            # A full disk may have ended the transaction already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and is_about_the_store(error):
                raise ProjectionStoreFailed(f"{self.label}: {error}") from error
            raise
        self.position = to

    def _done(self, work: Callable[[WritableConnection], T]) -> T:
        try:
            return work(self.connection)
        except sqlite3.Error as error:
            if is_about_the_store(error):
                raise ProjectionStoreFailed(f"{self.label}: {error}") from error
            raise
