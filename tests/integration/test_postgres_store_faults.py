"""PostgreSQL away, killed, full, slow, read-only, cut off: 503 and Retry-After, then on."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ingest.errors import StoreUnavailable
from ingest.event_stores import postgres_commits, postgres_connections
from ingest.event_stores.base import AppendOutcome
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.event_stores.postgres_errors import DatabaseRefused
from ingest.event_stores.postgres_rows import write_rows
from tests.support.http_server import Answer, TestServer, batch_body, serving
from tests.support.log_checks import check_log, numbered_batch, whole_log
from tests.support.postgres import DURABLE, PostgresServer, fresh_database, running_postgres
from tests.support.postgres_disk import postgres_on_a_small_disk
from tests.support.postgres_proxy import running_postgres_proxy
from tests.support.processes import free_port, run_cli


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server of this module's own, to be mistreated; what it commits is on disk."""
    with running_postgres(DURABLE) as server:
        yield server


@pytest.fixture
def dsn(postgres: PostgresServer) -> Iterator[str]:
    with fresh_database(postgres.dsn()) as dsn:
        yield dsn


RUN = "/api/v1/runs/run-1"
SERIES = f"{RUN}/metrics/loss"


@asynccontextmanager
async def tracker_on(home: Path, dsn: str, **given: Any) -> AsyncIterator[TestServer]:
    async with serving(home, backend_store_uri=dsn, **given) as server:
        assert (await server.append(batch_body(1, 3))).status == 200
        yield server


async def refused(server: TestServer, *, because: str, within_s: float = 60.0) -> None:
    """Appends come to be answered 503 for this reason; for whatever reason, with a time to
    come back. (A connection that its server has just closed is lost first.)"""
    deadline = time.monotonic() + within_s
    told: list[str] = []
    while because not in "".join(told[-1:]):
        assert time.monotonic() < deadline, told
        answer = await server.append(batch_body(4, 3))
        assert (answer.status, answer.code) == (503, "store_unavailable"), answer.body
        assert int(answer.headers["Retry-After"]) >= 1
        told.append(answer.json["error"]["message"])


async def recovers(server: TestServer, *, within_s: float = 60.0) -> Answer:
    """The same server takes the same batch and is ready, without having been restarted."""
    async with asyncio.timeout(within_s):
        while (answer := await server.append(batch_body(4, 3))).status != 200:
            assert answer.status == 503, answer.body
            await asyncio.sleep(0.05)
        while (await server.ask("GET", "/ready")).status != 200:
            await asyncio.sleep(0.05)
    assert answer.json["next_seq"] == 7
    return answer


async def is_out_of_connections(server: TestServer) -> bool:
    """Whether an append that changes nothing is refused for that."""
    answer = await server.append(batch_body(1, 3))
    return answer.status == 503 and "no connection left" in answer.json["error"]["message"]


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for sql in statements:
            await connection.execute(sql)
    finally:
        await connection.close()


# It waits until each has ended.
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
    " WHERE application_name = 'tracker' AND datname = current_database()"
)


async def test_a_stopped_postgres_is_waited_for(
    postgres: PostgresServer, dsn: str, tmp_path: Path
) -> None:
    async with tracker_on(tmp_path, dsn) as server:
        postgres.stop()
        await refused(server, because="cannot")
        for path in ("/api/v1/events?after=0", RUN, SERIES):
            answer = await server.ask("GET", path)
            assert (answer.status, "Retry-After" in answer.headers) == (503, True), answer
        assert (await server.ask("GET", "/ready")).status == 503
        assert (await server.ask("GET", "/health")).status == 200
        await asyncio.to_thread(postgres.start)

        assert (await recovers(server)).json["outcome"] == "appended"
        async with asyncio.timeout(60):
            while (await server.ask("GET", f"{SERIES}?min_position=6")).status != 200:
                await asyncio.sleep(0.05)


async def test_a_killed_postgres_has_everything_that_was_acknowledged(
    postgres: PostgresServer, dsn: str
) -> None:
    store = await PostgresEventStore.open(PostgresOptions(dsn, statement_timeout_s=5), wait_s=60)
    acked = [1] * 6
    stop = asyncio.Event()

    async def write(index: int) -> None:
        while not stop.is_set():
            try:
                batch = numbered_batch(acked[index], 7, writer_id=f"w{index}")
                acked[index] = (await store.append(batch)).next_seq
            except StoreUnavailable:
                await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for index in range(6):
            group.create_task(write(index))
        for _ in range(3):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(postgres.kill)
            before = list(acked)
            await asyncio.to_thread(postgres.start)
            async with asyncio.timeout(60):
                while any(now == then for now, then in zip(acked, before, strict=True)):
                    await asyncio.sleep(0.02)
        stop.set()

    stored = check_log(await whole_log(store))
    await store.aclose()
    assert all(stored[f"w{index}"] >= acked[index] > 1 for index in range(6))


