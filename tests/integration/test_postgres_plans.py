"""Plans in PostgreSQL: fixed statements keep theirs, along indexes; searches are planned anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import asyncpg
import pytest

from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.read_side_postgres import open_postgres_read_side
from projections.models_queries import SQL as MODELS
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.dialect import POSTGRES
from projections.postgres.plans import KEPT_S, Plans
from projections.postgres.readers import PostgresReaders, ReaderPool
from projections.postgres.reading import Reading, Source
from projections.postgres.translation import Translated, translated
from projections.read_models import RunSearch
from projections.runs_queries import RunsQueries
from projections.runs_views import SQL as RUNS
from projections.search import ast
from projections.search.access_sqlite import access_for
from projections.search.entities_sqlite import RunEntity
from projections.series_snapshot import SQL as SERIES
from projections.sqlite import statements
from tests.support.logs import batch_to_append, event

ARTIFACTS = statements("artifact_queries.sql")
# One row each, whatever the store holds.
SMALL = ("projection", "dead_letter")


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[ReaderPool]:
    """One connection, and read models that hold next to nothing when it plans."""
    store = await PostgresEventStore.open(PostgresOptions(postgres_dsn))
    async with open_postgres_read_side(store, postgres_dsn, workspace="default") as side:
        tags = event("tags.set", 1, tags={"team": "vision"})
        await store.append(batch_to_append("run", "w", 1, [tags]))
        assert await side.wait_for(1, timeout_s=60)
    pool = ReaderPool(PostgresPlace(postgres_dsn), size=1)
    yield pool
    await pool.aclose()
    await store.aclose()


def kept_plan(connection: PostgresConnection, name: str, statement: Translated) -> list[str]:
    if not statement.names:
        return []
    connection.script(f"PREPARE {name} AS {statement.sql}")
    nothing = ", ".join("NULL" for _ in statement.names)
    return [line for (line,) in connection.direct(f"EXPLAIN EXECUTE {name}({nothing})")]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("runs", RUNS), ("runs", MODELS), ("runs", ARTIFACTS), ("series", SERIES)],
    ids=["runs", "models", "artifacts", "series"],
)
async def test_a_plan_made_while_tables_are_empty_is_one_along_an_index(
    name: str, blocks: dict[str, str], pool: ReaderPool
) -> None:
    def scans(reading: Reading) -> list[str]:
        connection, found = reading.begun(), []
        for block, sql in blocks.items():
            for line in kept_plan(connection, block, translated(sql)):
                if "Seq Scan on" in line and not any(f"on {table}" in line for table in SMALL):
                    found.append(f"{block}: {line}")
        return found

    assert await pool.run(scans, Source("default", name)) == []


async def test_what_is_fixed_is_planned_once_and_what_is_searched_each_time(
    pool: ReaderPool,
) -> None:
    runs = RunsQueries(PostgresReaders(pool, "default", "runs"))
    for _ in range(3):
        page = await runs.search_runs(RunSearch(filter="tags.team LIKE 'v%'"))
        assert [run.tags for run in page.items] == [{"team": "vision"}]

    kept = await pool.run(
        lambda reading: reading.begun().direct(
            "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
        ),
        Source("default", "runs"),
    )

    parts = [row for row in kept if "ARRAY(SELECT x FROM" in row["statement"]]
    pages = [row for row in kept if "r.last_position, FALSE" in row["statement"]]
    # How the first search begins, the run, and what it holds: it has not changed later.
    assert [(row["generic_plans"], row["custom_plans"]) for row in parts] == [(1, 0)] * 3
    # In a transaction, and then ahead of any.
    assert sorted((row["generic_plans"], row["custom_plans"]) for row in pages) == [(0, 1), (0, 2)]


@pytest.mark.parametrize("begins", Plans)
async def test_a_plan_from_when_a_table_was_small_does_not_outlive_a_second(
    pool: ReaderPool, postgres_dsn: str, begins: Plans
) -> None:
    """Nobody tells PostgreSQL's planner of the rows that come after it was made."""
    connection = await asyncpg.connect(postgres_dsn)
    schema = await connection.fetchval(
        "SELECT schema_name FROM tracker.projection_build WHERE name = 'runs'"
    )
    await connection.execute(f"ALTER TABLE {schema}.key SET (autovacuum_enabled = off)")
    await connection.execute(f"ANALYZE {schema}.key")
    runs = RunsQueries(PostgresReaders(pool, "default", "runs"))
    assert (await runs.get_run("run", live_run_ids=frozenset())) is not None
    await connection.execute(
        f"INSERT INTO {schema}.key SELECT n, 'key' || n FROM generate_series(1000, 40000) n"
    )
    await connection.close()

    def joins(reading: Reading) -> list[str]:
        if begins is Plans.ANEW:
            reading.execute("SELECT run_no FROM run WHERE run_no > ?", (0,))
        connection = reading.begun()
        connection.script(Plans.KEPT.script)
        (name,) = (
            name
            for name, statement in connection.direct(
                "SELECT name, statement FROM pg_prepared_statements WHERE from_sql IS FALSE"
            )
            if "DISTINCT m.key_id" in statement
        )
        lines = [line for (line,) in connection.direct(f"EXPLAIN EXECUTE {name}(NULL)")]
        return [lines[i + 1] for i, line in enumerate(lines) if " on key k" in line]

    await asyncio.sleep(KEPT_S + 0.1)
    found = await pool.run(joins, Source("default", "runs"))

    assert found
    assert all("Index Cond: (key_id = " in line for line in found)


