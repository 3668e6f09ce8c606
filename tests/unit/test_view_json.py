from __future__ import annotations

import json
import math

from ingest.event_stores.leases import LeaseRow
from ingest.schemas import ExperimentAnswer, RunAnswer
from ingest.view_json import experiment_json, run_json
from projections.read_models import (
    ExperimentView,
    InputView,
    Liveness,
    MetricSummary,
    ModelLink,
    ParamConflict,
    Point,
    RunView,
    WriterView,
)


class NoLeases:
    def live_run_ids(self) -> frozenset[str]:
        return frozenset()

    def held(self) -> list[LeaseRow]:
        return []

    def expires_us(self, writer_id: str) -> int | None:
        return 5 if writer_id == "w1" else None


def run() -> RunView:
    return RunView(
        run_id="a",
        name="n",
        experiment_id="0",
        user_id="ada",
        status="FAILED",
        liveness=Liveness.ENDED,
        lifecycle_stage="active",
        start_time_us=1,
        end_time_us=2,
        end_reason="lost",
        end_detail=None,
        parent_run_id=None,
        dropped=3,
        last_position=9,
        params={"lr": "0.1"},
        tags={"k": "ü"},
        metrics={
            "loss": MetricSummary(
                Point(math.nan, 2, 8), Point(-math.inf, 1, 7), -math.inf, 1, 0.5, 2, 3, 1
            ),
            "nan": MetricSummary(
                Point(math.nan, 1, 1), Point(math.nan, 1, 1), None, None, None, None, 1, 1
            ),
        },
        conflicts=(ParamConflict("lr", "0.2", "w2"),),
        inputs=(InputView("mnist", "d1", "http", "{}", "", "", {"k": "v"}),),
        model_inputs=(ModelLink("m-1", 0),),
        model_outputs=(ModelLink("m-2", 7),),
        writers=(WriterView("w1", 1, 4, 9, {"rank": 1}), WriterView("w2", 1, 2, 3, {})),
    )


def test_a_runs_json_is_what_its_model_describes() -> None:
    found = run_json(run(), position=9, leases=NoLeases())

    assert RunAnswer.model_validate_json(json.dumps(found)).model_dump(by_alias=True) == found
    assert set(found) == set(RunAnswer.model_fields)


def test_floats_that_json_lacks_become_texts() -> None:
    metric = run_json(run(), position=9, leases=NoLeases())["metrics"]["loss"]

    assert (metric["last"]["value"], metric["first"]["value"]) == ("NaN", "-Infinity")
    assert (metric["min"], metric["max"]) == ("-Infinity", 0.5)


def test_an_experiments_json_is_what_its_model_describes() -> None:
    view = ExperimentView("1", "n", "active", None, 1, 2, {"k": "v"}, 3, None)

    found = experiment_json(view, position=9)

    assert ExperimentAnswer.model_validate_json(json.dumps(found)).model_dump() == found
