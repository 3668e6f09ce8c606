"""Reading connections to the builds of one workspace. See readers.Readers.

Theory
------
Every query sees one snapshot, and asks for it together with which build serves: so all servers
switch to a new build at the same moment, with the row that says so, and none keeps answering
from an old one. Mostly that is a transaction; `reading` says where it is not. `pinned` holds on
to a build over several queries, for what is read in pages; builds that were replaced are kept
for a while.

The settings make PostgreSQL run joins in the order they are written, along indexes: the search
has planned them from the data itself (`search.plan_sqlite`), where PostgreSQL's planner would
have to guess how conditions on rows of keys and values go together. Which statements keep
their plans: see `plans`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Final, TypeVar

import asyncpg

from projections.connection import Connection
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.dialect import POSTGRES
from projections.postgres.errors import DRIVER_ERRORS, is_about_the_store, store_failed
from projections.postgres.plans import Plans
from projections.postgres.reading import AHEAD_S, Manner, Reading, Source, read, stand
from projections.postgres.sessions import Session
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
    "idle_in_transaction_session_timeout": "60000",
    "jit": "off",
    "join_collapse_limit": "1",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
}
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    f"SET LOCAL statement_timeout = {round(QUERY_TIMEOUT_S * 1000)}"
)


class ReaderPool:
    """The sessions that all read stores of a server share."""

    def __init__(self, place: PostgresPlace, *, size: int = READERS) -> None:
        # Through a pooler there are no settings of a session.
        limits = [f"SET LOCAL {name} = {value}" for name, value in _SETTINGS.items()]
        begin = "; ".join([_BEGIN, *limits]) if place.is_pooled else _BEGIN
        self._manner = Manner(begin, place.is_pooled)
        ahead = {"statement_timeout": str(round(AHEAD_S * 1000))}
        place = replace(place, settings={**_SETTINGS, **ahead}, plans=Plans.ANEW)
        self._size = size
        # The one that was used last comes first, as its caches are warm; last come those that
        # may still be ending their transactions, in turns.
        self._free: asyncio.PriorityQueue[tuple[bool, int, Session]] = asyncio.PriorityQueue()
        self._turns = count()
        for number in range(size):
            self._put_back(Session(place, name=f"postgres-reader-{number}"), is_ending=True)

    async def run(
        self, query: Callable[[Reading], T], source: Source, *, searches: bool = False
    ) -> T:
        """Call `query`; see readers.QueryReaders."""
        try:
            async with asyncio.timeout(WAIT_S):
                session = await self._take()
        except TimeoutError as error:
            raise ProjectionStoreFailed(
                f"all {self._size} connections for reading have been busy for {WAIT_S:.0f} "
                "seconds; try again"
            ) from error

        def work(connection: PostgresConnection) -> tuple[T, bool]:
            answer = read(connection, source, self._manner, query, searches=searches)
            return answer, connection.in_transaction

        is_ending = True  # also when nobody waits for it any more
        try:
            answer, is_ending = await session.run(work)
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
            if is_ending:
                stays = searches and not self._manner.is_pooled
                session.end(partial(stand, source=source) if stays else None)
            self._put_back(session, is_ending=is_ending)
        return answer

    async def aclose(self) -> None:
        """Close when the queries under way have ended."""
        for _ in range(self._size):
            session = await self._take()
            await session.aclose()

    async def _take(self) -> Session:
        _, _, session = await self._free.get()
        return session

    def _put_back(self, session: Session, *, is_ending: bool) -> None:
        turn = next(self._turns)
        self._free.put_nowait((is_ending, turn if is_ending else -turn, session))


class PostgresReaders:
    """Of the serving build of one projection, or of one build."""

    dialect: Dialect = POSTGRES

    def __init__(
        self, pool: ReaderPool, workspace: str, name: str, *, schema: str | None = None
    ) -> None:
        self.label = f"projection {name} of workspace {workspace!r} in PostgreSQL"
        self._pool, self._source = pool, Source(workspace, name, schema)

    async def run(self, query: Callable[[Connection], T], *, searches: bool = False) -> T:
        """See readers.QueryReaders."""
        return await self._pool.run(query, self._source, searches=searches)

    def pinned(self, build: str | None) -> PostgresReaders:
        return PostgresReaders(self._pool, self._source.workspace, self._source.name, schema=build)

    async def aclose(self) -> None:
        """The pool belongs to whoever made it."""