async def test_a_postgres_without_a_free_connection_is_waited_for(
    dsn: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    held: list[asyncpg.Connection] = []

    async def hold_all() -> None:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                held.append(await asyncpg.connect(postgres.dsn()))

    async with AsyncExitStack() as stack, tracker_on(tmp_path, dsn, postgres_pool_max=2) as server:
        asking = await asyncpg.connect(dsn)
        stack.push_async_callback(asking.close)
        async with asyncio.timeout(60):
            while not await is_out_of_connections(server):
                # What the server gives up goes to whoever connects first.
                await hold_all()
                await asking.execute(END_SESSIONS)
                await hold_all()
        for connection in held:
            await connection.close()

        await recovers(server)


@pytest.mark.parametrize("setting", ["default_transaction_read_only"])
async def test_a_read_only_postgres_is_waited_for(dsn: str, tmp_path: Path, setting: str) -> None:
    database = dsn.rpartition("/")[2]
    async with tracker_on(tmp_path, dsn) as server:
        await execute(dsn, f'ALTER DATABASE "{database}" SET {setting} = on', END_SESSIONS)
        await refused(server, because="read-only")
        reading = await server.ask("GET", "/api/v1/events?after=0&limit=10")
        assert reading.status == 200
        await execute(
            dsn, "SET default_transaction_read_only = off",
            f'ALTER DATABASE "{database}" RESET {setting}', END_SESSIONS,
        )  # fmt: skip

        await recovers(server)


async def test_a_slow_postgres_is_given_up_on_in_time(dsn: str, tmp_path: Path) -> None:
    async with tracker_on(tmp_path, dsn, postgres_statement_timeout_s=0.5) as server:
        connection = await asyncpg.connect(dsn)
        await connection.execute("BEGIN; SELECT * FROM tracker.head FOR UPDATE")

        seconds = []
        for _ in range(3):
            began = time.monotonic()
            await refused(server, because="longer than TRACKER_POSTGRES_STATEMENT_TIMEOUT_S")
            seconds.append(time.monotonic() - began)

        assert min(seconds) < 3  # a busy machine only ever adds to it
        await connection.close()
        await recovers(server)


async def test_a_server_that_is_paused_in_mid_append_does_not_hold_up_the_others(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "IDLE_IN_TRANSACTION_S", 0.5)
    paused = await PostgresEventStore.open(PostgresOptions(dsn))
    other = await PostgresEventStore.open(PostgresOptions(dsn))
    await other.append(numbered_batch(1, 1, writer_id="w0"))
    has_lock, wakes = asyncio.Event(), asyncio.Event()

    async def pause_then_write(*arguments: Any, **how: Any) -> None:
        has_lock.set()
        await wakes.wait()
        await write_rows(*arguments, **how)

    monkeypatch.setattr(postgres_commits, "write_rows", pause_then_write)
    hanging = asyncio.create_task(paused.append(numbered_batch(1, 1, writer_id="w1")))
    await has_lock.wait()
    monkeypatch.setattr(postgres_commits, "write_rows", write_rows)

    await other.append(numbered_batch(1, 1, writer_id="w2"))

    wakes.set()
    with pytest.raises(StoreUnavailable):
        await hanging
    again = await paused.append(numbered_batch(1, 1, writer_id="w1"))
    assert (again.outcome, again.position) == (AppendOutcome.APPENDED, 3)
    check_log(await whole_log(other))
    await paused.aclose()
    await other.aclose()


@pytest.fixture
def full_disk() -> Iterator[tuple[str, Callable[[], None]]]:
    with postgres_on_a_small_disk() as disk:
        yield disk


async def test_a_full_disk_takes_nothing_by_halves_and_goes_on_when_there_is_room(
    full_disk: tuple[str, Callable[[], None]],
) -> None:
    dsn, make_room = full_disk
    store = await PostgresEventStore.open(PostgresOptions(dsn))
    chance = random.Random(3)
    next_seq, refusal = 1, None
    while refusal is None:
        batch = numbered_batch(next_seq, 1)
        noise = chance.randbytes(500_000).hex()[:500_000].encode()
        assert next_seq < 200, "the disk never became full"
        try:
            filler = type(batch)(batch.header, batch.payload + noise)
            next_seq = (await store.append(filler)).next_seq
        except StoreUnavailable as error:
            refusal = error
    if os.getuid() == 0:
        assert "disk is full" in refusal.message
    assert [r.first_seq for r in await whole_log(store)] == list(range(1, next_seq))

    make_room()

    async with asyncio.timeout(60):
        while True:
            with suppress(StoreUnavailable):
                assert (await store.append(batch)).next_seq == next_seq + 1
                break
            await asyncio.sleep(0.05)
    await store.aclose()


# -- the line between server and database ------------------------------------------------------


async def test_a_line_cut_in_mid_commit_is_resolved_by_the_watermark(dsn: str) -> None:
    async with running_postgres_proxy(dsn) as (proxy, through):
        store = await PostgresEventStore.open(PostgresOptions(through, statement_timeout_s=5))
        await store.append(numbered_batch(1, 3))

        proxy.cut_after_commit = True
        with pytest.raises(StoreUnavailable, match="send it again"):
            await store.append(numbered_batch(4, 3))
        proxy.cut_after_commit = False
        stored = await store.append(numbered_batch(4, 3))

        proxy.cut_before_commit = True
        with pytest.raises(StoreUnavailable):
            await store.append(numbered_batch(7, 3))
        proxy.cut_before_commit = False
        not_stored = await store.append(numbered_batch(7, 3))

        assert proxy.cuts == 2
        assert (stored.outcome, stored.next_seq) == (AppendOutcome.DUPLICATE, 7)
        assert (not_stored.outcome, not_stored.next_seq) == (AppendOutcome.APPENDED, 10)
        assert check_log(await whole_log(store)) == {"w1": 10}
        await store.aclose()


async def test_a_line_that_is_cut_all_the_time_loses_and_doubles_nothing(dsn: str) -> None:
    chance = random.Random(11)
    async with running_postgres_proxy(dsn) as (proxy, through):
        stores = [
            await PostgresEventStore.open(PostgresOptions(through, statement_timeout_s=5))
            for _ in range(2)
        ]
        acked = [1] * 5
        stop = asyncio.Event()

        async def write(index: int) -> None:
            while not stop.is_set():
                try:
                    batch = numbered_batch(acked[index], 3, writer_id=f"w{index}")
                    acked[index] = (await chance.choice(stores).append(batch)).next_seq
                except StoreUnavailable:
                    await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as group:
            for index in range(5):
                group.create_task(write(index))
            turn = 0
            # Also until every writer got through once, and a commit was cut.
            while turn < 25 or proxy.cuts == 0 or min(acked) == 1:
                turn += 1
                await asyncio.sleep(chance.uniform(0.01, 0.06))
                match chance.choice(("all", "after", "before", "refuse")):
                    case "all":
                        proxy.cut_all()
                    case "after":
                        proxy.cut_after_commit = True
                    case "before":
                        proxy.cut_before_commit = True
                    case "refuse":
                        proxy.is_refusing = True
                        proxy.cut_all()
                await asyncio.sleep(0.02)
                proxy.cut_after_commit = proxy.cut_before_commit = proxy.is_refusing = False
            stop.set()

        stored = check_log(await whole_log(stores[0]))
        assert proxy.cuts > 0
        assert all(stored[f"w{index}"] >= acked[index] > 1 for index in range(5))
        for store in stores:
            await store.aclose()


async def test_a_line_that_falls_silent_is_given_up_on(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "IDLE_IN_TRANSACTION_S", 0.3)
    async with running_postgres_proxy(dsn) as (proxy, through):
        store = await PostgresEventStore.open(PostgresOptions(through, statement_timeout_s=0.5))
        await store.append(numbered_batch(1, 3))
        proxy.is_silent = True
        with pytest.raises(StoreUnavailable, match="in time"):
            async with asyncio.timeout(60):
                await store.append(numbered_batch(4, 3))
        proxy.is_silent = False

        async with asyncio.timeout(60):
            while True:
                with suppress(StoreUnavailable):
                    assert (await store.append(numbered_batch(4, 3))).next_seq == 7
                    break
        assert check_log(await whole_log(store)) == {"w1": 7}
        await store.aclose()


# -- starting -----------------------------------------------------------------------------------


async def test_a_server_that_starts_before_its_database_waits_for_it(
    postgres: PostgresServer, dsn: str
) -> None:
    postgres.stop()
    opening = asyncio.create_task(PostgresEventStore.open(PostgresOptions(dsn), wait_s=90))
    await asyncio.sleep(0.3)
    assert not opening.done()

    await asyncio.to_thread(postgres.start)

    store = await opening
    await store.aclose()


SECRET = "hunter2-in-clear"


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://someone:{SECRET}@127.0.0.1:PORT/there-is-none",
        f"postgresql://127.0.0.1:PORT/there-is-none?user=someone&password={SECRET}",
        f"postgresql://someone:{SECRET}@127.0.0.1:notaport/db",
        f"postgresql://someone:{SECRET}@127.0.0.1:1/db",
    ],
)
async def test_no_refusal_repeats_a_password(uri: str, postgres: PostgresServer) -> None:
    options = PostgresOptions(uri.replace("PORT", str(postgres.port)))

    with pytest.raises((DatabaseRefused, StoreUnavailable)) as refusal:
        await PostgresEventStore.open(options)

    assert SECRET not in f"{refusal.value} {options!r}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresq"])
def test_a_server_that_cannot_start_says_why_without_the_password(
    scheme: str, tmp_path: Path
) -> None:
    uri = f"{scheme}://someone:{SECRET}@127.0.0.1:{free_port()}/db"

    done = run_cli(
        tmp_path, "server", "--port", str(free_port()), "--backend-store-uri", uri,
        TRACKER_POSTGRES_WAIT_S="0",
    )  # fmt: skip

    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done.stderr
    assert SECRET not in done.stderr + done.stdout
