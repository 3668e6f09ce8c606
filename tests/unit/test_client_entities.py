from __future__ import annotations

import json
import math
from typing import Any

import pytest

from ingest.schemas import ParamConflictAnswer, PointAnswer, RunWriterAnswer
from tests.support.fake_tracker import a_metric, a_run, an_experiment
from tracker.entities import Experiment, RunRecord
from tracker.views import view_name


def parsed(**changes: Any) -> RunRecord:
    return RunRecord.from_json(json.loads(a_run(**changes).model_dump_json()))


def test_times_are_milliseconds_as_in_mlflow_and_microseconds_as_recorded() -> None:
    run = parsed()

    assert run.info.start_time == 1_700_000_000_123
    assert run.info.start_time_us == 1_700_000_000_123_456
    assert run.info.duration_us == 1_876_544
    assert parsed(end_time_us=None).info.end_time is None


def test_metrics_are_last_values_and_summaries_hold_the_rest() -> None:
    run = parsed()

    assert run.data.metrics == {"loss": 0.5}
    assert (run.data.summaries["loss"].max, run.data.summaries["loss"].count) == (1.0, 10)
    assert run.data.params == {"lr": "0.01"}


def test_values_that_json_cannot_carry_come_back_as_floats() -> None:
    nan = PointAnswer(value="NaN", step=1, time_us=0)
    low = PointAnswer(value="-Infinity", step=0, time_us=0)
    run = parsed(metrics={"loss": a_metric(last=nan, first=low, min=None, max="Infinity")})

    loss = run.data.summaries["loss"]
    assert math.isnan(run.data.metrics["loss"])
    assert (loss.first, loss.min, loss.max) == (-math.inf, None, math.inf)


def test_conflicts_and_writers_are_kept() -> None:
    run = parsed(
        conflicts=[ParamConflictAnswer(key="lr", value="0.1", writer_id="w")],
        writers=[
            RunWriterAnswer(
                writer_id="w", epoch=1, next_seq=9, last_position=8, lease_expires_us=None,
                about={"host": "node-1"},
            )
        ],
    )  # fmt: skip

    assert run.conflicts[0].value == "0.1"
    assert run.writers[0].about == {"host": "node-1"}


def test_fields_of_a_newer_server_are_passed_over() -> None:
    answer = json.loads(a_run().model_dump_json())
    answer["mood"] = "good"
    answer["conflicts"] = [{"key": "lr", "value": "1", "writer_id": "w", "mood": "bad"}]

    assert RunRecord.from_json(answer).conflicts[0].key == "lr"


def test_a_run_is_plain_data_when_asked() -> None:
    plain = parsed().to_dictionary()

    assert json.loads(json.dumps(plain)) == plain
    assert plain["data"]["summaries"]["loss"]["min_step"] == 9


def test_experiments_have_the_shape_of_mlflow() -> None:
    experiment = Experiment.from_json(json.loads(an_experiment().model_dump_json()))

    assert (experiment.experiment_id, experiment.creation_time) == ("7", 1_700_000_000_000)


@pytest.mark.parametrize(("given", "word"), [(1, "active_only"), (3, "all"), ("ALL", "all")])
def test_views_are_words_or_the_numbers_of_mlflow(given: int | str, word: str) -> None:
    assert view_name(given) == word


def test_an_unknown_view_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'gone'"):
        view_name("gone")
