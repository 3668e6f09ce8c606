"""Whose lease can be taken before it expires: of a leader whose session is gone, and no other."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from projections.postgres import leadership as leaderships
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.leadership import AGAIN_S, GONE_S, PostgresLeadership
from projections.postgres.sessions import Session
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import connected

LONG_S = 3600.0
# Of a leader that renews no more, until its lease could be taken, and a bit.
PAUSE_S = GONE_S + 0.2


@dataclass
class Servers:
    """Their leases last an hour, so whoever takes one over does it for another reason."""

    place: PostgresPlace
    stack: AsyncExitStack

    def server(self, place: PostgresPlace | None = None) -> PostgresLeadership:
        session = Session(place or self.place, name="lease")
        leadership = PostgresLeadership(session, "default", ttl_s=LONG_S)
        self.stack.push_async_callback(leadership.release)
        return leadership

    async def leader(self, place: PostgresPlace | None = None) -> PostgresLeadership:
        leader = self.server(place)
        assert await leader.acquire()
        return leader

    async def silent_leader(self, place: PostgresPlace | None = None) -> PostgresLeadership:
        """One that has renewed no more, as a stopped process does, for so long that a lease
        whose session is gone could be taken."""
        leader = await self.leader(place)
        await paused(leader)
        await asyncio.sleep(PAUSE_S)
        return leader

    async def row(self) -> asyncpg.Record:
        async with connected(self.place.uri) as connection:
            row = await connection.fetchrow("SELECT *, now() FROM tracker.projection_lease")
        assert row is not None
        return row

    async def end_session(self) -> int:
        """Of the lease's row, as a process does that is killed; its pid."""
        pid = int((await self.row())["backend_pid"])
        async with connected(self.place.uri) as connection:
            await connection.execute("SELECT pg_terminate_backend($1, 60000)", pid)
        return pid


@pytest.fixture
async def servers(postgres_dsn: str) -> AsyncIterator[Servers]:
    store = await PostgresEventStore.open(PostgresOptions(postgres_dsn), wait_s=60)
    await store.aclose()
    async with AsyncExitStack() as stack:
        yield Servers(PostgresPlace(postgres_dsn), stack)


async def paused(leader: PostgresLeadership) -> None:
    """As a stopped process does: it renews no more."""
    renewing = leader._renewing
    assert renewing is not None
    renewing.cancel()
    await asyncio.wait([renewing])


async def takes_over(follower: PostgresLeadership) -> None:
    async with asyncio.timeout(60):
        while not await follower.acquire():
            await asyncio.sleep(0.05)


def renewed_at(row: asyncpg.Record) -> datetime:
    expires_at: datetime = row["expires_at"]
    return expires_at - timedelta(seconds=LONG_S)


async def test_a_leader_whose_session_is_gone_is_followed_without_waiting_for_its_lease(
    servers: Servers,
) -> None:
    leader, follower = await servers.silent_leader(), servers.server()
    assert not await follower.acquire(), "its session is there"

    await servers.end_session()

    await takes_over(follower)
    assert (await servers.row())["token"] == follower.token == leader.token + 1


async def test_another_session_that_was_given_its_number_is_not_taken_for_it(
    servers: Servers,
) -> None:
    await servers.silent_leader()
    follower = servers.server()
    async with connected(servers.place.uri) as connection:
        await connection.execute(
            "UPDATE tracker.projection_lease SET backend_start = backend_start - interval '1 s'"
        )

    await takes_over(follower)


@pytest.mark.parametrize(
    "unknown",
    [
        # To a user who acts as another, as `ALTER ROLE … SET role` has it.
        "backend_start = NULL",
        # Left behind, as servers of before know nothing of it.
        "backend_pid = 1, backend_token = token - 1",
    ],
)
async def test_a_session_of_which_nothing_is_known_counts_as_being_there(
    servers: Servers, unknown: str
) -> None:
    await servers.silent_leader()
    follower = servers.server()
    async with connected(servers.place.uri) as connection:
        await connection.execute(f"UPDATE tracker.projection_lease SET {unknown}")

    assert not await follower.acquire()


async def test_a_session_that_ended_just_now_may_come_back(servers: Servers) -> None:
    leader, follower = await servers.leader(), servers.server()
    await paused(leader)
    before = await servers.row()
    await servers.end_session()

    await takes_over(follower)

    taken = renewed_at(await servers.row()) - renewed_at(before)
    assert taken.total_seconds() >= GONE_S


async def test_a_leader_that_lost_its_connection_only_goes_on_with_another(
    servers: Servers,
) -> None:
    leader, follower = await servers.leader(), servers.server()
    ended = await servers.end_session()
    async with asyncio.timeout(60):
        while (await servers.row())["backend_pid"] == ended:
            await asyncio.sleep(0.05)
    await paused(leader)
    await asyncio.sleep(PAUSE_S)

    assert not await follower.acquire()


async def test_a_renewal_that_failed_is_tried_once_more_at_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, tried = PostgresConnection.direct, list[str]()

    def failing(self: PostgresConnection, sql: str, *arguments: object, **how: Any) -> list[Any]:
        if "AND token = $4" in sql:
            tried.append(sql)
            monkeypatch.setattr(leaderships, "RENEW_S", LONG_S)
            raise asyncpg.InterfaceError("the connection was lost")
        return direct(self, sql, *arguments, **how)

    monkeypatch.setattr(PostgresConnection, "direct", failing)
    monkeypatch.setattr(leaderships, "RENEW_S", 0.01)
    leader = await servers.leader()

    async with asyncio.timeout(60):
        while len(tried) < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(3 * AGAIN_S)

    assert len(tried) == 2
    assert await leader.holds()


async def test_behind_a_pooler_a_lease_has_to_expire(servers: Servers) -> None:
    with running_pgbouncer(servers.place.uri) as dsn:
        pooled = PostgresPlace(dsn, is_pooled=True)
        await servers.silent_leader(pooled)
        follower, row = servers.server(), await servers.row()
        assert (row["backend_pid"], row["backend_start"]) == (None, None)

        assert not await follower.acquire()


async def test_a_session_that_may_not_be_seen_counts_as_being_there(servers: Servers) -> None:
    """Servers with different users, none of which may look at the other's sessions."""
    user = f"r{uuid.uuid4().hex}"
    async with connected(servers.place.uri) as connection:
        await connection.execute(
            f"CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA tracker TO {user};"
            f"GRANT SELECT, INSERT, UPDATE ON tracker.projection_lease TO {user}"
        )
    try:
        uri = servers.place.uri.replace("postgresql://postgres@", f"postgresql://{user}@")
        assert uri != servers.place.uri
        follower = servers.server(replace(servers.place, uri=uri))
        await servers.silent_leader()
        assert not await follower.acquire()

        await servers.end_session()

        await takes_over(follower)
    finally:
        async with connected(servers.place.uri) as connection:
            await connection.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")
