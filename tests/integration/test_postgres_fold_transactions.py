"""A fold's transaction in PostgreSQL is one connection's: when that is lost, so is the fold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from projections.kinds import KINDS
from projections.postgres.builds import PostgresBuilds
from projections.postgres.connection import PostgresPlace
from projections.postgres.layout import tables
from projections.postgres.leadership import PostgresLeadership
from projections.postgres.sessions import Session
from projections.postgres.tables import PostgresTables
from projections.projection import StoreAway

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


@pytest.fixture
async def fold(postgres_dsn: str) -> AsyncIterator[Fold]:
    store = await PostgresEventStore.open(PostgresOptions(postgres_dsn))
    place = PostgresPlace(postgres_dsn)
    leadership = PostgresLeadership(Session(place, name="lease"), "default", ttl_s=60)
    builds = PostgresBuilds(place, "default", token=lambda: leadership.token)
    assert await leadership.acquire()
    build, projection = await builds.begin(RUNS, store)
    await projection.aclose()
    session = Session(place, name="fold", tables=tables("runs"))
    yield Fold(
        PostgresTables(session, build, position=0, token=lambda: leadership.token),
        session,
        postgres_dsn,
    )
    await session.aclose()
    await builds.aclose()
    await leadership.release()
    await store.aclose()


async def folded(fold: Fold, *, rows: Callable[[Any], None], is_lost: str = "") -> None:
    """Fold up to 5; the connection is lost before or after the rows."""
    async with fold.tables.moving(5) as write:
        if is_lost == "before":
            await fold.lose_the_connection()
        await write.run(rows)
        if is_lost == "after":
            await fold.lose_the_connection()


def a_key(connection: Any) -> None:
    connection.executemany("INSERT INTO key VALUES (?, ?)", [(1, "loss")])


async def test_a_commit_whose_connection_was_lost_before_it_is_no_success(fold: Fold) -> None:
    """As when a leader is paused before its commit, and PostgreSQL ends its session."""
    with pytest.raises(StoreAway, match="lost"):
        await folded(fold, rows=a_key, is_lost="after")

    assert fold.tables.position == 0
    assert await fold.stored_position() == 0


async def test_rows_are_never_written_outside_of_the_transaction_they_belong_to(fold: Fold) -> None:
    asked: list[Any] = []
    with pytest.raises(StoreAway, match="lost"):
        await folded(fold, rows=asked.append, is_lost="before")

    assert asked == []
    assert fold.tables.position == 0


async def test_a_fold_goes_on_after_its_connection_was_lost(fold: Fold) -> None:
    with pytest.raises(StoreAway):
        await folded(fold, rows=a_key, is_lost="after")

    await folded(fold, rows=a_key)

    assert fold.tables.position == await fold.stored_position() == 5
