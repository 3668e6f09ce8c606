"""Read models in PostgreSQL: who folds, how builds change, and what happens when it goes wrong."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from ingest.errors import StoreUnavailable
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.read_side_postgres import PostgresReadSide, open_postgres_read_side
from projections.build_progress import BuildProgress
from projections.building import Building
from projections.kinds import KINDS
from projections.opening import open_live
from projections.postgres.builds import ASK_S, PostgresBuilds
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.errors import store_failed
from projections.postgres.leadership import PostgresLeadership
from projections.postgres.readers import PostgresReaders, ReaderPool
from projections.postgres.reading import Reading, Source
from projections.postgres.sessions import Session
from projections.postgres.tables import LeadershipLost, PostgresBuild
from projections.projection import CheckpointMoved, Projection, ProjectionStoreFailed, StoreAway
from projections.read_models import RunSearch
from projections.rounds import decoded
from projections.runs_queries import RunsQueries
from projections.search.errors import InvalidQuery
from tests.support.logs import batch_to_append, event
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import DURABLE, connected, running_postgres

RUNS, _ = KINDS
SOURCE = Source("default", "runs")
PAUSE_S = 0.4


@dataclass
class Member:
    """One server's part of the folding, without its loops: the test says what it does when."""

    leadership: PostgresLeadership
    builds: PostgresBuilds

    async def begin(self, store: PostgresEventStore) -> tuple[PostgresBuild, Projection]:
        build, projection = await self.builds.begin(RUNS, store)
        assert isinstance(build, PostgresBuild)
        return build, projection


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[PostgresEventStore]:
    store = await PostgresEventStore.open(PostgresOptions(postgres_dsn), wait_s=60)
    yield store
    await store.aclose()


@asynccontextmanager
async def member(dsn: str, *, ttl_s: float = PAUSE_S) -> AsyncIterator[Member]:
    place = PostgresPlace(dsn)
    leadership = PostgresLeadership(Session(place, name="lease"), "default", ttl_s=ttl_s)
    builds = PostgresBuilds(place, "default", token=lambda: leadership.token)
    try:
        yield Member(leadership, builds)
    finally:
        await builds.aclose()
        await leadership.release()


async def leads(member: Member) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(StoreAway):  # its row is locked, for a while
                if await member.leadership.acquire():
                    return
            await asyncio.sleep(0.02)


async def tagged(store: PostgresEventStore, n: int) -> None:
    for number in range(1, n + 1):
        records = [event("tags.set", number, tags={"n": str(number)})]
        await store.append(batch_to_append("run", "w", number, records))


async def paused(member: Member) -> None:
    """As a stopped process does: it renews no more, and does not know what happens meanwhile."""
    renewing = member.leadership._renewing
    assert renewing is not None
    renewing.cancel()
    await asyncio.wait([renewing])


