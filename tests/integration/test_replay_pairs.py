"""Every kind of source into every kind of destination: the same runs come out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from ingest.event_stores.migrations import MigrationMismatch
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.event_stores.postgres_errors import DatabaseRefused
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.replay.places import LogPlace, source_of
from ingest.replay.sources import open_source
from projections.log import LogHead
from tests.support.histories import RUNS, make_store, replayed
from tests.support.http_server import serving
from tests.support.pgbouncer import running_pgbouncer

Make = Callable[[str], Awaitable[str]]


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes empty places by their kind; what has to run runs until the test ends."""
    async with AsyncExitStack() as running:

        async def make(kind: str) -> str:
            match kind:
                case "sqlite":
                    return str(tmp_path / f"{kind}.db")
                case "postgres":
                    return str(request.getfixturevalue("postgres_dsn"))
                case "server":
                    home = tmp_path / "server"
                    return (await running.enter_async_context(serving(home))).url
                case _:
                    return f"{kind}:{tmp_path / kind}"

        yield make


async def head_of(text: str) -> LogHead:
    place: LogPlace = source_of(text)
    async with open_source(place, workspace=None, api_key=None) as source:
        return await source.log.head()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "server", "archive"])
async def test_a_log_becomes_the_same_log_and_back_again(
    kind: str, place: Make, tmp_path: Path
) -> None:
    original = tmp_path / "original.db"
    await make_store(original)
    there = await place(kind)

    out = await replayed(original, there)
    back = await replayed(there, tmp_path / "back.db")

    for report in (out, back):
        assert report.is_equal
        assert report.keeps_positions
        assert report.comparison is not None
        assert report.comparison.runs == RUNS
    assert await head_of(there) == await head_of(str(original))
    assert await head_of(str(tmp_path / "back.db")) == await head_of(str(original))


@pytest.mark.parametrize("source", ["sqlite", "postgres", "server", "archive"])
@pytest.mark.parametrize("tables", ["parquet", "duckdb"])
async def test_every_log_becomes_tables(
    source: str, tables: str, place: Make, tmp_path: Path
) -> None:
    original = tmp_path / "original.db"
    await make_store(original)
    there = await place(source)
    await replayed(original, there, compare="quick")

    report = await replayed(there, await place(tables))

    assert report.is_equal
    assert report.comparison is not None
    assert report.comparison.points == 2 * 25 * 4 * RUNS


@pytest.mark.parametrize(("source", "destination"), [
    ("postgres", "server"), ("server", "archive"), ("archive", "postgres"), ("server", "postgres"),
    ("postgres", "archive"), ("archive", "server"),
])  # fmt: skip
async def test_logs_move_between_all_others(
    source: str, destination: str, place: Make, tmp_path: Path
) -> None:
    original = tmp_path / "original.db"
    await make_store(original)
    first, second = await place(source), await place(destination)

    await replayed(original, first, compare="quick")
    report = await replayed(first, second)
    again = await replayed(first, second)

    assert report.is_equal
    assert (again.is_equal, again.events) == (True, 0)
    assert await head_of(second) == await head_of(str(original))


async def test_a_pooler_in_transaction_mode_may_stand_before_either_side(
    tmp_path: Path, postgres_dsn: str
) -> None:
    original = tmp_path / "original.db"
    await make_store(original)

    with running_pgbouncer(postgres_dsn) as pooled:
        out = await replayed(original, pooled)
        again = await replayed(original, pooled)
        back = await replayed(pooled, tmp_path / "back.db")
        archive = await replayed(pooled, f"archive:{tmp_path / 'archive'}")

    assert (out.is_equal, back.is_equal, archive.is_equal) == (True, True, True)
    assert (again.events, again.is_equal) == (0, True)
    assert await head_of(postgres_dsn) == await head_of(str(original))


async def test_a_copy_takes_appends_and_is_verified(tmp_path: Path, postgres_dsn: str) -> None:
    from projections.findings import VerifyReport
    from projections.verify_log import verify_log

    original = tmp_path / "original.db"
    await make_store(original)
    await replayed(original, postgres_dsn, compare="quick")

    store = await PostgresEventStore.open(PostgresOptions(postgres_dsn))
    report = VerifyReport()
    await verify_log(store, report, lambda progress: None)
    await store.aclose()

    assert report.is_clean, report.findings
    reader = SqliteLogReader(original)
    assert report.head == (await reader.head()).next_position - 1
    await asyncio.to_thread(reader.close)


async def test_a_database_of_a_newer_version_is_refused_on_either_side(
    tmp_path: Path, postgres_dsn: str
) -> None:
    original = tmp_path / "original.db"
    await make_store(original, runs=1)
    await replayed(original, postgres_dsn, compare="quick")
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("INSERT INTO tracker.log_migration VALUES (9999, 'x', 'y', 0)")
    await connection.close()

    with pytest.raises(MigrationMismatch, match="newer version"):
        await replayed(postgres_dsn, tmp_path / "copy.db")
    with pytest.raises(MigrationMismatch, match="newer version"):
        await replayed(original, postgres_dsn)


async def test_a_workspace_that_the_database_has_not_is_told(
    tmp_path: Path, postgres_dsn: str
) -> None:
    original = tmp_path / "original.db"
    await make_store(original, runs=1)
    await replayed(original, postgres_dsn, compare="quick")

    with pytest.raises(DatabaseRefused, match="no workspace 'team'; it has 'default'"):
        await replayed(postgres_dsn, tmp_path / "copy.db", workspace="team")
