"""FoldTables on the schema of one build in PostgreSQL.

Reads happen before the transaction that writes: it is open for no longer than the rows take,
so that a server that is paused in the middle of it holds its locks for a moment only. The
checkpoint moves by compare-and-set, under the condition that this server still leads: the
row of the lease must carry its token (see `leadership`). Commits wait for the disk like those
of the log: a crash of PostgreSQL that took a checkpoint back would show readers a past state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from projections.connection import Connection, WritableConnection
from projections.postgres.connection import PostgresConnection
from projections.postgres.errors import DRIVER_ERRORS, is_about_the_store, store_failed
from projections.postgres.rows import SchemaRows
from projections.postgres.sessions import Session, recover
from projections.projection import CheckpointMoved, StoreAway
from projections.table_rows import hashes_of

T = TypeVar("T")

STATEMENT_TIMEOUT_S: Final = 60.0
# A leader that is paused in mid-transaction is out of the way after this long.
IDLE_IN_TRANSACTION_S: Final = 2.5

_LIMITS: Final = (
    f"SET LOCAL statement_timeout = {round(STATEMENT_TIMEOUT_S * 1000)}; "
    "SET LOCAL lock_timeout = 5000; SET LOCAL jit = off; "
)
# Whatever is stricter than `on` stays.
_DURABLY: Final = (
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
_MOVE: Final = """
WITH leader AS (
    SELECT FROM tracker.projection_lease WHERE workspace = $1 AND token = $2 FOR KEY SHARE
)
UPDATE tracker.projection_build SET position = $6
WHERE workspace = $1 AND name = $3 AND number = $4 AND position = $5
  AND EXISTS (SELECT FROM leader)
RETURNING position
"""
_IS_LED: Final = "SELECT FROM tracker.projection_lease WHERE workspace = $1 AND token = $2"


class LeadershipLost(StoreAway):
    """Another server folds now; nothing was written."""


@dataclass(frozen=True, slots=True)
class PostgresBuild:
    """See build_store.Build."""

    workspace: str
    name: str
    number: int
    version: int
    schema: str

    @property
    def label(self) -> str:
        return f"schema {self.schema}"


class PostgresTables:
    """See fold_tables.FoldTables. `token` is asked for before every write."""

    def __init__(
        self, session: Session, build: PostgresBuild, *, position: int, token: Callable[[], int]
    ) -> None:
        self.label = build.label
        self.position = position
        self._session = session
        self._build = build
        self._token = token
        path = f"SET LOCAL search_path = {build.schema}; "
        self._look = f"BEGIN READ ONLY; {_LIMITS}{path}"
        idle_ms = round(IDLE_IN_TRANSACTION_S * 1000)
        self._write = (
            f"BEGIN; {_LIMITS}{path}"
            f"SET LOCAL idle_in_transaction_session_timeout = {idle_ms}; {_DURABLY}"
        )

    async def look(self, work: Callable[[Connection], T]) -> T:
        return await self._in_transaction(self._look, work)

    async def put(self, work: Callable[[WritableConnection], T]) -> T:
        return await self._in_transaction(self._write, work)

    def moving(self, to: int) -> AbstractAsyncContextManager[PostgresTables]:
        return self._moving(to)

    async def run(self, work: Callable[[WritableConnection], T]) -> T:
        """Inside `moving`."""

        def run(connection: PostgresConnection) -> T:
            connection.check_transaction()  # a session that lost it has a new one
            connection.forget_ahead()
            return work(connection)

        return await self._session.run(run)

    async def hashes(self, *, without: frozenset[str] = frozenset()) -> Mapping[str, str]:
        def query(connection: PostgresConnection) -> dict[str, str]:
            return hashes_of(SchemaRows(connection, self._build.name), without=without)

        return await self._in_transaction(self._look, query)

    async def aclose(self) -> None:
        await self._session.aclose()

    @asynccontextmanager
    async def _moving(self, to: int) -> AsyncIterator[PostgresTables]:
        try:
            await self._session.run(lambda connection: self._begin(connection, to))
            yield self
            await self._session.run(lambda connection: connection.commit())
        except BaseException as error:
            await self._give_up(error)
            if isinstance(error, DRIVER_ERRORS) and is_about_the_store(error):
                raise store_failed(error, f"{self.label} cannot be written") from error
            raise
        self.position = to

    async def _give_up(self, error: BaseException) -> None:
        try:
            await self._session.run(lambda connection: recover(connection, error))
        except DRIVER_ERRORS:
            return  # the connection is gone, and the transaction with it

    def _begin(self, connection: PostgresConnection, to: int) -> None:
        build, token = self._build, self._token()
        connection.begin(self._write)
        moved = connection.direct(
            _MOVE, build.workspace, token, build.name, build.number, self.position, to
        )
        if moved:
            return
        if not connection.direct(_IS_LED, build.workspace, token):
            raise LeadershipLost("another server folds now")
        raise CheckpointMoved(f"{self.label} is not at position {self.position} any more")

    async def _in_transaction(self, begin: str, work: Callable[[PostgresConnection], T]) -> T:
        def run(connection: PostgresConnection) -> T:
            connection.forget_ahead()
            return work(connection)

        try:
            return await self._session.in_transaction(begin, run)
        except DRIVER_ERRORS as error:
            if is_about_the_store(error):
                raise store_failed(error, f"{self.label} cannot be read") from error
            raise
