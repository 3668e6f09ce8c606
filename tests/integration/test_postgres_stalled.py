"""A server that sleeps between two messages of one statement holds its locks for no longer.

PostgreSQL has no timeout for that moment; whoever is kept waiting ends the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ingest.errors import StoreUnavailable
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from projections.postgres.connection import PostgresPlace
from projections.postgres.leadership import PostgresLeadership
from projections.postgres.sessions import Session
from projections.postgres.stalled import STALLED_S
from projections.projection import StoreAway
from tests.support.log_checks import numbered_batch
from tests.support.postgres_folds import fold_on

_LIMITS = "SET LOCAL statement_timeout = 1000; SET LOCAL idle_in_transaction_session_timeout = 500"


@asynccontextmanager
async def stalled(dsn: str, lock: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A client of ours that has taken a lock, and stopped between a statement's preparation
    and its execution; long enough ago."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "tracker"})
    try:
        await connection.execute(f"BEGIN; {_LIMITS}; {lock}")
        await connection.prepare("SELECT $1::int")
        await asyncio.sleep(STALLED_S + 0.1)
        yield connection
    finally:
        connection.terminate()


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[PostgresEventStore]:
    options = PostgresOptions(postgres_dsn, statement_timeout_s=3.0)
    opened = await PostgresEventStore.open(options)
    yield opened
    await opened.aclose()


@pytest.mark.usefixtures("store")
async def test_the_lease_of_a_leader_that_stalled_while_changing_a_build_is_taken_over(
    postgres_dsn: str,
) -> None:
    place = PostgresPlace(postgres_dsn)
    before = PostgresLeadership(Session(place, name="before"), "default", ttl_s=0.1)
    after = PostgresLeadership(Session(place, name="after"), "default", ttl_s=60)
    assert await before.acquire()
    await before.release()

    async with stalled(postgres_dsn, "SELECT FROM tracker.projection_lease FOR NO KEY UPDATE"):
        assert await after.acquire()

    assert after.token == 2
    await after.release()


async def test_a_fold_gets_on_where_another_leader_stalled_in_the_middle_of_one(
    postgres_dsn: str,
) -> None:
    async with fold_on(postgres_dsn) as fold:
        async with stalled(postgres_dsn, "UPDATE tracker.projection_build SET position = position"):
            with pytest.raises(StoreAway, match="lock timeout"):
                async with fold.tables.moving(5):
                    pass
            async with fold.tables.moving(5):
                pass

        assert await fold.stored_position() == 5


async def test_appends_get_on_where_another_server_stalled_with_the_logs_head(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    async with stalled(postgres_dsn, "SELECT FROM tracker.head FOR UPDATE"):
        with pytest.raises(StoreUnavailable):
            await store.append(numbered_batch(1, 3))
        appended = await store.append(numbered_batch(1, 3))

    assert appended.next_seq == 4


async def test_a_client_that_is_only_slow_is_left_alone(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    """It waits for its next statement: for that PostgreSQL has a timeout of its own."""
    connection = await asyncpg.connect(
        postgres_dsn, server_settings={"application_name": "tracker"}
    )
    try:
        await connection.execute("BEGIN; SELECT FROM tracker.head FOR UPDATE")
        await asyncio.sleep(STALLED_S + 0.1)

        with pytest.raises(StoreUnavailable):
            await store.append(numbered_batch(1, 3))

        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()
