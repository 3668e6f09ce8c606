"""Which way a search takes: seen in the statements it makes, on a store of 3,000 runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.search import ast
from projections.search.access_sqlite import access_for
from projections.search.entities_sqlite import IS_ACTIVE, RunEntity
from projections.search.fields import RUNS
from projections.search.parser import parse_filter, parse_order
from projections.search.plan_sqlite import Query, choose, plan
from projections.search.run_selection import RunSelection
from projections.search.sql_text import Sql
from tests.support.run_tables import MetricRow, RunRow, RunTables

RUN_COUNT = 3_000


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    tables = RunTables(tmp_path_factory.mktemp("plan") / "runs.sqlite")
    tables.put(runs=map(_run, range(RUN_COUNT)))
    connection = sqlite3.connect(Path(tables.path))
    yield connection
    connection.close()
    tables.close()


def _run(n: int) -> RunRow:
    return RunRow(
        f"run{n}",
        experiment_id=str(n % 3) if n % 30 else "small",
        start_us=n,
        params={
            "half": str(n % 2),
            "month": str(n % 30),
            "rare": str(n % 1000),
            "lr": f"{n / RUN_COUNT}",
            "turn": f"{n * 7919 % RUN_COUNT:04}",
        },
        tags={"turn": f"{n * 7919 % RUN_COUNT:04}"},
        metrics={
            "acc": MetricRow.of((n * 7919 % RUN_COUNT) / RUN_COUNT),
            # The runs of a month, and those of the small experiment, are the last of all.
            "late": MetricRow.of((n % 30 == 0) + n / RUN_COUNT),
        }
        | ({"few": MetricRow.of(float(n))} if n < 5 else {})
        | ({"early": MetricRow.of(float(n))} if n < 200 else {}),
    )


def planned(
    connection: sqlite3.Connection,
    filter: str,
    *order_by: str,
    experiment_ids: tuple[str, ...] = (),
) -> list[Query]:
    key_ids = dict(connection.execute("SELECT key, key_id FROM key"))
    selection = RunSelection(
        ast.conjuncts(parse_filter(filter, RUNS)),
        parse_order(list(order_by), RUNS),
        experiment_ids,
        Sql(IS_ACTIVE),
        RunEntity(key_ids, now_us=0),
    )
    return plan(selection, choose(connection, selection, page=11))


def outermost(queries: list[Query]) -> str:
    return queries[0].source.text.split(" CROSS JOIN ")[0]


def test_a_common_condition_is_met_along_the_order(connection: sqlite3.Connection) -> None:
    queries = planned(connection, "params.half = '1'", "metrics.acc DESC")

    assert outermost(queries) == "run_metric o0 INDEXED BY run_metric_last"
    assert [query.order.columns[0].fixed for query in queries] == [0, 1, 2]


def test_a_rare_condition_is_driven_from(connection: sqlite3.Connection) -> None:
    (query,) = planned(connection, "params.rare = '77'", "metrics.acc DESC")

    assert "run_param d INDEXED BY run_param_value" in query.source.text


@pytest.mark.parametrize(
    ("filter", "has_one_plan"),
    [
        ("params.rare = '77'", True),
        ("metrics.few > 3", True),
        ("params.rare IN ('77', '78')", True),
        (f"params.rare IN ('77', '{'7' * 200}')", False),
        ("params.rare = '77' AND metrics.acc < 0.9 AND run_name LIKE 'a%'", True),
        ("params.rare = '77' AND metrics.acc < 0.9 AND metrics.acc.max > 0.1", True),
        ("params.rare = '77' AND (metrics.acc < 0.9 OR run_name LIKE 'a%')", False),
        ("params.rare = '77' AND NOT metrics.acc < 0.9", False),
        ("params.rare = '77' AND params.lr IS NULL", False),
        ("params.rare = '77' AND params.half IN ('0', '1')", False),
        ("params.rare = '77' AND run_name IN ('a', 'b')", False),
        ("params.rare = '77' AND liveness = 'lost'", False),
        ("params.rare = '77' AND dataset.name = 'd'", False),
        ("start_time > 2990", False),
        ("run_id = 'run7'", False),
        ("attributes.status = 'RUNNING'", False),
        ("dataset.name = 'd'", False),
    ],
)
def test_one_plan_does_for_rows_that_are_looked_up_by_their_keys(
    connection: sqlite3.Connection, filter: str, has_one_plan: bool
) -> None:
    (query,) = planned(connection, filter, "end_time")

    assert query.has_one_plan is has_one_plan


def test_what_is_too_much_to_drive_by_is_a_set_for_the_scan_of_all_runs(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.search.plan_sqlite._YIELD_CAP", 100)

    (query,) = planned(connection, "metrics.acc > 0.5", "end_time")

    assert query.source.text.startswith("run r")
    assert "IN (SELECT d.run_no FROM run_metric d" in query.condition.text


def test_no_such_set_is_made_for_a_walk_which_may_end_soon(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.search.plan_sqlite._YIELD_CAP", 100)

    (query,) = planned(connection, "metrics.acc > 0.5 AND run_name = 'none'")

    assert query.source.text.startswith("run r INDEXED BY run_start")
    assert "IN (SELECT" not in query.condition.text.replace("NOT IN (SELECT", "")


def test_one_plan_does_not_for_a_list_of_experiments(connection: sqlite3.Connection) -> None:
    filter = "params.rare = '77'"
    (in_one,) = planned(connection, filter, "end_time", experiment_ids=("1",))
    (in_two,) = planned(connection, filter, "end_time", experiment_ids=("1", "2"))

    assert (in_one.has_one_plan, in_two.has_one_plan) == (True, False)


def test_the_rarest_of_several_is_driven_from(connection: sqlite3.Connection) -> None:
    (query,) = planned(
        connection, "params.half = '1' AND params.lr < 0.001 AND metrics.acc > 0.5", "metrics.acc"
    )

    assert "run_param d INDEXED BY run_param_number" in query.source.text


def test_a_rare_condition_is_driven_from_when_few_runs_have_the_ordered_metric(
    connection: sqlite3.Connection,
) -> None:
    """The walk along the few is short, but then it would go through all that lack it."""
    (query,) = planned(connection, "params.rare = '77'", "metrics.few")

    assert "run_param d" in query.source.text


def test_a_range_of_the_ordered_metric_bounds_the_walk_and_leaves_no_other_stratum(
    connection: sqlite3.Connection,
) -> None:
    queries = planned(connection, "metrics.acc > 0.5", "metrics.acc DESC")

    assert "o0.last_value > ?" in queries[0].condition.text
    assert [query.order.columns[0].fixed for query in queries] == [0, 1]


def test_what_few_more_runs_fulfil_than_are_tested_is_tested_by_a_set(
    connection: sqlite3.Connection,
) -> None:
    (half,) = planned(connection, "params.half = '1' AND metrics.acc >= 0.5", "metrics.acc.min")
    (more,) = planned(connection, "params.half = '1' AND metrics.acc >= 0.2", "metrics.acc.min")
    (few,) = planned(connection, "params.rare = '77' AND metrics.acc >= 0.5", "metrics.acc.min")

    assert "+d.run_no IN (SELECT d.run_no FROM run_metric d" in half.condition.text
    for query in (more, few):
        assert "+d.run_no IN" not in query.condition.text
        assert "run_metric c0" in query.source.text


@pytest.fixture
def looks_up_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred runs count as many."""
    monkeypatch.setattr("projections.search.plan_sqlite._LOOK_AT_ONCE", 50)
    monkeypatch.setattr("projections.search.plan_sqlite._WALK_AT_ONCE", 50)


