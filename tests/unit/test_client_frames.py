from __future__ import annotations

import importlib
import json
import math
from array import array
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import polars as pl
import pytest

from tests.support.fake_tracker import a_run
from tracker.entities import RunRecord
from tracker.frames import MissingLibrary, history_frame, instant, runs_frame
from tracker.history import MetricHistory

START = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


def run_of(run_id: str, **changes: Any) -> RunRecord:
    return RunRecord.from_json(json.loads(a_run(run_id, **changes).model_dump_json()))


RUNS = [run_of("a" * 32), run_of("b" * 32, params={"depth": "3"}, metrics={}, end_time_us=None)]
COLUMNS = [
    "run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time",
    "metrics.loss", "params.depth", "params.lr", "tags.team",
]  # fmt: skip


def test_pandas_has_the_columns_of_mlflow_and_gaps_where_a_run_has_none() -> None:
    frame = runs_frame(RUNS, "pandas")

    assert list(frame.columns) == COLUMNS
    assert frame["start_time"][0] == pd.Timestamp(START)
    assert pd.isna(frame["end_time"][1])
    assert math.isnan(frame["metrics.loss"][1])
    assert frame["params.depth"][1] == "3"
    assert pd.isna(frame["params.depth"][0])


def test_polars_has_the_same_columns_and_types() -> None:
    frame = runs_frame(RUNS, "polars")

    assert frame.columns == COLUMNS
    assert frame.schema["start_time"] == pl.Datetime("us", "UTC")
    assert frame.row(1, named=True)["metrics.loss"] is None
    assert frame["start_time"][0] == START


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_no_runs_are_a_frame_with_mlflows_first_columns(kind: Any) -> None:
    frame = runs_frame([], kind)

    assert list(frame.columns) == COLUMNS[:6]
    assert len(frame) == 0


def test_a_list_has_a_dict_per_run() -> None:
    rows = runs_frame(RUNS, "list")

    assert rows[1]["params.depth"] == "3"
    assert "params.lr" not in rows[1]


HISTORY = MetricHistory(
    "r", "loss", array("q", [-1, 7]), array("q", [0, 1_700_000_000_123_456]),
    array("d", [math.nan, -0.0]),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_history_frame_is_exact(kind: Any) -> None:
    frame = history_frame(HISTORY, kind)

    assert list(frame.columns) == ["step", "time", "value"]
    assert frame["step"].to_list() == [-1, 7]
    assert frame["time"].to_list()[1] == START
    assert math.isnan(frame["value"].to_list()[0])
    assert math.copysign(1, frame["value"].to_list()[1]) == -1


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_an_empty_history_is_an_empty_frame(kind: Any) -> None:
    empty = MetricHistory("r", "loss", array("q"), array("q"), array("d"))

    assert len(history_frame(empty, kind)) == 0


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(MissingLibrary, match="pip install polars"):
        runs_frame(RUNS, "polars")


def test_times_beyond_the_calendar_are_its_ends() -> None:
    assert instant(2**62) == datetime.max.replace(tzinfo=UTC)
    assert instant(-(2**62)) == datetime.min.replace(tzinfo=UTC)
