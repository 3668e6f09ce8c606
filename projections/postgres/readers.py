"""Reading connections to the builds of one workspace. See readers.Readers.

Theory
------
Every query runs in one transaction with one snapshot, and asks in that same transaction which
build serves: so all servers switch to a new build at the same moment, with the row that says
so, and none keeps answering from an old one. `pinned` holds on to a build over several
transactions, for what is read in pages; builds that were replaced are kept for a while.

The settings make PostgreSQL run joins in the order they are written, along indexes: the search
has planned them from the data itself (`search.plan_sqlite`), where PostgreSQL's planner would
have to guess how conditions on rows of keys and values go together. Which statements keep
their plans: see `plans`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

import asyncpg

from projections.connection import Connection
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.dialect import POSTGRES
from projections.postgres.errors import DRIVER_ERRORS, is_about_the_store, store_failed
from projections.postgres.plans import Plans
from projections.postgres.sessions import Session, roll_back
from projections.projection import ProjectionStoreFailed
from projections.readers import QUERY_TIMEOUT_S
from projections.search.dialect import Dialect
from projections.search.errors import InvalidQuery

T = TypeVar("T")

# For all queries of a server: more would only take turns on its cores.
READERS: Final = 4
# Whoever waits longer for one of them is told to try again.
WAIT_S: Final = 10.0

_SETTINGS: Final = {
    "statement_timeout": str(round(QUERY_TIMEOUT_S * 1000)),
    "idle_in_transaction_session_timeout": "60000",
    "jit": "off",
    "join_collapse_limit": "1",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
}
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
# Through a pooler there are no settings of a session, and no plans that are kept in it.
_BEGIN_POOLED: Final = _BEGIN + "".join(
    f"SET LOCAL {name} = {value}; " for name, value in _SETTINGS.items()
)
_CURRENT: Final = """SELECT set_config('search_path', coalesce((
    SELECT schema_name FROM tracker.projection JOIN tracker.projection_build
    USING (workspace, name, number) WHERE workspace = '{workspace}' AND name = '{name}'
), 'tracker_none'), true)"""


class ReaderPool:
    """The sessions that all read stores of a server share."""

    def __init__(self, place: PostgresPlace, *, size: int = READERS) -> None:
        self._begin = _BEGIN_POOLED if place.is_pooled else _BEGIN
        self._plans = None if place.is_pooled else Plans.KEPT
        place = replace(place, settings={**_SETTINGS, **Plans.KEPT.settings})
        self._all = [Session(place, name=f"postgres-reader-{n}") for n in range(size)]
        # In turns: the one that was used last may still be ending its transaction.
        self._free: asyncio.Queue[Session] = asyncio.Queue()
        for session in self._all:
            self._free.put_nowait(session)

    async def run(
        self, query: Callable[[PostgresConnection], T], *, first: str = "", searches: bool = False
    ) -> T:
        """Call `query` in a transaction that begins with the script `first`."""
        begin = self._begin + first
        try:
            async with asyncio.timeout(WAIT_S):
                session = await self._free.get()
        except TimeoutError as error:
            raise ProjectionStoreFailed(
                f"all {len(self._all)} connections for reading have been busy for {WAIT_S:.0f} "
                "seconds; try again"
            ) from error
        try:
            return await session.run(
                lambda connection: _read(connection, begin, self._plans, query)
            )
        except DRIVER_ERRORS as error:
            if searches and isinstance(error, asyncpg.QueryCanceledError):
                raise InvalidQuery(
                    f"the search took longer than {QUERY_TIMEOUT_S:.0f} seconds",
                    hint="narrow it by experiment or by a condition on a param or metric",
                ) from error
            if not is_about_the_store(error):
                raise  # a bug of ours, or a value that no check has stopped
            raise store_failed(error, "the read models cannot be read") from error
        finally:
            session.end_transaction()
            self._free.put_nowait(session)

    async def aclose(self) -> None:
        """Close when the queries under way have ended."""
        for _ in self._all:
            session = await self._free.get()
            await session.aclose()


class PostgresReaders:
    """Of the serving build of one projection, or of one build."""

    dialect: Dialect = POSTGRES

    def __init__(
        self, pool: ReaderPool, workspace: str, name: str, *, schema: str | None = None
    ) -> None:
        self.label = f"projection {name} of workspace {workspace!r} in PostgreSQL"
        self._pool, self._workspace, self._name = pool, workspace, name
        if schema is None:
            self._path = _CURRENT.format(workspace=workspace, name=name)
        else:
            self._path = f"SET LOCAL search_path = {schema}"

    async def run(self, query: Callable[[Connection], T], *, searches: bool = False) -> T:
        """See readers.QueryReaders."""
        return await self._pool.run(query, first=self._path, searches=searches)

    def pinned(self, build: str | None) -> PostgresReaders:
        return PostgresReaders(self._pool, self._workspace, self._name, schema=build)

    async def aclose(self) -> None:
        """The pool belongs to whoever made it."""


def _read(
    connection: PostgresConnection,
    begin: str,
    plans: Plans | None,
    query: Callable[[PostgresConnection], T],
) -> T:
    """What the query gives, with its transaction left open; none when it raises."""
    try:
        connection.begin(begin, plans)
        return query(connection)
    except BaseException:
        roll_back(connection)
        raise
    finally:
        connection.forget_ahead()
