"""Walks that look up only the runs of a set, against driving to them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from projections import runs_search
from projections.postgres.dialect import PostgresDialect
from projections.read_models import RunSearch, RunsReadStore
from projections.search import ast, plan_sqlite
from projections.search.choices import Choice, Choices
from projections.search.dialect import SqliteDialect
from tests.support.run_tables import MetricRow, RunRow
from tests.support.runs_backends import FilledTables, paged
from tests.support.search_strategies import NOW_US

_itself = property(lambda choice: choice)


@contextmanager
def walks_within_any_set() -> Iterator[None]:
    """Otherwise that is done only where many runs would be looked up."""
    with (
        patch.object(plan_sqlite, "_LOOK_AT_ONCE", -1),
        patch.object(plan_sqlite, "_WALK_AT_ONCE", -1),
        patch.object(SqliteDialect, "rows_passed_per_look", lambda *_: 1_000.0),
        patch.object(PostgresDialect, "rows_passed_per_look", lambda *_: 1_000.0),
    ):
        yield


@pytest.mark.parametrize(
    ("experiment_ids", "filter_"),
    [
        (("7",), ""),
        (("7",), "params.half = '1' AND run_name != 'a'"),
        (("7", "8"), "end_reason IS NULL"),
        ((), "params.twentieth = '7'"),
        ((), "params.lr < 0.05"),
        (("7", "2"), "params.twentieth IN ('7', '8')"),
        ((), "tags.team LIKE 'b%' AND params.half = '0'"),
    ],
)
@pytest.mark.parametrize("walks_on", [False, True])
@pytest.mark.parametrize(
    "order",
    [
        ["metrics.place"],
        ["metrics.acc DESC", "tags.odd", "params.half DESC"],
        ["params.half", "metrics.acc"],
        [ast.OrderTerm(ast.Tag("odd"), True, is_whole=True), "metrics.acc"],
    ],
    ids=str,
)
async def test_a_walk_within_a_set_finds_what_driving_finds(
    tables: FilledTables,
    store: RunsReadStore,
    experiment_ids: tuple[str, ...],
    filter_: str,
    order: list[str | ast.OrderTerm],
    walks_on: bool,
) -> None:
    """`walks_on`: not for the first page only."""
    tables.put(
        runs=[
            RunRow(
                f"run{i:03}",
                experiment_id=str(i % 40),
                start_us=i * 1000,
                lifecycle_stage="deleted" if i % 9 == 0 else "active",
                params={"half": str(i % 2), "twentieth": str(i % 20), "lr": str(i / 400)},
                tags={"team": "ba"[i % 16 > 0]} | ({"odd": f"{i * 11 % 400:03}"} if i % 3 else {}),
                metrics={"place": MetricRow.of(i)}
                | ({"acc": MetricRow.of(i * 7 % 400 if i % 3 else math.nan)} if i % 5 else {}),
            )
            for i in range(400)
        ]
    )
    search = RunSearch(experiment_ids=experiment_ids, filter=filter_, order_by=order, max_results=3)
    with patch.object(runs_search, "choose", lambda *_, **__: Choice()):
        driven = await paged(store, search)

    again = tables.store(clock_us=lambda: NOW_US)
    choices: list[Choice] = []
    with (
        walks_within_any_set(),
        patch.object(Choices, "keep", lambda _, name, page, choice: choices.append(choice)),
        patch.object(Choice, "behind_a_page", _itself if walks_on else Choice.behind_a_page),
    ):
        walked = await paged(again, search)

    assert walked == driven
    assert 3 < len(walked) < 60
    for choice in choices:
        assert choice.walks
        assert choice.by_experiments or choice.by
        assert choice.driven is not None
        assert (choice.driven.walks, choice.driven.by) == (False, choice.by)
