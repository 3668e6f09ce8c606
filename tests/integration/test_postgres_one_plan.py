"""Searches that are best run the same way whatever their values: PostgreSQL plans them once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg
import pytest

from projections.postgres.connection import PostgresConnection
from projections.postgres.dialect import POSTGRES
from projections.postgres.plans import KEPT_AHEAD_S, Plans
from projections.postgres.readers import PostgresReaders, ReaderPool
from projections.postgres.reading import Reading, Source
from projections.postgres.translation import translated
from projections.read_models import RunSearch
from projections.runs_queries import RunsQueries
from projections.search.access_sqlite import experiments_access
from projections.search.sql_text import ONE_PLAN
from tests.support.postgres import connected, fresh_database
from tests.support.run_tables import MetricRow, RunRow
from tests.support.runs_backends import PostgresRuns, postgres_runs

SOURCE = Source("default", "runs")
RUN_COUNT = 3_000
DRIVEN = RunSearch(filter="params.rare = '7'")
UNSEEN = """SELECT count(*) FROM pg_class WHERE relallvisible < relpages
AND relname IN ('run', 'run_param', 'run_tag', 'run_metric') AND relnamespace = $1::regnamespace"""
WALKED = RunSearch(filter="params.half = '1'")
# The run itself, in a subquery of the same alias, is shown as r_1.
SCAN = re.compile(r"Scan (?:Backward )?(?:using (\w+) )?on (run\w*) ([a-z]\d?)(?:_1)? ")


@pytest.fixture(scope="module")
def backend(
    postgres_server_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresRuns]:
    with fresh_database(postgres_server_dsn) as dsn, postgres_runs(dsn) as backend:
        tables = backend.tables(tmp_path_factory.mktemp("plans"))
        tables.put(runs=map(_run, range(RUN_COUNT)))
        tables.close()
        yield backend


def _run(n: int) -> RunRow:
    """Most keys are rare, so that of any key few rows are expected."""
    rare = {f"k{n * k % 701}": MetricRow.of(float(n)) for k in (3, 5, 7)}
    return RunRow(
        f"run{n}",
        name=f"run-{n}",
        experiment_id=str(n % 3),
        start_us=n,
        params={"half": str(n % 2), "rare": str(n % 500)},
        tags={"team": f"t{n % 300}"},
        metrics={"acc": MetricRow.of((n * 7919 % RUN_COUNT) / RUN_COUNT)} | rare,
    )


@pytest.fixture
async def pool(backend: PostgresRuns, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ReaderPool]:
    """One connection, on which nothing counts as slow, however busy the machine is."""
    monkeypatch.setattr("projections.postgres.reading.SLOW_S", 60.0)
    monkeypatch.setattr("projections.postgres.readers.AHEAD_S", 60.0)
    async with connected(backend.place.uri) as connection, asyncio.timeout(60):
        await connection.execute("VACUUM ANALYZE")
        # Rows that a transaction of somebody's may not see stay out.
        while await connection.fetchval(UNSEEN, backend.schema):
            await connection.execute("VACUUM ANALYZE")
    pool = ReaderPool(backend.place, size=1)
    yield pool
    await pool.aclose()


@pytest.fixture
def runs(pool: ReaderPool) -> RunsQueries:
    return RunsQueries(PostgresReaders(pool, "default", "runs"))


async def asked(runs: RunsQueries, search: RunSearch, *, times: int = 3) -> list[str]:
    """The first time finds out how, in a transaction; then it is asked ahead of any."""
    pages = [await runs.search_runs(search) for _ in range(times)]
    found = [[run.run_id for run in page.items] for page in pages]
    assert found == found[:1] * times
    return found[0]


async def uses(pool: ReaderPool) -> dict[str, tuple[int, int]]:
    """Of statements asked ahead: how often (a plan for all values, one of its own) was used."""
    sql = "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
    rows = await pool.run(lambda reading: reading.begun().direct(sql), SOURCE)
    return {sql: (kept, anew) for sql, kept, anew in rows if "AS found ON TRUE" in sql}


async def kept_plan(pool: ReaderPool) -> str:
    """Of the statement with one plan that was asked ahead."""

    def explained(reading: Reading) -> str:
        connection = reading.begun()
        connection.script(Plans.KEPT.script)
        ((name, sql),) = (
            (name, sql)
            for name, sql in connection.direct("SELECT name, statement FROM pg_prepared_statements")
            if ONE_PLAN in sql and "AS found ON TRUE" in sql
        )
        nothing = ", ".join("NULL" for _ in set(re.findall(r"\$\d+", sql)))
        return "\n".join(
            line for (line,) in connection.direct(f"EXPLAIN EXECUTE {name}({nothing})")
        )

    return await pool.run(explained, SOURCE)


@pytest.mark.parametrize(
    ("filter", "order_by", "lookups"),
    [
        # In the order of an index of all runs, which a planner is drawn to that knows no values.
        ("metrics.acc > 2", (), ["run r"]),
        ("tags.team = 't7'", ("start_time",), ["run r"]),
        ("params.rare = '7'", ("metrics.acc",), ["run r", "run_metric o0"]),
        (
            "params.rare = '7' AND metrics.acc > 0.1 AND run_name LIKE 'run%'",
            ("end_time",),
            ["run_metric c0", "run r"],
        ),
        (
            "params.rare IN ('7', '9') AND tags.team != 't1' AND params.half = '1'",
            ("metrics.acc", "tags.team"),
            ["run_tag c0", "run_param c1", "run r", "run_metric o0"],
        ),
    ],
    ids=["by start, of nothing", "by start", "by metric", "by end", "by two"],
)
async def test_each_row_is_looked_up_for_what_drives_it_in_the_order_of_the_text(
    filter: str, order_by: tuple[str, ...], lookups: list[str], runs: RunsQueries, pool: ReaderPool
) -> None:
    await asked(runs, RunSearch(filter=filter, order_by=order_by))

    plan = await kept_plan(pool)

    (_, driven_by), *looked_up = [(index, f"{table} {a}") for index, table, a in SCAN.findall(plan)]
    assert driven_by.endswith(" d"), plan
    assert [row for _, row in looked_up] == lookups, plan
    assert [index for index, _ in looked_up] == [f"{row.split()[0]}_pkey" for row in lookups], plan
    assert "Seq Scan on run" not in plan


Asked: TypeAlias = tuple[str, tuple[object, ...]]


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What was asked ahead of transactions: statements, and their arguments."""
    found: list[Asked] = []
    direct = PostgresConnection.direct

    def noting(
        self: PostgresConnection, sql: str, *arguments: object, within_s: float | None = None
    ) -> list[Any]:
        if "AS found ON TRUE" in sql:
            found.append((sql, arguments))
        return direct(self, sql, *arguments, within_s=within_s)

    monkeypatch.setattr(PostgresConnection, "direct", noting)
    return found


