"""The runs read stores against the reference of the search language."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections import runs_search
from projections.postgres.dialect import PostgresDialect
from projections.read_models import (
    RunSearch,
    RunsReadStore,
    RunView,
    ViewType,
)
from projections.search import ast, plan_sqlite
from projections.search.choices import Choice, Choices
from projections.search.dialect import SqliteDialect
from projections.search.fields import RUNS
from projections.search.parser import parse_filter, parse_order
from projections.search.printer import print_filter, print_order
from tests.support.run_tables import ExperimentRow, MetricRow, RunRow
from tests.support.runs_backends import FilledTables, RunsBackend, paged
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


def with_store(
    backend: RunsBackend,
    rows: Sequence[RunRow],
    ask: Callable[[RunsReadStore], Awaitable[T]],
    experiments: Sequence[ExperimentRow] = (),
    *,
    is_example: bool = True,
) -> None:
    """Run `ask` against a fresh store that holds `rows`. `is_example`: one of many."""
    if is_example and not backend.takes_example():
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
        again = (await store.search_runs(search)).items

        expected = [run.run_id for run in runs if holds(expression, run, world)]
        assert [run.run_id for run in found] == expected, text
        assert [run.run_id for run in again] == expected, text

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


@pytest.mark.parametrize(
    "order",
    [
        ["metrics.a"],
        ["metrics.b DESC"],
        ["metrics.a.min", "params.a"],
        ["params.b DESC", "metrics.b.count"],
        ["tags.a", "params.a DESC"],
        ["metrics.c", "tags.b"],
    ],
)
def test_a_row_is_joined_once_for_conditions_and_for_the_order(
    backend: RunsBackend, order: list[str]
) -> None:
    """Driven through all runs, each condition joins the row that it tests."""
    rows = [
        RunRow(
            run_id=f"run{n}",
            params={"a": str(n * 5 % 12), "b": str(n * 7 % 12 // 3)},
            tags={"a": str(n * 5 % 12 // 4), "b": str(n * 11 % 12)},
            metrics={
                "a": MetricRow.of(n * 11 % 12 // 2, n * 5 % 12),
                "b": MetricRow.of(*range(n * 7 % 12 + 1)),
            },
        )
        for n in range(12)
    ]
    conditions = [
        *("metrics.a > 1", "metrics.a.first < 5", "metrics.b != 4", "metrics.b.count > 2"),
        *("params.a != '7'", "params.b >= 1", "tags.b LIKE '%'", "tags.a IS NOT NULL"),
    ]
    filter_ = parse_filter(" AND ".join(conditions), RUNS)
    assert filter_ is not None
    with patch.object(runs_search, "choose", lambda *_, **__: Choice()):
        check_pages(backend, rows, filter_, parse_order(order, RUNS), is_example=False)


@contextmanager
def sets_of_any_size() -> Iterator[None]:
    """Otherwise there are sets only where many runs are to be tested."""
    with (
        patch.object(plan_sqlite, "_LOOK_AT_ONCE", -1),
        patch.object(SqliteDialect, "rows_of_set_per_look", 1_000.0),
        patch.object(PostgresDialect, "rows_of_set_per_look", 1_000.0),
    ):
        yield


def check_pages(
    backend: RunsBackend,
    rows: list[RunRow],
    expression: ast.Expression,
    terms: Sequence[ast.OrderTerm],
    *,
    is_example: bool = True,
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

    with_store(backend, rows, ask, is_example=is_example)


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