IN_EXPERIMENT = (
    "+o0.run_no IN (SELECT r.run_no FROM run r INDEXED BY run_experiment_start"
    " WHERE r.experiment_id = ?)"
)
IN_MONTH = "+o0.run_no IN (SELECT d.run_no FROM run_param d INDEXED BY run_param_value"


@pytest.mark.usefixtures("looks_up_few")
@pytest.mark.parametrize("order", ["metrics.acc DESC", "metrics.late DESC"])
@pytest.mark.parametrize(
    ("experiment_ids", "filter", "in_set"),
    [
        (("small",), "", IN_EXPERIMENT),
        (("small",), "run_name != 'none'", IN_EXPERIMENT),
        ((), "params.month = '0'", IN_MONTH),
    ],
)
def test_a_walk_passes_what_is_not_in_a_set_of_those_that_would_be_driven_to(
    connection: sqlite3.Connection,
    experiment_ids: tuple[str, ...],
    filter: str,
    in_set: str,
    order: str,
) -> None:
    queries = planned(connection, filter, order, experiment_ids=experiment_ids)

    assert outermost(queries) == "run_metric o0 INDEXED BY run_metric_last"
    assert in_set in queries[0].condition.text
    assert queries[0].has_one_plan
    # Of runs without a value not all that there are: those that would be driven to.
    assert [query.order.columns[0].fixed for query in queries[:2]] == [0, 1]
    assert queries[2].source.text.startswith("(SELECT ")
    assert "NOT EXISTS (SELECT 1 FROM run_metric o0" in queries[2].condition.text
    assert not queries[2].has_one_plan


