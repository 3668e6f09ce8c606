"""What is printed of runs, without a server: columns, pages, comparisons."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

import click
import pytest

from ingest.schemas import ParamConflictAnswer, PointAnswer, RunWriterAnswer
from tests.support.fake_tracker import a_metric, a_run
from tracker.cli.run_columns import chosen_columns, default_columns
from tracker.cli.run_comparison import compare
from tracker.cli.run_page import print_run
from tracker.entities import RunRecord


def run_of(run_id: str = "a" * 32, **changes: Any) -> RunRecord:
    return RunRecord.from_json(json.loads(a_run(run_id, **changes).model_dump_json()))


def loss(value: float | Literal["NaN"]) -> dict[str, Any]:
    return {"loss": a_metric(last=PointAnswer(value=value, step=9, time_us=0))}


def titles(runs: list[RunRecord], experiments: dict[str, str]) -> list[str]:
    columns = default_columns(runs, experiments=experiments, now_us=time.time_ns() // 1000)
    return [column.title for column in columns]


def test_params_that_are_the_same_everywhere_are_left_out() -> None:
    runs = [run_of(params={"lr": "1", "seed": "7"}), run_of(params={"lr": "2", "seed": "7"})]

    assert titles(runs, {"0": "digits"})[-3:] == ["TOOK", "loss", "lr"]


def test_experiments_are_named_when_there_are_several() -> None:
    runs = [run_of(experiment_id="1"), run_of(experiment_id="2")]

    assert "EXPERIMENT" in titles(runs, {"1": "a", "2": "b"})


def test_columns_are_chosen_by_name_with_summaries_of_metrics() -> None:
    columns = chosen_columns([run_of()], "name,metrics.loss.min,params.lr,tags.team,metrics.none")

    assert [column.cells[0] for column in columns] == ["quiet-otter-1", "0.5", "0.01", "vision", ""]


def test_a_metric_whose_key_ends_like_a_summary_is_itself() -> None:
    columns = chosen_columns([run_of(metrics={"loss.min": a_metric()})], "metrics.loss.min")

    assert columns[0].cells == ["1"]


def test_a_wrong_column_is_answered_with_the_nearest() -> None:
    with pytest.raises(click.BadParameter, match="did you mean 'status'"):
        chosen_columns([run_of()], "name,statsu")


def test_a_page_tells_how_a_run_ended_what_conflicted_and_who_wrote(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = run_of(
        status="FAILED", end_reason="killed by signal", end_detail="SIGKILL (9)", dropped=3,
        conflicts=[ParamConflictAnswer(key="lr", value="0.1", writer_id="w" * 8)],
        writers=[
            RunWriterAnswer(
                writer_id="f" * 32, epoch=1, next_seq=12, last_position=11, lease_expires_us=None,
                about={"host": "node-1", "pid": 42, "rank": 0},
            )
        ],
    )  # fmt: skip

    print_run(run, experiment="digits", parent=None)

    text = click.unstyle(capsys.readouterr().out)
    for expected in (
        "quiet-otter-1  FAILED",
        "killed by signal: SIGKILL (9)",
        "3 records lost",
        "0.01 stands; 0.1 came from writer wwwwwwww",
        "node-1",
    ):
        assert expected in text


def test_a_lost_run_is_not_shown_as_one_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(status="RUNNING", liveness="lost", end_time_us=None)

    print_run(run, experiment="digits", parent=None)

    assert "RUNNING (lost)" in click.unstyle(capsys.readouterr().out)


def test_a_comparison_marks_what_differs_and_can_leave_out_the_rest() -> None:
    runs = [run_of(metrics=loss(0.5)), run_of(metrics=loss(0.25), params={"depth": "3"})]

    lines = {(line.section, line.key): line for line in compare(runs, only_different=False)}
    only = {(line.section, line.key) for line in compare(runs, only_different=True)}

    assert lines[("metrics", "loss")].values == (0.5, 0.25)
    assert lines[("params", "depth")].values == (None, "3")
    assert not lines[("run", "status")].is_different
    assert only == {("metrics", "loss"), ("params", "depth"), ("params", "lr")}


def test_two_nans_do_not_differ() -> None:
    runs = [run_of(metrics=loss("NaN")), run_of(metrics=loss("NaN"))]

    assert compare(runs, only_different=True) == []
