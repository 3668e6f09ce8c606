"""What was chosen for a search is taken again for a while, and never changes its answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from projections import runs_search
from projections.read_models import RunSearch
from projections.runs_search import Remembered, find_runs
from projections.search import ast, choices
from projections.search.choices import Choice, Choices
from projections.search.dialect import SQLITE
from projections.search.fields import RUNS
from projections.search.parser import parse_filter
from projections.search.plan_sqlite import Query, plan
from projections.search.run_selection import RunSelection
from tests.support.run_tables import RunRow, RunTables

SEARCH = RunSearch(
    filter="params.rare = '7'",
    order_by=("start_time DESC",),
    experiment_ids=("42",),
    max_results=5,
    now_us=1,
)
(CONDITION,) = ast.conjuncts(parse_filter(SEARCH.filter, RUNS))
HALF = ast.conjuncts(parse_filter("params.half = '1'", RUNS))
CHOICES = [
    Choice(sets=frozenset([CONDITION])),
    Choice(walks=True, sets=frozenset([CONDITION])),
    Choice(by_experiments=True, sets=frozenset([CONDITION])),
    Choice(by=CONDITION, sets=frozenset([CONDITION])),
    Choice(sets=frozenset(HALF)),
    Choice(walks=True),
    Choice(walks=True, by=CONDITION),
    Choice(walks=True, by_experiments=True, sets=frozenset([CONDITION])),
    Choice(),
    Choice(by_experiments=True),
    Choice(by=CONDITION),
    Choice(by=HALF[0]),
]


def test_the_next_pages_of_a_walk_within_are_driven_to(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Choice] = []

    def noting(selection: RunSelection, choice: Choice) -> list[Query]:
        chosen.append(choice)
        return plan(selection, choice)

    search = replace(SEARCH, order_by=("params.half",))
    found = find_runs(connection, search, SQLITE, Remembered())
    kept = Choices()
    driven = Choice(by=CONDITION, sets=frozenset(HALF))
    within = Choice(walks=True, by=CONDITION, driven=driven)
    kept.keep(found.name, SEARCH.max_results, within)
    monkeypatch.setattr(runs_search, "plan", noting)
    later = replace(search, page_token=found.token_after(5))
    for page in (search, later):
        find_runs(connection, page, SQLITE, Remembered(kept))

    assert chosen == [within, driven]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    tables = RunTables(tmp_path_factory.mktemp("choices") / "runs.sqlite")
    tables.put(
        runs=(
            RunRow(
                f"run{n}",
                experiment_id="42",
                start_us=n,
                params={"rare": str(n % 100), "half": str(n % 2)},
            )
            for n in range(1_000)
        )
    )
    connection = sqlite3.connect(Path(tables.path))
    yield connection
    connection.close()
    tables.close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def statements_of(
    connection: sqlite3.Connection, search: RunSearch, remembered: Remembered
) -> list[str]:
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    find_runs(connection, search, SQLITE, remembered)
    connection.set_trace_callback(None)
    return asked


@pytest.mark.parametrize("choice", CHOICES)
def test_whatever_was_chosen_the_answer_is_the_same(
    choice: Choice, connection: sqlite3.Connection
) -> None:
    expected = find_runs(connection, SEARCH, SQLITE, Remembered())
    kept = Choices()
    kept.keep(expected.name, SEARCH.max_results, choice)

    found = find_runs(connection, SEARCH, SQLITE, Remembered(kept))

    assert len(found.rows) == 5
    assert found.rows == expected.rows


def test_the_same_search_looks_at_the_data_once_in_a_while(connection: sqlite3.Connection) -> None:
    clock = Clock()
    kept = Choices(clock=clock)
    remembered = Remembered(kept)
    first = statements_of(connection, SEARCH, remembered)

    again = statements_of(connection, SEARCH, remembered)
    clock.now_s += choices.KEPT_S
    later = statements_of(connection, SEARCH, remembered)

    assert len(again) == 1  # the page
    assert len(later) > 2
    assert first[-len(later) :] == later  # but for the keys' ids


def test_the_oldest_choice_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "KEPT_MAX", 2)
    kept = Choices()
    for name in ("a", "b", "c"):
        kept.keep(name, 10, Choice(walks=True))

    assert kept.known("a", 10) is None
    assert kept.known("b", 10) == kept.known("c", 10) == Choice(walks=True)
    assert kept.known("b", 11) is None
