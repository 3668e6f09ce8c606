"""A search that is asked again asks PostgreSQL once, ahead of any transaction, and is right."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import asyncpg
import pytest

from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.read_side_postgres import PostgresReadSide, open_postgres_read_side
from projections.connection import Connection
from projections.postgres import reading as readings
from projections.postgres.connection import PostgresPlace
from projections.postgres.readers import PostgresReaders, ReaderPool
from projections.postgres.reading import Reading, Source, Unfit
from projections.projection import StoreAway
from projections.read_models import KeyKind, KeySearch, RunSearch
from projections.runs_queries import RunsQueries
from projections.runs_views import SQL
from projections.search.choices import Choices
from tests.support.logs import batch_to_append, event
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import connected
from tests.support.postgres_proxy import running_postgres_proxy

SOURCE = Source("default", "runs")
SCHEMA, REBUILT = "tracker_1_runs_1", "tracker_1_runs_2"
SEARCH = RunSearch(filter="tags.team = 'vision'")
# As a search asks: with a question mark.
IDS_OF_RUNS = "SELECT run_id FROM run WHERE run_no > ?"
POSITION = SQL["position"]


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[PostgresEventStore]:
    store = await PostgresEventStore.open(PostgresOptions(postgres_dsn))
    yield store
    await store.aclose()


@pytest.fixture
async def side(store: PostgresEventStore, postgres_dsn: str) -> AsyncIterator[PostgresReadSide]:
    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        await tagged(store, 1)
        assert await side.wait_for(1, timeout_s=60)
        yield side


@pytest.fixture
async def pool(
    side: PostgresReadSide, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ReaderPool]:
    """One connection, on which nothing counts as slow, however busy the machine is."""
    monkeypatch.setattr(readings, "SLOW_S", 60.0)
    monkeypatch.setattr("projections.postgres.readers.AHEAD_S", 60.0)
    pool = ReaderPool(PostgresPlace(postgres_dsn), size=1)
    yield pool
    await pool.aclose()


@pytest.fixture
def runs(pool: ReaderPool) -> RunsQueries:
    return RunsQueries(PostgresReaders(pool, "default", "runs"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the pool asks of PostgreSQL from now on, but for the ends of transactions, which
    nobody waits for. Each is a round trip, and the first time two."""
    found: list[str] = []
    for name in ("fetch", "execute"):
        monkeypatch.setattr(asyncpg.Connection, name, noting(name, found))
    return found


def noting(name: str, found: list[str]) -> Callable[..., Awaitable[object]]:
    driver = getattr(asyncpg.Connection, name)

    async def asks(self: object, sql: str, *arguments: object, **how: object) -> object:
        is_of_pool = threading.current_thread().name.startswith("postgres-reader")
        if is_of_pool and sql != "ROLLBACK":
            found.append(sql)
        return await driver(self, sql, *arguments, **how)

    return asks


async def tagged(store: PostgresEventStore, number: int) -> None:
    """One run each."""
    tags = event("tags.set", 1, tags={"team": "vision", "n": str(number)})
    await store.append(batch_to_append(f"run{number}", f"w{number}", 1, [tags]))


async def numbers(runs: RunsQueries) -> set[str]:
    return {run.tags["n"] for run in (await runs.search_runs(SEARCH)).items}


async def asked_before(runs: RunsQueries) -> None:
    """The first time finds out how; from then on its session stands in the build."""
    for _ in range(2):
        await numbers(runs)


async def ask(pool: ReaderPool, query: Callable[[Reading], list[str]]) -> list[str]:
    return await pool.run(query, SOURCE, searches=True)


def ids(connection: Connection) -> list[str]:
    return [run_id for (run_id,) in connection.execute(IDS_OF_RUNS, (0,))]


async def test_what_was_asked_before_is_one_round_trip(runs: RunsQueries, asked: list[str]) -> None:
    unknown = RunSearch(filter="tags.team = 'x'")
    await runs.search_runs(unknown)
    await asked_before(runs)
    asked.clear()

    page = await runs.search_runs(SEARCH)
    assert len(asked) == 1
    found = await runs.keys(KeySearch(KeyKind.TAGS))
    assert len(asked) == 2
    nothing = await runs.search_runs(unknown)
    assert len(asked) == 3

    assert [run.tags["n"] for run in page.items] == ["1"]
    assert found.keys == ["n", "team"]
    assert nothing.items == []
    assert page.position == found.position == nothing.position == 1


