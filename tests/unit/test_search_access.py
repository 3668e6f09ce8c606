"""The ways into an index, each by itself: what they yield against the reference."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.postgres.dialect import POSTGRES
from projections.runs_views import run_views
from projections.search import ast
from projections.search.access_sqlite import access_for
from projections.search.entities_sqlite import RunEntity
from projections.search.fields import RUNS
from projections.search.parser import parse_filter
from projections.search.sqlite_functions import register_functions
from tests.support.run_tables import ExperimentRow, RunRow, RunTables
from tests.support.search_reference import World, holds
from tests.support.search_strategies import EXPERIMENTS, NOW_US, PATTERNS, predicates, stores, texts

LIVE = frozenset({"run0", "run2"})
_keyed = st.sampled_from((ast.Param("loss"), ast.Tag("loss")))
# What an index knows more of than a key.
_sharp = st.one_of(
    st.builds(ast.Match, _keyed, st.just(ast.Matching.LIKE), st.sampled_from(PATTERNS)),
    st.builds(ast.Compare, _keyed, st.just(ast.Comparison.EQ), texts.map(ast.Text)),
    st.builds(ast.OneOf, _keyed, st.tuples(texts.map(ast.Text), texts.map(ast.Text))),
)


_settings = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_settings
@given(stores(10), predicates)
def test_an_access_yields_each_run_once_and_misses_none(
    rows: list[RunRow], predicate: ast.Predicate
) -> None:
    check_access(rows, predicate)


@_settings
@given(st.lists(texts, max_size=10), _sharp)
def test_an_access_by_a_text_reads_its_range_of_the_index(
    values: list[str], predicate: ast.Predicate
) -> None:
    rows = [
        RunRow(f"run{n}", params={"loss": value}, tags={"loss": value})
        for n, value in enumerate(values)
    ]

    check_access(rows, predicate)


def check_access(rows: list[RunRow], predicate: ast.Predicate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables = RunTables(Path(folder) / "runs.sqlite")
        tables.put(experiments=[ExperimentRow(*pair) for pair in EXPERIMENTS.items()], runs=rows)
        connection = sqlite3.connect(tables.path)
        register_functions(connection)
        key_ids = dict(connection.execute("SELECT key, key_id FROM key"))
        access = access_for(predicate, RunEntity(key_ids, NOW_US, LIVE))
        runs = run_views(connection, range(1, len(rows) + 1), LIVE)
        world = World(NOW_US, EXPERIMENTS)
        expected = {n for n, run in enumerate(runs, 1) if holds(predicate, run, world)}
        if access is not None:
            found = [n for (n,) in connection.execute(access.rows.text, access.rows.params)]
            bound = [n for (n,) in connection.execute(access.bound.text, access.bound.params)]
            assert len(found) == len(set(found))
            assert set(found) == expected if access.is_exact else set(found) >= expected
            assert set(bound) >= set(found)
        connection.close()
        tables.close()


@pytest.mark.parametrize(
    "filter", ["params.p != 'x'", "params.p NOT IN ('x', 'y')", "tags.p NOT LIKE 'x%'"]
)
def test_postgres_reads_the_beginnings_that_its_index_gives(filter: str) -> None:
    condition = parse_filter(filter, RUNS)
    assert condition is not None

    access = access_for(condition, RunEntity({"p": 1}, now_us=0, dialect=POSTGRES))

    assert access is not None
    assert "(substr(d.value, 1, 128) " in access.rows.text.replace("NOT (", "")
