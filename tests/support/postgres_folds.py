"""A build in PostgreSQL that a test folds into by hand, transaction by transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from projections.kinds import KINDS
from projections.postgres.builds import PostgresBuilds
from projections.postgres.connection import PostgresPlace
from projections.postgres.layout import tables
from projections.postgres.leadership import PostgresLeadership
from projections.postgres.sessions import Session
from projections.postgres.tables import PostgresTables

RUNS, _ = KINDS
# A session that has been idle for longer hears that its connection is gone, and makes another.
HEARD_S = 0.7


@dataclass
class Fold:
    """The tables of an empty build, under the leadership that may fold into them."""

    tables: PostgresTables
    session: Session
    dsn: str

    async def lose_the_connection(self) -> None:
        pid = await self.session.run(lambda c: c.direct("SELECT pg_backend_pid()")[0][0])
        await self.ask("SELECT pg_terminate_backend($1, 60000)", pid)  # until it has ended
        await asyncio.sleep(HEARD_S)

    async def stored_position(self) -> int:
        (row,) = await self.ask("SELECT position FROM tracker.projection_build")
        return int(row["position"])

    async def ask(self, sql: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()


@asynccontextmanager
async def fold_on(dsn: str) -> AsyncIterator[Fold]:
    store = await PostgresEventStore.open(PostgresOptions(dsn))
    place = PostgresPlace(dsn)
    leadership = PostgresLeadership(Session(place, name="lease"), "default", ttl_s=60)
    builds = PostgresBuilds(place, "default", token=lambda: leadership.token)
    assert await leadership.acquire()
    build, projection = await builds.begin(RUNS, store)
    await projection.aclose()
    session = Session(place, name="fold", tables=tables("runs"))
    folding = PostgresTables(session, build, position=0, token=lambda: leadership.token)
    try:
        yield Fold(folding, session, dsn)
    finally:
        await session.aclose()
        await builds.aclose()
        await leadership.release()
        await store.aclose()