async def test_of_two_that_believe_they_lead_only_the_latter_folds(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    await tagged(store, 2)
    one, two = [
        decoded(batch) for batch in await store.read(after=0, batches_max=2, bytes_max=9_999)
    ]
    async with member(postgres_dsn) as former, member(postgres_dsn) as latter:
        await leads(former)
        build, projection = await former.begin(store)
        await projection.apply([one])
        await paused(former)
        await leads(latter)
        taken_over = await latter.builds.open(RUNS, build, store)

        assert await former.leadership.holds(), "it was not told"
        with pytest.raises(LeadershipLost):
            await projection.apply([two])
        with pytest.raises(LeadershipLost):
            await former.builds.switch(build)
        await taken_over.apply([two])

        assert await taken_over.position() == 2
        rest = await former.builds.open(RUNS, build, store)
        assert await rest.position() == 2
        for opened in (projection, taken_over, rest):
            await opened.aclose()


@pytest.mark.usefixtures("store")
async def test_a_leader_finds_out_that_another_leads(postgres_dsn: str) -> None:
    async with member(postgres_dsn) as former, member(postgres_dsn) as latter:
        await leads(former)
        async with connected(postgres_dsn) as connection:
            await connection.execute("UPDATE tracker.projection_lease SET expires_at = 'epoch'")
            await leads(latter)

        async with asyncio.timeout(60):
            while await former.leadership.holds():
                await asyncio.sleep(0.02)
        assert await latter.leadership.holds()


async def test_a_driver_that_fails_in_a_way_of_its_own_ends_no_watch(
    postgres_dsn: str, store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits is told, and who leads finds out that he does not, whatever it was."""
    direct, failures = PostgresConnection.direct, iter((True,) * 10)

    def failing(self: PostgresConnection, sql: str, *arguments: Any, **how: Any) -> list[Any]:
        if "RETURNING token" in sql or "position FROM" in sql:
            assert not next(failures, False), "a bug of the driver"
        return direct(self, sql, *arguments, **how)

    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        monkeypatch.setattr(PostgresConnection, "direct", failing)
        await tagged(store, 1)
        assert await side.wait_for(1, timeout_s=60)
        async with connected(postgres_dsn) as connection:
            await connection.execute("UPDATE tracker.projection_lease SET token = token + 1")
        async with asyncio.timeout(60):
            while await side.leadership.holds():
                await asyncio.sleep(0.02)


@pytest.mark.usefixtures("store")
async def test_a_leader_that_leaves_is_followed_at_once(postgres_dsn: str) -> None:
    async with member(postgres_dsn) as latter:
        async with member(postgres_dsn, ttl_s=60) as former:
            await leads(former)
            assert not await latter.leadership.acquire()

        assert await latter.leadership.acquire()


async def test_a_checkpoint_that_somebody_moved_is_not_moved_again(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    await tagged(store, 2)
    one, two = [
        decoded(batch) for batch in await store.read(after=0, batches_max=2, bytes_max=9_999)
    ]
    async with member(postgres_dsn, ttl_s=60) as alone:
        await leads(alone)
        build, projection = await alone.begin(store)
        double = await alone.builds.open(RUNS, build, store)
        await projection.apply([one])

        with pytest.raises(CheckpointMoved):
            await double.apply([one, two])

        assert await projection.position() == 1
        await projection.apply([two])
        await projection.aclose()
        await double.aclose()


async def test_nobody_takes_over_beside_a_switch_and_a_paused_one_is_undone(
    postgres_dsn: str, store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with member(postgres_dsn) as former, member(postgres_dsn) as latter:
        await leads(former)
        first, projection = await former.begin(store)
        await projection.aclose()
        await former.builds.switch(first)
        second, projection = await former.begin(store)
        await projection.aclose()
        commit, reached, taken = PostgresConnection.commit, asyncio.Event(), asyncio.Event()
        loop, commits = asyncio.get_running_loop(), iter(("of the statistics", "of the switch"))

        def stopped(self: PostgresConnection) -> None:
            if next(commits) == "of the switch":
                # The process stops here, for longer than it may.
                loop.call_soon_threadsafe(reached.set)
                asyncio.run_coroutine_threadsafe(taken.wait(), loop).result()
            commit(self)

        monkeypatch.setattr(PostgresConnection, "commit", stopped)
        switching = asyncio.create_task(former.builds.switch(second))
        await reached.wait()
        monkeypatch.setattr(PostgresConnection, "commit", commit)
        await paused(former)
        await leads(latter)
        serving = await latter.builds.current("runs")
        taken.set()

        with pytest.raises(ProjectionStoreFailed):
            await switching
        assert serving == await latter.builds.current("runs") == first


async def test_what_serves_is_not_removed_and_leftovers_are(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    async with member(postgres_dsn, ttl_s=60) as alone:
        await leads(alone)
        serving, projection = await alone.begin(store)
        await projection.aclose()
        await alone.builds.switch(serving)
        left, projection = await alone.begin(store)
        await projection.aclose()

        await alone.builds.remove(serving)
        await alone.builds.remove_leftovers()

        assert await alone.builds.current("runs") == serving
        assert await schemas(postgres_dsn) == {serving.schema}
        assert left.schema != serving.schema


async def test_a_build_that_cannot_be_asked_for_now_is_not_replaced_by_an_empty_one(
    postgres_dsn: str, store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        await tagged(store, 3)
        assert await side.wait_for(3, timeout_s=60)
    opened, failures = PostgresBuilds.open, iter((True, True))

    async def away(self: PostgresBuilds, *asked: Any) -> Projection:
        if next(failures, False):
            raise store_failed(ConnectionResetError(), "the builds cannot be read")
        return await opened(self, *asked)

    async with member(postgres_dsn, ttl_s=60) as alone:
        await leads(alone)
        monkeypatch.setattr(PostgresBuilds, "open", away)
        for _ in range(2):
            with pytest.raises(StoreAway):
                await open_live(alone.builds, KINDS, store)
        lives = await open_live(alone.builds, KINDS, store)

    assert [live.position for live in lives] == [3, 3]
    for live in lives:
        await live.aclose()


@pytest.mark.parametrize(
    ("owner", "name"), [(PostgresLeadership, "acquire"), (PostgresBuilds, "positions")]
)
async def test_a_start_waits_for_a_database_that_does_not_answer_at_once(
    postgres_dsn: str,
    store: PostgresEventStore,
    monkeypatch: pytest.MonkeyPatch,
    owner: type[Any],
    name: str,
) -> None:
    await tagged(store, 1)
    answers, failures = getattr(owner, name), iter((True, True))

    async def late(self: Any) -> Any:
        if next(failures, False):
            raise store_failed(TimeoutError(), "it cannot be read")
        return await answers(self)

    monkeypatch.setattr(owner, name, late)
    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        assert await side.wait_for(1, timeout_s=60)
        assert await tag_n(side) == "1"


async def test_read_models_that_were_left_out_of_a_backup_are_made_anew(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        await tagged(store, 3)
        assert await side.wait_for(3, timeout_s=60)
    async with connected(postgres_dsn) as connection:
        for schema in await schemas(postgres_dsn):
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")

    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        assert await side.wait_for(3, timeout_s=60)
        assert await tag_n(side) == "3"


async def schemas(dsn: str) -> set[str]:
    async with connected(dsn) as connection:
        rows = await connection.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tracker\\_%'"
        )
    return {row["nspname"] for row in rows}


async def test_a_rebuild_waits_out_a_store_that_is_away_and_folds_nothing_twice(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    await tagged(store, 3)
    async with member(postgres_dsn, ttl_s=60) as alone:
        await leads(alone)
        build, projection = await alone.begin(store)
        rebuild = Building(
            build, projection, store, BuildProgress("runs"),
            reopen=lambda: alone.builds.open(RUNS, build, store),
        )  # fmt: skip
        async with connected(postgres_dsn) as connection:
            # Somebody else's commit, as one of our own that was not heard of.
            elsewhere = await alone.builds.open(RUNS, build, store)
            (first,) = await store.read(after=0, batches_max=1, bytes_max=9_999)
            await elsewhere.apply([decoded(first)])
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'tracker' AND pid <> pg_backend_pid()"
            )

        async with asyncio.timeout(60):
            while rebuild.position < 3:
                with suppress(ProjectionStoreFailed, CheckpointMoved, StoreUnavailable):
                    await rebuild.round()

        assert rebuild.progress.error is None
        assert await rebuild.projection.position() == 3
        await rebuild.projection.aclose()
        await elsewhere.aclose()


async def test_readers_recover_after_postgres_was_killed_and_never_see_the_past() -> None:
    with running_postgres(DURABLE) as server:
        store = await PostgresEventStore.open(PostgresOptions(server.dsn()))
        async with open_postgres_read_side(store, server.dsn(), workspace="default") as side:
            await tagged(store, 20)
            assert await side.wait_for(20, timeout_s=60)
            server.kill()

            with pytest.raises(ProjectionStoreFailed, match="PostgreSQL"):
                await side.runs.position()
            await asyncio.to_thread(server.start)

            assert await until_answered(side) == 20
            await append_until_taken(store, 21)
            assert await side.wait_for(21, timeout_s=60)
            assert await tag_n(side) == "21"
        await store.aclose()


async def until_answered(side: PostgresReadSide) -> int:
    async with asyncio.timeout(60):
        while True:
            with suppress(ProjectionStoreFailed):
                return await side.runs.position()
            await asyncio.sleep(0.05)


async def append_until_taken(store: PostgresEventStore, number: int) -> None:
    batch = batch_to_append(
        "run", "w", number, [event("tags.set", number, tags={"n": str(number)})]
    )
    async with asyncio.timeout(60):
        while True:
            with suppress(StoreUnavailable):
                await store.append(batch)
                return
            await asyncio.sleep(0.05)


async def tag_n(side: PostgresReadSide) -> str:
    run = await side.runs.get_run("run", live_run_ids=frozenset())
    assert run is not None
    return run.tags["n"]


async def test_another_server_folds_soon_after_the_leader_was_killed(
    postgres_dsn: str, store: PostgresEventStore
) -> None:
    command = [sys.executable, "-m", "tests.support.postgres_reads_process", postgres_dsn]
    leader = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert leader.stdout is not None
    assert await leader.stdout.readline() == b"reads\n"
    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        await tagged(store, 1)
        assert await side.wait_for(1, timeout_s=60)

        leader.kill()
        await append_until_taken(store, 2)

        assert await side.wait_for(2, timeout_s=60)
        assert await side.leadership.holds()
        assert await tag_n(side) == "2"
    await leader.wait()


async def test_a_rebuild_whose_end_is_told_late_is_not_done_twice(
    store: PostgresEventStore, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the switch and the word of it."""
    tell = PostgresBuilds.tell
    refused: list[str] = []

    async def away(builds: PostgresBuilds, progress: BuildProgress) -> None:
        if progress.is_done and len(refused) < 2:
            refused.append(progress.name)
            raise StoreAway("it is away")
        await tell(builds, progress)

    monkeypatch.setattr(PostgresBuilds, "tell", away)
    await tagged(store, 1)
    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        assert await side.wait_for(1, timeout_s=60)
        await side.ask_rebuild("runs")
        async with asyncio.timeout(60):
            while not all(state.is_over for state in await side.rebuild_states()):
                await asyncio.sleep(0.05)
        await asyncio.sleep(2 * ASK_S)  # until it has been looked for what is asked for
        numbers = [number for number in sorted(await schemas(postgres_dsn)) if "runs" in number]

    assert refused == ["runs", "runs"]
    assert numbers == ["tracker_1_runs_1", "tracker_1_runs_2"]


async def test_it_all_works_through_a_pooler_of_transactions(postgres_dsn: str) -> None:
    with running_pgbouncer(postgres_dsn, pool_size=6) as dsn:
        store = await PostgresEventStore.open(PostgresOptions(dsn))
        assert store.connections.is_pooled
        async with open_postgres_read_side(store, dsn, workspace="default") as side:
            await tagged(store, 5)
            assert await side.wait_for(5, timeout_s=60)
            await side.ask_rebuild("runs")

            async def ask(number: int) -> None:
                found = await side.runs.search_runs(RunSearch(filter="tags.n LIKE '_'"))
                assert [run.tags["n"] for run in found.items] == ["5"], number
                assert await side.series.position() == 5

            async with asyncio.timeout(60):
                while not all(state.is_over for state in await side.rebuild_states()):
                    await asyncio.gather(*map(ask, range(8)))
            await asyncio.gather(*map(ask, range(8)))
            assert [state.error for state in await side.rebuild_states()] == [None]
        await store.aclose()


async def test_a_reader_that_finds_no_free_connection_is_told_to_try_again(
    postgres_dsn: str, store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ReaderPool(PostgresPlace(postgres_dsn), size=1)
    runs = RunsQueries(PostgresReaders(pool, "default", "runs"))
    go_on = threading.Event()
    busy = asyncio.create_task(pool.run(lambda reading: go_on.wait(60), SOURCE))
    await asyncio.sleep(0)

    with monkeypatch.context() as patch:
        patch.setattr("projections.postgres.readers.WAIT_S", 0.05)
        with pytest.raises(ProjectionStoreFailed, match="been busy"):
            await runs.position()

    go_on.set()
    assert await busy
    with pytest.raises(ProjectionStoreFailed, match="not built yet"):
        await runs.position()
    await pool.aclose()


@pytest.mark.parametrize(
    ("searches", "meant", "says"),
    [(True, InvalidQuery, "narrow"), (False, ProjectionStoreFailed, "try again")],
)
async def test_what_takes_too_long_is_ended_and_the_next_one_answered(
    postgres_dsn: str,
    store: PostgresEventStore,
    searches: bool,
    meant: type[Exception],
    says: str,
) -> None:
    """A search is to be narrowed; what asks for one thing by its name is to be asked again."""
    pool = ReaderPool(PostgresPlace(postgres_dsn), size=1)

    def sleeps(reading: Reading) -> None:
        reading.begun().script("SET LOCAL statement_timeout = 50")
        reading.begun().direct("SELECT pg_sleep(20)")

    with pytest.raises(meant, match=says):
        await pool.run(sleeps, SOURCE, searches=searches)

    assert await pool.run(lambda reading: reading.begun().direct("SELECT 1"), SOURCE) == [(1,)]
    await pool.aclose()
