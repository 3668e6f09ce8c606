"""Every runs read store against the language's reference and the interface's words."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.postgres.dialect import PostgresDialect
from projections.projection import ProjectionStoreFailed
from projections.read_models import (
    KeyKind,
    KeySearch,
    Liveness,
    RunSearch,
    RunsReadStore,
    RunView,
    ViewType,
)
from projections.runs_queries import RunsQueries
from projections.search import ast, plan_sqlite
from projections.search.choices import Choice, Choices
from projections.search.dialect import SqliteDialect
from projections.search.errors import InvalidQuery
from projections.search.printer import print_filter, print_order
from tests.support.postgres import fresh_database
from tests.support.run_tables import ExperimentRow, MetricRow, RunRow
from tests.support.runs_backends import (
    FilledTables,
    RunsBackend,
    SqliteRuns,
    postgres_runs,
)
from tests.support.search_reference import World, holds, in_order
from tests.support.search_strategies import (
    EXPERIMENTS,
    NOW_US,
    expressions,
    orders,
    predicates,
    stores,
    walked_orders,
)

T = TypeVar("T")
LIVE = frozenset({"run0", "run2"})
_settings = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> Iterator[RunsBackend]:
    if request.param == "sqlite":
        yield SqliteRuns()
        return
    with (
        fresh_database(request.getfixturevalue("postgres_server_dsn")) as dsn,
        postgres_runs(dsn) as backend,
    ):
        yield backend


def with_store(
    backend: RunsBackend,
    rows: Sequence[RunRow],
    ask: Callable[[RunsReadStore], Awaitable[T]],
    experiments: Sequence[ExperimentRow] = (),
) -> None:
    """Run `ask` against a fresh store that holds `rows`."""
    if not backend.takes_example():
        return

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            tables = backend.tables(Path(folder))
            tables.put(experiments=experiments or experiment_rows(), runs=rows)
            store = tables.store(clock_us=lambda: NOW_US)
            try:
                await ask(store)
            finally:
                await store.aclose()
                tables.close()

    asyncio.run(run())


def experiment_rows() -> list[ExperimentRow]:
    return [
        ExperimentRow(id_, name, lifecycle_stage="deleted" if name == "gone" else "active")
        for id_, name in EXPERIMENTS.items()
    ]


async def everything(store: RunsReadStore) -> list[RunView]:
    search = RunSearch(view=ViewType.ALL, max_results=1000, live_run_ids=LIVE)
    return list((await store.search_runs(search)).items)


def world_of(runs: Sequence[RunView]) -> World:
    children = Counter(run.parent_run_id for run in runs if run.parent_run_id is not None)
    return World(now_us=NOW_US, experiment_names=EXPERIMENTS, children=children)


async def paged(store: RunsReadStore, search: RunSearch) -> list[str]:
    """The run ids of all pages."""
    found: list[str] = []
    token = None
    while True:
        page = await store.search_runs(
            RunSearch(
                experiment_ids=search.experiment_ids,
                filter=search.filter,
                order_by=search.order_by,
                view=search.view,
                max_results=search.max_results,
                live_run_ids=search.live_run_ids,
                page_token=token,
            )
        )
        found.extend(run.run_id for run in page.items)
        token = page.next_page_token
        if token is None:
            return found
        assert len(page.items) == search.max_results


@_settings
@given(stores(), expressions)
def test_a_filter_finds_what_the_reference_finds(
    backend: RunsBackend, rows: list[RunRow], expression: ast.Expression
) -> None:
    async def ask(store: RunsReadStore) -> None:
        runs = await everything(store)
        world = world_of(runs)
        text = print_filter(expression)
        search = RunSearch(filter=text, view=ViewType.ALL, max_results=1000, live_run_ids=LIVE)

        found = (await store.search_runs(search)).items

        expected = [run.run_id for run in runs if holds(expression, run, world)]
        assert [run.run_id for run in found] == expected, text

    with_store(backend, rows, ask)


@_settings
@given(stores(), expressions, orders)
def test_pages_cover_every_match_once_in_the_reference_order(
    backend: RunsBackend, rows: list[RunRow], expression: ast.Expression, terms: list[ast.OrderTerm]
) -> None:
    check_pages(backend, rows, expression, terms)


@_settings
@given(stores(), predicates | st.tuples(predicates, predicates).map(ast.And), orders)
def test_conditions_that_are_tested_by_sets_give_the_same_pages(
    backend: RunsBackend, rows: list[RunRow], condition: ast.Expression, terms: list[ast.OrderTerm]
) -> None:
    with sets_of_any_size():
        check_pages(backend, rows, condition, terms)


@contextmanager
def sets_of_any_size() -> Iterator[None]:
    """Otherwise there are sets only where many runs are to be tested."""
    with (
        patch.object(plan_sqlite, "_LOOK_AT_ONCE", -1),
        patch.object(SqliteDialect, "rows_of_set_per_look", lambda *_: 1_000.0),
        patch.object(PostgresDialect, "rows_of_set_per_look", lambda *_: 1_000.0),
    ):
        yield


def check_pages(
    backend: RunsBackend, rows: list[RunRow], expression: ast.Expression, terms: list[ast.OrderTerm]
) -> None:
    async def ask(store: RunsReadStore) -> None:
        runs = await everything(store)
        world = world_of(runs)
        matching = [run for run in runs if holds(expression, run, world)]
        expected = [run.run_id for run in in_order(matching, terms, world)]
        for size in (1, 3):
            search = RunSearch(
                filter=print_filter(expression),
                order_by=[print_order(term) for term in terms],
                view=ViewType.ALL,
                max_results=size,
                live_run_ids=LIVE,
            )
            assert await paged(store, search) == expected

    with_store(backend, rows, ask)


@_settings
@given(stores(12), walked_orders, predicates)
def test_walks_along_an_index_give_the_reference_order_too(
    backend: RunsBackend, rows: list[RunRow], terms: list[ast.OrderTerm], predicate: ast.Expression
) -> None:
    """Small stores are driven; a page smaller than the store, with few misses, is walked."""

    async def ask(store: RunsReadStore) -> None:
        runs = await everything(store)
        world = world_of(runs)
        runs = [run for run in runs if not holds(predicate, run, world)]
        for experiment_ids in ((), ("0",), ("0", "1")):
            for view in (ViewType.ALL, ViewType.ACTIVE_ONLY):
                inside = [
                    run
                    for run in runs
                    if (not experiment_ids or run.experiment_id in experiment_ids)
                    and (view is ViewType.ALL or run.lifecycle_stage == "active")
                ]
                search = RunSearch(
                    experiment_ids=experiment_ids,
                    filter=print_filter(ast.Not(predicate)),
                    order_by=[print_order(term) for term in terms],
                    view=view,
                    max_results=1,
                    live_run_ids=LIVE,
                )
                expected = in_order(inside, terms, world)
                assert await paged(store, search) == [run.run_id for run in expected]

    with_store(backend, rows, ask)


@pytest.fixture
async def tables(backend: RunsBackend, tmp_path: Path) -> AsyncIterator[FilledTables]:
    tables = backend.tables(tmp_path)
    yield tables
    tables.close()


@pytest.fixture
async def store(tables: FilledTables) -> AsyncIterator[RunsQueries]:
    store = tables.store(clock_us=lambda: NOW_US)
    yield store
    await store.aclose()


async def ids(store: RunsReadStore, filter: str, **more: object) -> list[str]:
    page = await store.search_runs(RunSearch(filter=filter, **more))  # type: ignore[arg-type]  # a test's shorthand
    return sorted(run.run_id for run in page.items)


@pytest.mark.parametrize(
    "condition",
    [
        "metrics.acc > 0.3",
        "params.half = '1'",
        "params.half IN ('0', '2')",
        "params.lr < 0.5",
        "tags.team LIKE 'a%'",
        "tags.team IN ('a4', 'b5', 'a8')",
    ],
)
@pytest.mark.parametrize("order", ["metrics.acc.min", "metrics.place DESC"])
async def test_a_set_holds_the_runs_that_looks_at_each_find(
    tables: FilledTables, store: RunsReadStore, condition: str, order: str
) -> None:
    tables.put(
        runs=[
            RunRow(
                f"run{i:02}",
                start_us=i * 1000,
                params={"half": str(i % 2), "lr": str(i / 40)},
                tags={"team": "ab"[i % 2] + str(i)} if i % 3 else {},
                metrics={"place": MetricRow.of(i)}
                | ({"acc": MetricRow.of(i * 7 % 40 / 40)} if i % 5 else {}),
            )
            for i in range(40)
        ]
    )
    search = RunSearch(filter=f"{condition} AND end_reason IS NULL", order_by=[order])
    looked_at = [run.run_id for run in (await store.search_runs(search)).items]

    again = tables.store(clock_us=lambda: NOW_US)
    choices: list[Choice] = []
    with (
        sets_of_any_size(),
        patch.object(plan_sqlite, "_narrowest", lambda *_, **__: None),
        patch.object(Choices, "keep", lambda _, name, page, choice: choices.append(choice)),
    ):
        in_set = (await again.search_runs(search)).items

    assert [run.run_id for run in in_set] == looked_at
    assert 0 < len(looked_at) < 40
    assert [len(choice.sets) for choice in choices] == [1]


async def test_metric_values_come_back_bit_for_bit(
    tables: FilledTables, store: RunsReadStore
) -> None:
    values = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-0": -0.0, "tiny": 5e-324}
    metrics = {key: MetricRow.of(value) for key, value in values.items()}
    tables.put(runs=[RunRow("a", metrics=metrics)])

    run = await store.get_run("a", live_run_ids=frozenset())

    assert run is not None
    for key, value in values.items():
        assert repr(run.metrics[key].last.value) == repr(value)
        assert repr(run.metrics[key].first.value) == repr(value)
    assert run.metrics["nan"].min_value is None


async def test_texts_come_back_as_they_were(tables: FilledTables, store: RunsReadStore) -> None:
    texts = {
        "a": "",
        "b": "\0\x01\x1f\x7f",
        "c": '"\\/\n\u2028',
        "d": "😀ü",
        'e"\\': "1e5",
        "": "x",
    }
    tables.put(runs=[RunRow("a", params=texts, tags=texts), RunRow("b")])

    found = [await store.get_run(run_id, live_run_ids=frozenset()) for run_id in ("a", "b")]

    assert [run and (dict(run.params), dict(run.tags)) for run in found] == [
        (texts, texts),
        ({}, {}),
    ]


async def test_runs_go_and_come_back_with_their_experiment(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[ExperimentRow("0", "kept"), ExperimentRow("1", "gone", "deleted")],
        runs=[
            RunRow("a", experiment_id="0"),
            RunRow("b", experiment_id="0", lifecycle_stage="deleted"),
            RunRow("c", experiment_id="1"),
        ],
    )

    assert await ids(store, "") == ["a"]
    assert await ids(store, "", view=ViewType.DELETED_ONLY) == ["b", "c"]
    assert await ids(store, "lifecycle_stage = 'deleted'", view=ViewType.ALL) == ["b", "c"]
    run = await store.get_run("c", live_run_ids=frozenset())
    assert run is not None
    assert run.lifecycle_stage == "deleted"


async def test_liveness_follows_status_and_leases(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(runs=[RunRow("a", status="RUNNING"), RunRow("b", status="RUNNING"), RunRow("c")])
    live = frozenset({"a", "c"})

    assert await ids(store, "liveness = 'live'", live_run_ids=live) == ["a"]
    assert await ids(store, "liveness = 'lost'", live_run_ids=live) == ["b"]
    assert await ids(store, "liveness != 'lost'", live_run_ids=live) == ["a", "c"]
    run = await store.get_run("c", live_run_ids=live)
    assert run is not None
    assert run.liveness is Liveness.ENDED


async def test_pages_stay_put_while_runs_arrive(tables: FilledTables, store: RunsReadStore) -> None:
    tables.put(runs=[RunRow(f"run{i}", start_us=i) for i in range(10)])
    search = RunSearch(max_results=4)
    first = await store.search_runs(search)

    tables.put(runs=[RunRow(f"new{i}", start_us=100 + i) for i in range(10)])
    second = await store.search_runs(RunSearch(max_results=4, page_token=first.next_page_token))

    assert [run.run_id for run in first.items] == ["run9", "run8", "run7", "run6"]
    assert [run.run_id for run in second.items] == ["run5", "run4", "run3", "run2"]


async def test_now_is_the_same_on_every_page(tables: FilledTables) -> None:
    clock = [10_000]
    store = tables.store(clock_us=lambda: clock[0])
    tables.put(runs=[RunRow(f"run{i}", start_us=i * 1_000) for i in range(8)])
    search = {"filter": "start_time >= now-7ms", "max_results": 2}
    page = await store.search_runs(RunSearch(**search))  # type: ignore[arg-type]  # a test's shorthand
    found = [run.run_id for run in page.items]

    clock[0] = 1_000_000
    while page.next_page_token is not None:
        page = await store.search_runs(
            RunSearch(page_token=page.next_page_token, **search)  # type: ignore[arg-type]  # as above
        )
        found.extend(run.run_id for run in page.items)

    assert found == ["run7", "run6", "run5", "run4", "run3"]
    await store.aclose()


async def test_a_token_of_another_search_is_refused(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(runs=[RunRow("a"), RunRow("b")])
    token = (await store.search_runs(RunSearch(max_results=1))).next_page_token

    with pytest.raises(InvalidQuery, match="another search"):
        await store.search_runs(RunSearch(filter="is_child", page_token=token))


@pytest.mark.parametrize("experiment_id", ["'; DROP TABLE run; --", "\ud800", ""])
async def test_odd_experiment_ids_find_nothing_or_are_refused(
    tables: FilledTables, store: RunsReadStore, experiment_id: str
) -> None:
    tables.put(runs=[RunRow("a")])
    try:
        page = await store.search_runs(RunSearch(experiment_ids=[experiment_id]))
    except InvalidQuery:
        assert experiment_id == "\ud800"
    else:
        assert page.items == []


async def test_a_page_has_one_to_fifty_thousand_runs(
    tables: FilledTables, store: RunsReadStore
) -> None:
    for size in (0, -1, 50_001):
        with pytest.raises(InvalidQuery, match="page_runs_max"):
            await store.search_runs(RunSearch(max_results=size))


async def test_a_page_of_heavy_runs_ends_early_and_goes_on(
    tables: FilledTables, store: RunsReadStore
) -> None:
    metrics = {f"m{i}": MetricRow.of(1.0) for i in range(40_000)}
    tables.put(runs=[RunRow(f"run{i}", metrics=metrics, start_us=i) for i in range(4)])
    first = await store.search_runs(RunSearch(max_results=10))

    second = await store.search_runs(RunSearch(max_results=10, page_token=first.next_page_token))

    assert [run.run_id for run in first.items] == ["run3", "run2"]
    assert [run.run_id for run in second.items] == ["run1", "run0"]
    assert second.next_page_token is None


async def test_an_unknown_run_is_none(tables: FilledTables, store: RunsReadStore) -> None:
    assert await store.get_run("nobody", live_run_ids=frozenset()) is None
    assert await store.metric_keys("nobody") == []
    assert await store.get_experiment("nobody") is None
    assert await store.get_experiment_by_name("nobody") is None


async def test_the_active_experiment_has_the_name(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[
            ExperimentRow("1", "n", "deleted"),
            ExperimentRow("2", "n"),
            ExperimentRow("3", "n", "deleted"),
            ExperimentRow("4", "m", "deleted"),
        ]
    )

    found = [await store.get_experiment_by_name(name) for name in ("n", "m")]

    assert [view and view.experiment_id for view in found] == ["2", "4"]


async def test_an_experiment_counts_its_active_runs(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[ExperimentRow("1", "n", tags={"team": "ü"})],
        runs=[
            RunRow("a", experiment_id="1", start_us=5),
            RunRow("b", experiment_id="1", start_us=9),
            RunRow("c", experiment_id="1", lifecycle_stage="deleted"),
        ],
    )

    experiment = await store.get_experiment("1")

    assert experiment is not None
    assert (experiment.run_count, experiment.last_run_time_us) == (2, 9)
    assert experiment.tags == {"team": "ü"}


async def test_experiments_are_searched_in_the_same_language(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        experiments=[
            ExperimentRow("1", "vision", created_us=3_000, tags={"team": "a"}),
            ExperimentRow("2", "Vision 2", created_us=2_000, tags={"team": "b"}),
            ExperimentRow("3", "speech", created_us=1_000),
            ExperimentRow("4", "old", "deleted", created_us=4_000),
        ]
    )

    async def search(filter: str = "", order_by: Sequence[str] = (), size: int = 10) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = await store.search_experiments(
                filter=filter,
                order_by=order_by,
                view=ViewType.ACTIVE_ONLY,
                max_results=size,
                page_token=token,
            )
            found.extend(experiment.experiment_id for experiment in page.items)
            token = page.next_page_token
            if token is None:
                return found

    assert await search() == ["1", "2", "3"]
    assert await search(size=1) == ["1", "2", "3"]
    assert await search("name ILIKE 'vision%'") == ["1", "2"]
    assert await search("tags.team IN ('b') OR creation_time <= 1") == ["2", "3"]
    assert await search("tags.team IS NULL") == ["3"]
    assert await search(order_by=["tags.team DESC"], size=1) == ["2", "1", "3"]
    assert await search(order_by=["name"], size=2) == ["2", "3", "1"]
    with pytest.raises(InvalidQuery):
        await search("metrics.a = 1")


async def test_keys_are_found_by_prefix_and_experiment(
    tables: FilledTables, store: RunsReadStore
) -> None:
    tables.put(
        runs=[
            RunRow("a", experiment_id="1", params={"lr": "1", "lr_decay": "1", "depth": "3"}),
            RunRow("b", experiment_id="2", params={"lr2": "1"}, tags={"lrt": "x", "gone": None}),
        ]
    )

    async def keys(**search: object) -> list[str]:
        page = await store.keys(KeySearch(**search))  # type: ignore[arg-type]  # a test's shorthand
        return [*page.keys, *(["…"] if page.is_reduced else [])]

    assert await keys(kind=KeyKind.PARAMS) == ["depth", "lr", "lr2", "lr_decay"]
    assert await keys(kind=KeyKind.PARAMS, prefix="lr") == ["lr", "lr2", "lr_decay"]
    assert await keys(kind=KeyKind.PARAMS, prefix="lr", max_results=2) == ["lr", "lr2", "…"]
    assert await keys(kind=KeyKind.PARAMS, prefix="lr", experiment_ids=["1"]) == ["lr", "lr_decay"]
    assert await keys(kind=KeyKind.TAGS) == ["lrt"]
    assert await keys(kind=KeyKind.TAGS, experiment_ids=["2"]) == ["lrt"]
    assert await keys(kind=KeyKind.METRICS, prefix="%") == []


async def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    store = RunsQueries(tmp_path / "nothing.sqlite")

    with pytest.raises(ProjectionStoreFailed):
        await store.position()
    await store.aclose()