async def plan_of(asked: Asked, pool: ReaderPool) -> str:
    def explained(reading: Reading) -> str:
        rows = reading._connection.direct(f"EXPLAIN {asked[0]}", *asked[1])
        return "\n".join(line for (line,) in rows)

    return await pool.run(explained, SOURCE, searches=True)


@pytest.mark.parametrize(
    "filter", ["start_time < 1500", "start_time < 1500 AND run_name LIKE 'run%'"]
)
async def test_a_walk_begins_where_its_index_says(
    filter: str, runs: RunsQueries, pool: ReaderPool, ahead: list[Asked]
) -> None:
    await asked(runs, RunSearch(filter=filter, max_results=10))

    plan = await plan_of(ahead[0], pool)

    assert re.search(r"Index Cond: .*start_us < ", plan), plan


@pytest.mark.parametrize(
    ("order_by", "index"),
    [((), "run_start"), (("metrics.acc DESC",), "run_metric_last")],
    ids=["by start", "by metric"],
)
async def test_what_walks_is_not_sorted_however_few_a_planner_expects_to_match(
    order_by: tuple[str, ...],
    index: str,
    runs: RunsQueries,
    pool: ReaderPool,
    ahead: list[Asked],
) -> None:
    """Of conditions that say the same it expects that each leaves a tenth."""
    ends = "run_name LIKE '%7' AND run_name RLIKE '7$' AND run_name ILIKE 'RUN%7'"
    search = RunSearch(filter=ends, order_by=order_by, max_results=10)
    assert len(await asked(runs, search)) == 10

    plan = await plan_of(ahead[0], pool)

    assert f"using {index} on" in plan, plan
    assert SCAN.findall(plan)[0][0] == index, plan