@pytest.mark.parametrize("keys", [1, 40_000])
async def test_no_statistics_make_a_plan_that_compares_all_with_all(
    pool: ReaderPool, postgres_dsn: str, keys: int
) -> None:
    """They may be from when one table had many rows and the other nearly none."""
    connection = await asyncpg.connect(postgres_dsn)
    schema = await connection.fetchval(
        "SELECT schema_name FROM tracker.projection_build WHERE name = 'runs'"
    )
    await connection.execute(
        f"SET search_path = {schema};"
        "ALTER TABLE key SET (autovacuum_enabled = off);"
        "ALTER TABLE run_metric SET (autovacuum_enabled = off);"
        f"INSERT INTO key SELECT n, 'key' || n FROM generate_series(1001, 1000 + {keys}) n;"
        "ANALYZE key;"
        "INSERT INTO run_metric SELECT 1, n, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0"
        f" FROM generate_series(1001, {1001 if keys > 1 else 41_000}) n;"
        "ANALYZE run_metric"
    )
    await connection.close()

    def whole_indexes(reading: Reading) -> list[str]:
        opened, found = reading.begun(), []
        for block, sql in RUNS.items():
            lines = kept_plan(opened, block, translated(sql))
            for line, following in pairwise([*lines, ""]):
                is_whole = " Scan using " in line and "Index Cond" not in following
                if is_whole and not any(f"on {table}" in line for table in SMALL):
                    found.append(f"{block}: {line.strip()}")
        return found

    assert await pool.run(whole_indexes, Source("default", "runs")) == []


@pytest.mark.parametrize(("table", "key"), [("run_param", "lr"), ("run_tag", "team")])
async def test_runs_that_have_a_text_are_told_by_its_index_alone(
    pool: ReaderPool, postgres_dsn: str, table: str, key: str
) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    schema = await connection.fetchval(
        "SELECT schema_name FROM tracker.projection_build WHERE name = 'runs'"
    )
    columns = "run_no, key_id, value, order_us" + (", writer_id" if table == "run_param" else "")
    others = ", 'w'" if table == "run_param" else ""
    await connection.execute(
        f"INSERT INTO {schema}.{table} ({columns}) "
        f"SELECT n, 1, 'v' || n % 100, 0{others} FROM generate_series(10, 9999) n"
    )
    await connection.execute(f"VACUUM ANALYZE {schema}.{table}")
    seen = "SELECT relallvisible FROM pg_class WHERE oid = $1::regclass"
    async with asyncio.timeout(60):  # rows that a transaction of somebody's may not see stay out
        while not await connection.fetchval(seen, f"{schema}.{table}"):
            await connection.execute(f"VACUUM ANALYZE {schema}.{table}")
    await connection.close()
    runs = RunEntity({key: 1}, 0, dialect=POSTGRES)
    field = ast.Param(key) if table == "run_param" else ast.Tag(key)
    access = access_for(ast.Compare(field, ast.Comparison.EQ, ast.Text("v7")), runs)
    assert access is not None

    def plan(reading: Reading) -> str:
        asked = reading.execute(f"EXPLAIN {access.rows.text}", access.rows.params)
        return "\n".join(line for (line,) in asked)

    found = await pool.run(plan, Source("default", "runs"))

    assert f"Index Only Scan using {table}_value on {table} d" in found, found
