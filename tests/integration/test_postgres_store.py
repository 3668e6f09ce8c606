"""The event log in PostgreSQL: several servers on one log, its layout, its pooler."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from ingest.errors import SequenceGap, StoreUnavailable, StreamMoved
from ingest.event_stores.base import AppendOutcome, BatchToAppend
from ingest.event_stores.leases import LeaseRow
from ingest.event_stores.migrations import MigrationMismatch
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.event_stores.postgres_errors import DatabaseRefused
from ingest.event_stores.postgres_reader import reading_log
from ingest.event_stores.postgres_schema import postgres_migrations
from projections.findings import VerifyReport
from projections.verify_log import verify_log
from tests.support.log_checks import check_log, numbered_batch, whole_log
from tests.support.pgbouncer import running_pgbouncer
from tests.support.processes import run_cli
from tracker.events import wire
from tracker.events.types import Event

T = TypeVar("T")


@asynccontextmanager
async def opened(dsn: str, count: int, **how: Any) -> AsyncIterator[list[PostgresEventStore]]:
    """As many stores on one database as there would be servers."""
    async with AsyncExitStack() as stack:
        stores = []
        for _ in range(count):
            store = await PostgresEventStore.open(
                PostgresOptions(dsn, pool_max=3), wait_s=60, **how
            )
            stack.push_async_callback(store.aclose)
            stores.append(store)
        yield stores


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """Its answer: PostgreSQL ends a transaction that stands still, as on a machine that stalls."""
    async with asyncio.timeout(90):
        while True:
            with suppress(StoreUnavailable):
                return await ask()
            await asyncio.sleep(0.02)


async def write(stores: list[PostgresEventStore], writer_id: str, until: int) -> None:
    """A shipper in small that is sent from one server to the next, and repeats itself."""
    chance = random.Random(writer_id)
    next_seq = 1
    while next_seq <= until:
        first = chance.randint(max(1, next_seq - 4), next_seq)
        batch = numbered_batch(first, chance.randint(1, 5), writer_id=writer_id)
        answers = await asyncio.gather(
            *(
                again(partial(store.append, batch))
                for store in chance.sample(stores, chance.choice((1, 1, 2)))
            )
        )
        next_seq = max(answer.next_seq for answer in answers)


async def race(stores: list[PostgresEventStore], *, writers: int, until: int) -> None:
    """Racing writers on all stores but the last, where a reader follows and sees all once."""
    done = asyncio.Event()

    async def follow() -> list[tuple[int, int]]:
        seen: list[tuple[int, int]] = []
        after = 0
        while True:
            is_last = done.is_set()
            rows = await again(
                partial(stores[-1].read, after=after, batches_max=7, bytes_max=10**6)
            )
            seen += [(row.first_position, row.n) for row in rows]
            after = rows[-1].last_position if rows else after
            if is_last and not rows:
                return seen
            await stores[-1].wait_for(after + 1, timeout_s=0.05)

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(stores[:-1], f"w{i}", until) for i in range(writers)))
    done.set()
    seen = await following

    rows = await whole_log(stores[-1])
    assert seen == [(row.first_position, row.n) for row in rows]
    next_seqs = check_log(rows)
    assert len(next_seqs) == writers
    assert min(next_seqs.values()) > until


async def test_servers_that_append_at_once_make_one_dense_log(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 4, partition_positions=300) as stores:
        await race(stores, writers=8, until=100)


async def test_the_log_works_through_pgbouncer_in_transaction_mode(postgres_dsn: str) -> None:
    with running_pgbouncer(postgres_dsn) as pooled:
        async with opened(pooled, 3, partition_positions=300) as stores:
            assert all(store.connections.is_pooled for store in stores)
            await race(stores, writers=6, until=60)
            await stores[0].exchange_leases([], [], now_us=0, ttl_us=1)

    async with opened(postgres_dsn, 1) as (direct,):
        assert not direct.connections.is_pooled


async def test_what_one_server_stored_is_a_duplicate_to_another(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 2) as (one, other):
        await one.append(numbered_batch(1, 3))

        answers = [
            await other.append(numbered_batch(1, 3)),
            await other.append(numbered_batch(2, 4)),
        ]

    assert [(a.outcome, a.next_seq) for a in answers] == [
        (AppendOutcome.DUPLICATE, 4),
        (AppendOutcome.TRIMMED, 6),
    ]


async def test_a_refused_writer_leaves_no_trace(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 1) as (store,):
        refused = [store.append(numbered_batch(2, 1, writer_id=f"w{i}")) for i in range(3)]
        taken = store.append(numbered_batch(1, 1, writer_id="w9"))
        outcomes = await asyncio.gather(*refused, taken, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes[:3]] == [SequenceGap] * 3
        assert [state.writer_id for state in await store.all_writers()] == ["w9"]


async def test_of_servers_that_decide_at_once_one_wins(postgres_dsn: str) -> None:
    created = Event("experiment.created", 1, {"experiment_id": "1", "name": "a"})
    async with opened(postgres_dsn, 4) as stores:
        racing = [
            store.append_decision(run_id="", events=[created], decided_at=0) for store in stores
        ]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)

        assert sum(isinstance(outcome, StreamMoved) for outcome in outcomes) == 3
        assert (await stores[0].head()).next_position == 2


async def test_a_reader_is_awake_soon_after_another_servers_append(postgres_dsn: str) -> None:
    delays = []
    async with opened(postgres_dsn, 2) as (one, other):
        for position in range(1, 11):
            waiting = asyncio.create_task(other.wait_for(position, timeout_s=60))
            await asyncio.sleep(0.03)
            await one.append(numbered_batch(position, 1))
            began = time.monotonic()
            assert await waiting == position
            delays.append(time.monotonic() - began)

    # Each look comes 20 ms after the last; a loaded machine may be late for most.
    assert sorted(delays)[2] < 0.1, delays


async def test_an_unanswered_wait_asks_nothing_of_the_database(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 1) as (store,):
        await store.wait_for(1, timeout_s=0.01)
        await asyncio.sleep(0.05)
        assert not store._following._is_wanted.is_set()


# -- layout ---------------------------------------------------------------------------------


async def test_servers_that_start_together_make_the_schema_once(postgres_dsn: str) -> None:
    stores = await asyncio.gather(
        *(PostgresEventStore.open(PostgresOptions(postgres_dsn)) for _ in range(6))
    )
    for store in stores:
        await store.aclose()

    connection = await asyncpg.connect(postgres_dsn)
    applied = await connection.fetch("SELECT number, sha256 FROM tracker.log_migration ORDER BY 1")
    workspaces = await connection.fetchval("SELECT count(*) FROM tracker.store")
    await connection.close()
    assert [tuple(row) for row in applied] == [(m.number, m.sha256) for m in postgres_migrations()]
    assert workspaces == 1


async def test_a_newer_schema_is_refused_by_an_older_server(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 1):
        pass
    await execute(
        postgres_dsn, "INSERT INTO tracker.log_migration VALUES (9999, '9999_future.sql', '', 0)"
    )

    with pytest.raises(MigrationMismatch, match="newer version"):
        await PostgresEventStore.open(PostgresOptions(postgres_dsn))


async def test_a_migration_that_was_edited_is_refused(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 1):
        pass
    await execute(postgres_dsn, "UPDATE tracker.log_migration SET sha256 = 'other'")

    with pytest.raises(MigrationMismatch, match="not what the database was made with"):
        await PostgresEventStore.open(PostgresOptions(postgres_dsn))


async def test_a_user_without_rights_is_told_what_to_grant(postgres_dsn: str) -> None:
    database = postgres_dsn.rpartition("/")[2]
    await execute(postgres_dsn, f"CREATE ROLE r{database} LOGIN")
    try:
        with pytest.raises(DatabaseRefused, match="grant it CREATE"):
            await PostgresEventStore.open(
                PostgresOptions(postgres_dsn.replace("postgres@", f"r{database}@"))
            )
    finally:
        await execute(postgres_dsn, f"DROP ROLE r{database}")


async def test_workspaces_of_one_database_have_logs_of_their_own(postgres_dsn: str) -> None:
    options = PostgresOptions(postgres_dsn)
    one = await PostgresEventStore.open(options, workspace="one")
    other = await PostgresEventStore.open(options, workspace="other-one")
    try:
        await one.append(numbered_batch(1, 3))
        answer = await other.append(numbered_batch(1, 2))

        assert (answer.outcome, answer.position) == (AppendOutcome.APPENDED, 2)
        assert [row.n for row in await whole_log(one)] == [3]
    finally:
        await one.aclose()
        await other.aclose()


async def test_the_log_lies_in_ranges_of_positions_and_sealed_ones_come_off(
    postgres_dsn: str,
) -> None:
    async with opened(postgres_dsn, 1, partition_positions=10) as (store,):
        for first in range(1, 50, 4):
            await store.append(numbered_batch(first, 4))
        before = await whole_log(store)
        partitions = await store.partitions()
        check_log(before)

        sealed = [partition for partition in partitions if partition.is_sealed]
        await store.detach(sealed[0])
        await store.detach(sealed[0])

        assert len(sealed) >= 4
        ends = [partition.end_position for partition in partitions]
        assert [p.first_position for p in partitions] == [1, *ends[:-1]]
        after = await whole_log(store)
        assert after == [r for r in before if r.first_position >= sealed[0].end_position]
        assert await store.append(numbered_batch(53, 1))


async def test_a_lost_range_a_trillion_wide_takes_one_partition(postgres_dsn: str) -> None:
    width = 2**40
    frame = wire.dropped_frame(offset=0, width=width, time_us=1, reason="disk full")
    header = wire.BatchHeader("run-1", "w1", 1, 1, width, 7)
    async with opened(postgres_dsn, 1) as (store,):
        await store.append(BatchToAppend(header, wire.encode_payload([frame])))
        answer = await store.append(numbered_batch(width + 1, 2))

        assert answer.position == width + 2
        assert len(await store.partitions()) <= 3


# -- leases and verification -----------------------------------------------------------------


async def test_leases_are_known_to_every_server_whatever_its_clock(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 2) as (one, other):
        term = 600_000_000
        await one.exchange_leases(
            [LeaseRow("w1", "run-1", 1_000 + term)], [], now_us=1_000, ttl_us=term
        )
        (lease,) = await other.exchange_leases([], [], now_us=5_000_000_000, ttl_us=term)
        assert (lease.writer_id, lease.run_id) == ("w1", "run-1")
        assert 0 <= 5_000_000_000 + term - lease.expires_us < 300_000_000

        assert await other.exchange_leases([], ["w1"], now_us=0, ttl_us=term) == []
        assert await one.exchange_leases([], [], now_us=0, ttl_us=term) == []


async def test_leases_outlive_a_time_without_any_server(postgres_dsn: str) -> None:
    async with opened(postgres_dsn, 1) as (store,):
        term = 600_000_000
        alive, gone = LeaseRow("w1", "run-1", term), LeaseRow("w2", "run-2", term)
        await store.exchange_leases([alive, gone], [], now_us=0, ttl_us=term)
        # Half an hour passes without a server; w2 had been silent before that.
        await execute(
            postgres_dsn, "UPDATE tracker.lease_watch SET watched_at_us = watched_at_us - 18e8"
        )
        await execute(
            postgres_dsn,
            "UPDATE tracker.lease SET expires_us = expires_us - 18e8"
            " - CASE writer_id WHEN 'w2' THEN 61e7 ELSE 0 END",
        )

        leases = await store.exchange_leases([], [], now_us=0, ttl_us=term)

    assert [lease.writer_id for lease in leases] == ["w1"]
    assert leases[0].expires_us > term - 300_000_000


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tracker.batch SET payload = payload || 'x'::bytea WHERE first_position = 4",
        "DELETE FROM tracker.batch WHERE first_position = 4",
        "UPDATE tracker.writer SET next_seq = next_seq + 1",
    ],
)
async def test_verify_finds_what_was_changed_in_the_database(
    postgres_dsn: str, damage: str
) -> None:
    async with opened(postgres_dsn, 1) as (store,):
        for first in range(1, 10, 3):
            await store.append(numbered_batch(first, 3))
    clean, damaged = VerifyReport(), VerifyReport()
    async with reading_log(postgres_dsn) as log:
        await verify_log(log, clean, lambda progress: None)
        await execute(postgres_dsn, damage)
        await verify_log(log, damaged, lambda progress: None)

    assert (clean.is_clean, clean.batches, clean.head) == (True, 3, 9)
    assert not damaged.is_clean


async def test_a_database_without_a_log_is_not_made_one_by_looking(postgres_dsn: str) -> None:
    with pytest.raises(DatabaseRefused, match="no workspace 'default'"):
        async with reading_log(postgres_dsn):
            pass


async def test_the_command_verifies_a_log_in_postgresql(postgres_dsn: str, tmp_path: Path) -> None:
    async with opened(postgres_dsn, 1) as (store,):
        await store.append(numbered_batch(1, 3))

        clean = await asyncio.to_thread(run_cli, tmp_path, "verify", "--json", postgres_dsn)
        await execute(postgres_dsn, "UPDATE tracker.batch SET n = 2")
        damaged = await asyncio.to_thread(run_cli, tmp_path, "verify", postgres_dsn)
    none = await asyncio.to_thread(run_cli, tmp_path, "verify", f"{postgres_dsn}-not")

    assert clean.returncode == 0, clean.stderr
    assert (json.loads(clean.stdout)["is_clean"], json.loads(clean.stdout)["events"]) == (True, 3)
    assert (damaged.returncode, "NOT CLEAN" in damaged.stdout) == (1, True)
    assert none.returncode != 0
    assert "no such database" in none.stderr
    assert "Traceback" not in none.stderr