@pytest.mark.parametrize(
    ("order_by", "filter", "index", "lookups"),
    [
        ("metrics.acc DESC", "tags.team LIKE 't%'", "run_metric_last", ["run_tag c0", "run r"]),
        ("metrics.acc", "metrics.acc > 0.2 AND run_name LIKE 'run%'", "run_metric_last", ["run r"]),
        ("tags.team", "params.half = '1'", "run_tag_value", ["run_param c0", "run r"]),
        ("params.rare", "run_name LIKE '%7'", "run_param_value", ["run r"]),
        (
            "metrics.acc",
            # A planner that does not know the values expects next to none.
            "run_id != 'a' AND user_id = 'ada' AND run_name LIKE 'run%' AND dropped < 5"
            " AND end_time IS NULL AND start_time < 9999999 AND start_time >= 0",
            "run_metric_last",
            ["run r"],
        ),
    ],
)
async def test_a_walk_along_keys_and_values_has_one_plan(
    order_by: str,
    filter: str,
    index: str,
    lookups: list[str],
    runs: RunsQueries,
    pool: ReaderPool,
) -> None:
    search = RunSearch(filter=filter, order_by=(order_by,), max_results=10)
    assert await asked(runs, search)

    plan = await kept_plan(pool)

    (walked, _, alias), *looked_up = SCAN.findall(plan)
    assert (walked, alias) == (index, "o0"), plan
    assert [f"{table} {a}" for _, table, a in looked_up] == lookups, plan
    assert [index for index, _, _ in looked_up] == [f"{row.split()[0]}_pkey" for row in lookups]
    assert not re.search(r"^ *->  Sort", plan, re.MULTILINE), plan


@pytest.mark.parametrize(
    ("looked_up", "table"),
    [
        ("metrics.acc > 0.1", "run_metric"),
        ("params.half = '1'", "run_param"),
        ("params.half != '1'", "run_param"),
        ("params.half IS NOT NULL", "run_param"),
        ("tags.team LIKE 't1%'", "run_tag"),
        ("tags.team NOT LIKE 't1%'", "run_tag"),
        ("tags.team NOT IN ('t1', 't2')", "run_tag"),
    ],
)
async def test_what_is_looked_up_comes_with_its_key(
    looked_up: str, table: str, runs: RunsQueries, pool: ReaderPool, ahead: list[Asked]
) -> None:
    await asked(runs, RunSearch(filter=f"params.rare = '7' AND {looked_up}"))

    plan = await plan_of(ahead[0], pool)

    assert f"Index Only Scan using {table}_pkey on {table} c0" in plan, plan


@pytest.mark.parametrize(
    "looked_up",
    ["tags.team LIKE 't1%0'", f"tags.team != '{'t' * 128}'", f"tags.team NOT IN ('{'t' * 128}')"],
)
async def test_what_a_beginning_does_not_tell_is_looked_up_as_a_whole(
    looked_up: str, runs: RunsQueries, pool: ReaderPool, ahead: list[Asked]
) -> None:
    await asked(runs, RunSearch(filter=f"params.rare = '7' AND {looked_up}"))

    plan = await plan_of(ahead[0], pool)

    assert "Index Scan using run_tag_pkey on run_tag c0" in plan, plan
    assert "value_head" not in plan.partition("run_tag_pkey")[2], plan


async def test_whether_a_row_is_there_is_not_asked_of_the_index_of_values(
    runs: RunsQueries, ahead: list[Asked]
) -> None:
    """Few are expected to have the value, so each run would be compared with all that have it:
    6 s instead of 0.2 where 5,000 of 100,000 had it."""
    search = RunSearch(filter="NOT params.half = '1'", order_by=("metrics.acc",), max_results=10)
    assert len(await asked(runs, search)) == 10

    assert "NOT (EXISTS (SELECT 1 FROM run_param k" in ahead[0][0]
    assert "value_head" not in ahead[0][0]


async def test_an_experiments_runs_are_told_by_its_index_alone(
    runs: RunsQueries, pool: ReaderPool
) -> None:
    def explained(reading: Reading) -> str:
        access = experiments_access(["1"], POSTGRES)
        sql = translated(access.rows.text).sql
        rows = reading.begun().direct(f"EXPLAIN {sql}", *access.rows.params)
        return "\n".join(line for (line,) in rows)

    plan = await pool.run(explained, SOURCE)

    assert "Index Only Scan using run_experiment_start" in plan, plan