async def test_what_has_changed_is_read_from_the_state_that_was_searched(
    store: PostgresEventStore, side: PostgresReadSide, runs: RunsQueries, asked: list[str]
) -> None:
    await asked_before(runs)
    await tagged(store, 2)
    assert await side.wait_for(2, timeout_s=60)
    asked.clear()

    assert await numbers(runs) == {"1", "2"}
    assert (await runs.search_runs(SEARCH)).position == 2
    # The page, a transaction of that state, the new run and what it holds; the page again.
    assert [sql.partition(" ")[0] for sql in asked] == [
        *("SELECT", "BEGIN", *["SELECT"] * 3, "SELECT")
    ]


async def test_a_state_that_moved_in_between_is_asked_for_as_a_whole(
    postgres_dsn: str, runs: RunsQueries, pool: ReaderPool
) -> None:
    await asked_before(runs)
    asked: list[list[str]] = []
    async with connected(postgres_dsn) as other:
        loop = asyncio.get_running_loop()

        def query(reading: Reading) -> list[str]:
            first = ids(reading)
            asked.append(first)
            if len(asked) == 1:
                moving = asyncio.run_coroutine_threadsafe(move(other), loop)
                moving.result(timeout=60)
            return [*first, *ids(reading), str(reading.execute(POSITION).fetchone()[0])]

        found = await ask(pool, query)

    assert asked == [["run1"], ["run1", "moved"]]
    assert found == ["run1", "moved", "run1", "moved", "9"]