@pytest.mark.usefixtures("looks_up_few")
def test_a_walk_within_a_set_makes_no_others_for_few_looks(
    connection: sqlite3.Connection,
) -> None:
    queries = planned(connection, "params.month = '0' AND metrics.late < 1.9", "metrics.acc")

    assert outermost(queries) == "run_metric o0 INDEXED BY run_metric_last"
    assert queries[0].condition.text.count("+o0.run_no IN") == 1


@pytest.mark.parametrize(
    ("filter", "has_one_plan"),
    [
        ("params.half = '1'", True),
        ("params.half != '0'", True),
        ("params.half LIKE '1%'", False),
        ("params.half IN ('1', '2')", False),
        ("metrics.acc > 0.1", True),
        ("run_name LIKE '%'", True),
        ("NOT metrics.acc > 0.9", False),
    ],
)
def test_a_walk_within_a_pattern_or_a_list_is_planned_for_it(
    connection: sqlite3.Connection, filter: str, has_one_plan: bool
) -> None:
    queries = planned(connection, filter, "params.half")

    assert outermost(queries) == "run_param o0 INDEXED BY run_param_value"
    assert queries[0].has_one_plan is has_one_plan


@pytest.mark.usefixtures("looks_up_few")
@pytest.mark.parametrize(
    ("experiment_ids", "filter", "order"),
    [
        # All others stand before them.
        (("small",), "", "metrics.late"),
        ((), "params.month = '0'", "metrics.late"),
        # It would go on to the end of the values, and beyond.
        (("small",), "run_name = 'none'", "metrics.acc"),
        ((), "params.month = '7'", "metrics.early"),
        # Not enough runs are spared a look.
        ((), "params.month = '0' AND metrics.late < 1.7", "metrics.acc"),
        # No index of keys and values tells them.
        ((), "experiment_id = 'small'", "metrics.acc"),
        # Each row that is passed would be looked up.
        ((), "params.month = '0'", "tags.turn"),
        ((), "params.month = '0'", "params.turn"),
        # The walk reads each run anyway.
        ((), "params.month = '0'", "start_time"),
    ],
)
def test_no_walk_passes_more_than_is_spared(
    connection: sqlite3.Connection, experiment_ids: tuple[str, ...], filter: str, order: str
) -> None:
    (query,) = planned(connection, filter, order, experiment_ids=experiment_ids)

    assert query.source.text.startswith("(SELECT ")
    assert "+o0.run_no IN" not in query.condition.text


@pytest.mark.usefixtures("looks_up_few")
def test_what_few_runs_would_be_looked_up_for_is_not_walked(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.search.plan_sqlite._LOOK_AT_ONCE", 100)

    (query,) = planned(connection, "params.month = '0'", "metrics.acc")

    assert query.source.text.startswith("(SELECT ")


def test_the_newest_runs_of_an_experiment_are_read_from_its_index(
    connection: sqlite3.Connection,
) -> None:
    everything = planned(connection, "")
    of_one = planned(connection, "", experiment_ids=("1",))

    assert outermost(everything) == "run r INDEXED BY run_start"
    assert outermost(of_one) == "run r INDEXED BY run_experiment_start"


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        ("params.rare = '77'", "run_param_value (key_id=? AND <expr>=?)"),
        ("params.rare IN ('7', '8')", "run_param_value (key_id=? AND <expr>=?)"),
        ("params.rare LIKE '77%'", "run_param_value (key_id=? AND <expr>>? AND <expr><?)"),
        ("params.rare = '" + "7" * 200 + "'", "run_param_value (key_id=? AND <expr>=?)"),
        ("params.lr < 0.5", "run_param_number (key_id=? AND number<?)"),
        ("metrics.acc > 0.5", "run_metric_last (key_id=? AND last_value>?)"),
        ("run_id IN ('a', 'b')", "sqlite_autoindex_run_1 (run_id=?)"),
        ("parent_run_id = 'a'", "run_parent (parent_run_id=?)"),
        ("start_time > now-7d", "run_start (start_us>?)"),
    ],
)
def test_an_access_uses_all_that_its_index_knows(
    connection: sqlite3.Connection, filter: str, index: str
) -> None:
    key_ids = dict(connection.execute("SELECT key, key_id FROM key"))
    predicate = parse_filter(filter, RUNS)
    assert predicate is not None
    access = access_for(predicate, RunEntity(key_ids, now_us=0))
    assert access is not None

    for sql in (access.rows, access.bound):
        steps = connection.execute("EXPLAIN QUERY PLAN " + sql.text, sql.params).fetchall()
        assert any(index in step[3] for step in steps), steps