async def test_one_kind_keeps_its_plan_and_the_others_are_planned_anew_each_time(
    runs: RunsQueries, pool: ReaderPool
) -> None:
    first, second = (RunSearch(filter=f"params.rare = '{n}'") for n in (7, 9))
    assert len(await asked(runs, first)) == len(await asked(runs, second)) == 6
    assert len(await asked(runs, WALKED)) == WALKED.max_results
    assert len(await asked(runs, first)) == 6

    found = await uses(pool)

    of_one_plan = [used for sql, used in found.items() if ONE_PLAN in sql]
    others = [used for sql, used in found.items() if ONE_PLAN not in sql]
    # One text for both; anew where another kind came before.
    assert of_one_plan == [(1 + 2 + 2, 1 + 1)]
    assert others == [(0, 2)]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What sessions were told since."""
    found: list[str] = []
    script = PostgresConnection.script

    def noting(self: PostgresConnection, sql: str, *, within_s: float | None = None) -> str:
        if sql != "ROLLBACK":
            found.append(sql)
        return script(self, sql, within_s=within_s)

    monkeypatch.setattr(PostgresConnection, "script", noting)
    return found


async def test_sessions_are_told_only_when_it_is_asked_for_again(
    runs: RunsQueries, scripts: list[str]
) -> None:
    await asked(runs, DRIVEN)
    await asked(runs, WALKED)
    scripts.clear()

    for _ in range(3):
        await asked(runs, DRIVEN, times=1)
        await asked(runs, WALKED, times=1)
    assert scripts == []
    await asked(runs, DRIVEN)
    await asked(runs, WALKED)

    assert scripts == [Plans.KEPT.lasting_script, Plans.ANEW.lasting_script]


async def test_a_plan_is_not_kept_for_long(
    runs: RunsQueries, pool: ReaderPool, scripts: list[str]
) -> None:
    await asked(runs, DRIVEN, times=5)

    def grown_old(reading: Reading) -> None:
        reading._connection._planned_at -= KEPT_AHEAD_S

    await pool.run(grown_old, SOURCE)
    scripts.clear()
    await asked(runs, DRIVEN, times=1)
    assert scripts == ["DISCARD PLANS"]
    await asked(runs, DRIVEN)
    assert scripts == ["DISCARD PLANS"]

    await pool.run(grown_old, SOURCE)
    scripts.clear()
    await pool.run(lambda reading: reading.begun(), SOURCE)
    age_s = await pool.run(lambda r: time.monotonic() - r._connection._planned_at, SOURCE)
    assert "DISCARD PLANS" in scripts[0]
    assert age_s < KEPT_AHEAD_S


@pytest.mark.parametrize("within", Plans)
@pytest.mark.parametrize("outside", Plans)
async def test_a_transaction_plans_as_it_wants_and_the_session_as_before(
    outside: Plans, within: Plans, runs: RunsQueries, pool: ReaderPool
) -> None:
    await asked(runs, WALKED)

    def modes(reading: Reading) -> list[str]:
        connection = reading._connection
        for _ in range(2):
            connection.plan_outside(outside)
        connection.begin("BEGIN", within)
        ((there,),) = connection.direct("SELECT current_setting('plan_cache_mode')")
        connection.script("ROLLBACK")
        ((then,),) = connection.direct("SELECT current_setting('plan_cache_mode')")
        return [there, then]

    found = await pool.run(modes, SOURCE)

    assert found == [within.settings["plan_cache_mode"], outside.settings["plan_cache_mode"]]


async def test_how_a_session_plans_is_said_again_when_it_is_not_known(
    pool: ReaderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = PostgresConnection.script

    def unheard(self: PostgresConnection, sql: str, *, within_s: float | None = None) -> str:
        script(self, sql, within_s=within_s)
        raise asyncpg.QueryCanceledError

    def mode(reading: Reading) -> str:
        connection = reading._connection
        connection.plan_outside(Plans.ANEW)
        with monkeypatch.context() as patched, suppress(asyncpg.QueryCanceledError):
            patched.setattr(PostgresConnection, "script", unheard)
            for _ in range(2):
                connection.plan_outside(Plans.KEPT)
        connection.plan_outside(Plans.ANEW)
        return str(connection.direct("SELECT current_setting('plan_cache_mode')")[0][0])

    assert await pool.run(mode, SOURCE) == Plans.ANEW.settings["plan_cache_mode"]


async def test_what_took_long_is_planned_for_its_values_in_a_transaction(
    runs: RunsQueries, pool: ReaderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(runs, DRIVEN)
    with monkeypatch.context() as patched:
        patched.setattr("projections.postgres.reading.SLOW_S", -1.0)
        await asked(runs, DRIVEN, times=1)
    used = await uses(pool)

    await asked(runs, DRIVEN, times=1)

    assert await uses(pool) == used  # it was not asked ahead
    sql = "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
    rows = await pool.run(lambda reading: reading.begun().direct(sql), SOURCE)
    ((kept, anew),) = (
        row[1:] for row in rows if ONE_PLAN in row[0] and "AS found ON TRUE" not in row[0]
    )
    assert (kept, anew) == (0, 2)