async def move(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """As a fold does: rows and position in one transaction."""
    await connection.execute(
        f"BEGIN; INSERT INTO {SCHEMA}.run SELECT (x).* FROM (SELECT jsonb_populate_record(r, "
        f'\'{{"run_no": 2, "run_id": "moved"}}\') AS x FROM {SCHEMA}.run r) AS made; '
        "UPDATE tracker.projection_build SET position = 9 WHERE name = 'runs'; COMMIT"
    )


async def test_a_build_that_is_replaced_in_between_is_another_state(
    side: PostgresReadSide, runs: RunsQueries, pool: ReaderPool
) -> None:
    """Run numbers and keys' ids of one build mean nothing in another, whatever its position."""
    await asked_before(runs)
    loop, asked = asyncio.get_running_loop(), []

    def query(reading: Reading) -> list[str]:
        asked.append(reading.build)
        found = ids(reading)
        if len(asked) == 1:
            asyncio.run_coroutine_threadsafe(rebuilt(side), loop).result(timeout=60)
        return [*found, *ids(reading)]

    assert await ask(pool, query) == ["run1", "run1"]
    assert asked == [SCHEMA, None]


async def rebuilt(side: PostgresReadSide) -> None:
    await side.ask_rebuild("runs")
    async with asyncio.timeout(60):
        while not all(state.is_over for state in await side.rebuild_states()):
            await asyncio.sleep(0.02)


async def test_whoever_holds_on_to_a_build_is_not_asking_where_the_session_stands(
    side: PostgresReadSide, postgres_dsn: str, runs: RunsQueries, pool: ReaderPool
) -> None:
    await rebuilt(side)
    await asked_before(runs)
    async with connected(postgres_dsn) as other:
        await other.execute(f"UPDATE {SCHEMA}.run SET run_id = 'of another time'")

    former = Source("default", "runs", SCHEMA)

    assert await pool.run(ids, former, searches=True) == ["of another time"]
    assert await ask(pool, ids) == ["run1"]


async def test_a_query_of_more_sees_one_state_even_if_rows_come_without_a_position(
    postgres_dsn: str, runs: RunsQueries, pool: ReaderPool
) -> None:
    """Nothing writes so; it shows that what comes behind is asked in one transaction."""
    await asked_before(runs)
    async with connected(postgres_dsn) as other:
        loop = asyncio.get_running_loop()

        def query(reading: Reading) -> list[str]:
            found = [*ids(reading), *ids(reading)]
            renamed = other.execute(f"UPDATE {SCHEMA}.run SET run_id = 'renamed'")
            asyncio.run_coroutine_threadsafe(renamed, loop).result(timeout=60)
            return [*found, *ids(reading)]

        assert await ask(pool, query) == ["run1"] * 3


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("way", ["ahead", "not fit", "chosen anew"])
async def test_a_build_that_serves_no_more_is_not_asked_nor_are_its_keys_used(
    side: PostgresReadSide,
    postgres_dsn: str,
    runs: RunsQueries,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    is_gone: bool,
) -> None:
    await asked_before(runs)
    await rebuilt(side)
    async with connected(postgres_dsn) as other:
        if is_gone:
            await other.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        else:
            await other.execute(f"UPDATE {SCHEMA}.run_tag SET value = 'of another time'")
        await other.execute(
            f"UPDATE {REBUILT}.key SET key_id = 3 - key_id + 1000; "
            f"UPDATE {REBUILT}.run_tag SET key_id = 3 - key_id + 1000"
        )
    with monkeypatch.context() as patch:
        if way == "not fit":
            patch.setattr(Unfit, "__contains__", lambda *_: True)
        if way == "chosen anew":
            patch.setattr(Choices, "known", lambda *_: None)

        assert await numbers(runs) == {"1"}

    await asked_before(runs)
    asked.clear()
    assert await numbers(runs) == {"1"}
    assert len(asked) == 1, "it stands in the new build now"


async def test_a_build_of_version_2_is_read_until_it_is_replaced(
    side: PostgresReadSide, postgres_dsn: str, runs: RunsQueries, asked: list[str]
) -> None:
    """It has no columns of beginnings, but indexes of expressions."""
    in_order = RunSearch(filter="tags.team LIKE 'vis%'", order_by=["tags.n"])
    await as_version_2(postgres_dsn)
    for _ in range(3):
        asked.clear()
        assert [run.tags["n"] for run in (await runs.search_runs(in_order)).items] == ["1"]
    assert any("FROM run_tag o0" in sql and "substr(" in sql for sql in asked)
    assert not any("value_head" in sql for sql in asked)

    await rebuilt(side)

    for _ in range(3):
        asked.clear()
        assert [run.tags["n"] for run in (await runs.search_runs(in_order)).items] == ["1"]
    # Ahead, and in a transaction the runs without the tag.
    ahead, begin, rest = asked[-3:]
    assert "value_head" in ahead
    assert begin.startswith("BEGIN")
    assert "substr(" not in rest


async def as_version_2(dsn: str) -> None:
    async with connected(dsn) as other:
        for table in ("run_param", "run_tag"):
            await other.execute(
                f"ALTER TABLE {SCHEMA}.{table} DROP COLUMN value_head; CREATE INDEX {table}_value "
                f"ON {SCHEMA}.{table} (key_id, substr(value, 1, 128), run_no)"
            )
        await other.execute("UPDATE tracker.projection_build SET version = 2 WHERE name = 'runs'")


async def test_a_key_that_comes_later_is_found(
    store: PostgresEventStore, side: PostgresReadSide, runs: RunsQueries
) -> None:
    search = RunSearch(filter="tags.later = 'yes'")
    for _ in range(2):
        assert (await runs.search_runs(search)).items == []
    tags = event("tags.set", 2, tags={"later": "yes"})
    await store.append(batch_to_append("run1", "w1", 2, [tags]))
    assert await side.wait_for(2, timeout_s=60)

    assert [run.run_id for run in (await runs.search_runs(search)).items] == ["run1"]


async def test_a_search_that_takes_long_is_answered_and_not_asked_twice_again(
    side: PostgresReadSide, postgres_dsn: str, asked: list[str]
) -> None:
    pool = ReaderPool(PostgresPlace(postgres_dsn), size=1)
    runs = RunsQueries(PostgresReaders(pool, "default", "runs"))
    await asked_before(runs)
    asked.clear()
    async with connected(postgres_dsn) as other:
        await other.execute(f"BEGIN; LOCK TABLE {SCHEMA}.run")
        searching = asyncio.create_task(numbers(runs))
        async with asyncio.timeout(60):
            while not any(sql.startswith("BEGIN") for sql in asked):
                await asyncio.sleep(0.02)
        await other.execute("COMMIT")
        assert await searching == {"1"}

    asked.clear()
    assert await numbers(runs) == {"1"}
    assert asked[0].startswith("BEGIN"), "it was slow the last time"
    await pool.aclose()


async def test_what_took_long_is_asked_in_a_transaction_the_next_time(
    runs: RunsQueries, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked_before(runs)
    with monkeypatch.context() as patch:
        patch.setattr(readings, "SLOW_S", 0.0)
        await numbers(runs)
    asked.clear()

    assert await numbers(runs) == {"1"}
    assert asked[0].startswith("BEGIN")


async def test_a_postgres_that_is_silent_is_given_up_soon_and_asked_again_later(
    side: PostgresReadSide, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_postgres_proxy(postgres_dsn) as (proxy, dsn):
        pool = ReaderPool(PostgresPlace(dsn), size=1)
        runs = RunsQueries(PostgresReaders(pool, "default", "runs"))
        await asked_before(runs)
        proxy.is_silent = True
        with monkeypatch.context() as patch:
            patch.setattr(readings, "ANSWER_S", 0.5)
            async with asyncio.timeout(4):
                with pytest.raises(StoreAway, match="did not answer in time"):
                    await numbers(runs)
        proxy.is_silent = False

        assert await numbers(runs) == {"1"}
        await pool.aclose()


@pytest.mark.parametrize("is_ahead", [False, True])
async def test_what_nobody_waits_for_any_more_leaves_no_transaction_behind(
    store: PostgresEventStore,
    side: PostgresReadSide,
    postgres_dsn: str,
    runs: RunsQueries,
    is_ahead: bool,
) -> None:
    await asked_before(runs)
    async with connected(postgres_dsn) as other:
        await other.execute(f"BEGIN; LOCK TABLE {SCHEMA}.run")
        asking = numbers(runs) if is_ahead else runs.get_run("run1", live_run_ids=frozenset())
        reading = asyncio.create_task(asking)
        await asyncio.sleep(0.2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await other.execute("COMMIT")
    await tagged(store, 2)
    assert await side.wait_for(2, timeout_s=60)

    assert await numbers(runs) == {"1", "2"}


async def test_a_connection_that_was_cut_is_made_anew(
    postgres_dsn: str, runs: RunsQueries, pool: ReaderPool
) -> None:
    await asked_before(runs)
    ((pid,),) = await pool.run(
        lambda reading: reading.begun().direct("SELECT pg_backend_pid()"), SOURCE
    )
    async with connected(postgres_dsn) as other:
        await other.execute(f"SELECT pg_terminate_backend({pid}, 60000)")

    with suppress(StoreAway):  # who asks at once is told to ask again
        await numbers(runs)
    for _ in range(3):
        assert await numbers(runs) == {"1"}


async def test_through_a_pooler_nothing_is_asked_ahead(
    side: PostgresReadSide, postgres_dsn: str, asked: list[str]
) -> None:
    with running_pgbouncer(postgres_dsn, pool_size=2) as dsn:
        pool = ReaderPool(PostgresPlace(dsn, is_pooled=True), size=1)
        runs = RunsQueries(PostgresReaders(pool, "default", "runs"))
        for _ in range(3):
            assert await numbers(runs) == {"1"}
        await pool.aclose()

    pages = [sql for sql in asked if "FROM run r" in sql or "run r ON" in sql]
    assert len([sql for sql in asked if sql.startswith("BEGIN ISOLATION")]) == 3
    assert pages
    assert not [sql for sql in pages if "projection_build" in sql]


async def test_the_session_that_was_used_last_comes_first_unless_it_is_ending(
    side: PostgresReadSide, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "SLOW_S", 60.0)
    monkeypatch.setattr("projections.postgres.readers.AHEAD_S", 60.0)
    pool = ReaderPool(PostgresPlace(postgres_dsn), size=3)
    sessions: list[int] = []

    def connection_of(reading: Reading) -> None:
        ids(reading)
        sessions.append(id(reading._connection))

    async def ask_once() -> None:
        await pool.run(connection_of, SOURCE, searches=True)

    for _ in range(3):  # each begins a transaction, and stands in the build behind it
        await ask_once()
        await asyncio.sleep(0.1)
    await asyncio.gather(*(ask_once() for _ in range(3)))
    for _ in range(4):
        await ask_once()

    assert len(set(sessions[:3])) == len(set(sessions[3:6])) == 3
    assert len(set(sessions[6:])) == 1
    await pool.aclose()
