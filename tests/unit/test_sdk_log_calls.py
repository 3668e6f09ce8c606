"""What each log call leaves in the spool."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tests.support.recorded import isolated_sdk, recorded, recorded_run
from tracker.errors import InvalidStep, MetricTypeError, ParamChanged, RunAlreadyActive
from tracker.events.errors import InvalidEvent


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with isolated_sdk(tmp_path, monkeypatch):
        yield tmp_path


def test_a_run_records_its_start_its_values_and_its_end(home: Path) -> None:
    tracker.set_experiment("digits")
    with tracker.start_run(run_name="first", tags={"team": "a"}, description="why") as run:
        assert tracker.log_param("lr", 1e-3) == 1e-3
        tracker.log_metric("loss", 0.5, step=3)
        tracker.log_metrics({"acc": np.float32(0.25), "n": 4}, step=4)
        tracker.set_tag("phase", "warmup")
        tracker.delete_tag("team")

    writer = recorded_run(home, run.info.run_id)
    started = writer.data_of("run.started")
    assert writer.types[0] == "run.started"
    assert (started["experiment_name"], started["name"]) == ("digits", "first")
    assert "experiment_id" not in started
    assert writer.params == {"lr": "0.001"}
    assert writer.points == [("loss", 3, 0.5), ("acc", 4, 0.25), ("n", 4, 4.0)]
    assert writer.tags["mlflow.note.content"] == "why"
    assert writer.tags["mlflow.runName"] == "first"
    assert writer.tags["phase"] == "warmup"
    assert "team" not in writer.tags
    assert writer.data_of("run.ended") == {"status": "FINISHED"}
    assert writer.meta.is_owner
    assert (writer.meta.mode, writer.meta.uri) == ("offline", "local")


def test_a_call_of_many_metrics_is_one_record(home: Path) -> None:
    with tracker.start_run() as run:
        tracker.log_metrics({f"m{i}": float(i) for i in range(10)}, step=1)

    metrics = [r for r in recorded_run(home, run.run_id).records if r.k]
    assert [record.k for record in metrics] == [10]


def test_fifty_thousand_keys_in_one_call_are_all_recorded(home: Path) -> None:
    with tracker.start_run() as run:
        tracker.log_metrics({f"layer/{i}": float(i) for i in range(50_000)})

    points = recorded_run(home, run.run_id).points
    assert points == [(f"layer/{i}", 0, float(i)) for i in range(50_000)]


def test_values_keep_every_bit(home: Path) -> None:
    bits = [
        0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000000, 0x8000000000000000,
        0x0000000000000001,
    ]  # fmt: skip
    numbers = [struct.unpack("<d", struct.pack("<Q", each))[0] for each in bits]
    with tracker.start_run() as run:
        for number in numbers:
            tracker.log_metric("x", number)
        tracker.log_metrics({str(i): number for i, number in enumerate(numbers)})

    values = [value for _, _, value in recorded_run(home, run.run_id).points]
    assert [struct.unpack("<Q", struct.pack("<d", v))[0] for v in values] == bits * 2


def test_a_refused_call_records_nothing_and_uses_no_sequence_number(home: Path) -> None:
    with tracker.start_run() as run:
        before = run.recording.progress()
        for refused in ("0.5", None, math.nan * 1j):
            with pytest.raises(MetricTypeError, match="'loss'"):
                tracker.log_metric("loss", refused)
            with pytest.raises(MetricTypeError, match="'loss'"):
                tracker.log_metrics({"fine": 1.0, "loss": refused})
        with pytest.raises(InvalidStep):
            tracker.log_metric("loss", 1.0, step="first")  # type: ignore[arg-type] # the point
        with pytest.raises(InvalidEvent, match="key_characters_max"):
            tracker.log_metric("k" * 251, 1.0)
        with pytest.raises(InvalidEvent, match="dict"):
            tracker.log_metrics([1.0])  # type: ignore[arg-type] # the point
        assert run.recording.progress() == before


def test_no_metrics_are_no_record(home: Path) -> None:
    with tracker.start_run() as run:
        before = run.recording.progress()
        tracker.log_metrics({})
        assert run.recording.progress() == before


def test_a_param_never_changes_in_the_process_that_logged_it(home: Path) -> None:
    with tracker.start_run() as run:
        tracker.log_params({"lr": 0.1, "layers": 3})
        tracker.log_param("lr", "0.1")

        with pytest.raises(ParamChanged) as error:
            tracker.log_params({"new": 1, "lr": 0.2})

    assert (error.value.key, error.value.old, error.value.new) == ("lr", "0.1", "0.2")
    assert recorded_run(home, run.run_id).params == {"lr": "0.1", "layers": "3"}


def test_a_long_param_does_not_change_either(home: Path) -> None:
    with tracker.start_run():
        tracker.log_param("config", "x" * 60_000)
        tracker.log_param("config", "x" * 60_000)
        with pytest.raises(ParamChanged):
            tracker.log_param("config", "x" * 59_999 + "y")


def test_the_run_name_tag_renames_the_run(home: Path) -> None:
    with tracker.start_run() as run:
        tracker.set_tag("mlflow.runName", "better")

    assert recorded_run(home, run.run_id).data_of("run.updated") == {"name": "better"}
    assert run.info.run_name == "better"


def test_a_run_without_a_name_gets_a_readable_one(home: Path) -> None:
    with tracker.start_run() as run:
        pass

    adjective, animal, number = run.info.run_name.split("-")
    assert adjective.isalpha()
    assert animal.isalpha()
    assert number.isdecimal()


def test_the_first_log_call_starts_a_run(home: Path) -> None:
    tracker.log_metric("loss", 1.0)

    run = tracker.active_run()
    assert run is not None
    tracker.end_run()
    assert recorded_run(home, run.run_id).points == [("loss", 0, 1.0)]
    assert tracker.active_run() is None
    assert tracker.last_active_run() is run


def test_a_second_run_must_be_nested(home: Path) -> None:
    with tracker.start_run() as parent:
        with pytest.raises(RunAlreadyActive, match="nested=True"):
            tracker.start_run()
        with tracker.start_run(nested=True) as child:
            tracker.log_metric("depth", 1)
        tracker.log_metric("depth", 0)

    assert child.info.parent_run_id == parent.run_id
    assert recorded_run(home, child.run_id).data_of("run.started")["parent_run_id"] == parent.run_id
    assert recorded_run(home, child.run_id).tags["mlflow.parentRunId"] == parent.run_id
    assert recorded_run(home, child.run_id).points == [("depth", 0, 1.0)]
    assert recorded_run(home, parent.run_id).points == [("depth", 0, 0.0)]


def test_a_parent_can_be_named_without_being_active(home: Path) -> None:
    with tracker.start_run(parent_run_id="some-parent") as run:
        pass

    assert recorded_run(home, run.run_id).data_of("run.started")["parent_run_id"] == "some-parent"


def test_a_resumed_run_keeps_its_name_and_goes_on(home: Path) -> None:
    with tracker.start_run(run_name="baseline") as run:
        tracker.log_metric("loss", 1.0, step=1)
    with tracker.start_run(run_id=run.run_id):
        tracker.log_metric("loss", 0.5, step=2)

    first, second = recorded(home)
    assert first.meta.run_id == second.meta.run_id == run.run_id
    assert second.types[:2] == ["run.started", "run.resumed"]
    assert second.types[-1] == "run.ended"
    assert "name" not in second.data_of("run.started")
    assert second.meta.is_owner


def test_what_is_logged_after_the_end_still_reaches_the_run(home: Path) -> None:
    with tracker.start_run() as run:
        pass
    run.log_metric("late", 1.0)
    tracker.log_metric("later", 2.0, run_id=run.run_id)
    tracker.fluent.session._end_all("FINISHED", reason=None, detail=None)  # type: ignore[arg-type] # as at exit

    owner, late, later = recorded(home)
    assert owner.types[-1] == "run.ended"
    assert late.types == ["run.joined"]
    assert not late.meta.is_owner
    assert late.points == [("late", 0, 1.0)]
    assert later.points == [("later", 0, 2.0)]


def test_a_disabled_run_records_nothing_and_still_checks(home: Path) -> None:
    with tracker.start_run(mode="disabled"):
        tracker.log_metric("loss", 1.0)
        tracker.log_metrics({"a": 1, "b": np.float32(2)})
        tracker.log_param("lr", 1)
        with pytest.raises(MetricTypeError):
            tracker.log_metric("loss", "high")
        with tracker.start_run(nested=True) as child:
            assert child.recording.plan.mode == "disabled"

    assert not (home / "spool").exists()


def test_a_spool_that_cannot_be_written_warns_once_and_lets_training_go_on(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("in the way")
    monkeypatch.setenv("TRACKER_SPOOL_DIR", str(home / "file" / "spool"))
    for _ in range(2):
        with tracker.start_run():
            tracker.log_metric("loss", 1.0)

    assert capsys.readouterr().err.count("LOST") == 1


def test_the_handle_knows_what_was_said_of_the_run(home: Path) -> None:
    with tracker.start_run(tags={"a": 1}, user="ada") as run:
        run.log_param("lr", 0.1)
        info = run.info

    assert (info.status, info.user_id, info.liveness) == ("RUNNING", "ada", "live")
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["a"] == "1"
    assert run.data.tags["mlflow.user"] == "ada"
    assert run.info.status == "FINISHED"


def test_an_offline_experiment_is_created_in_the_spool(home: Path) -> None:
    experiment_id = tracker.create_experiment("digits", tags={"a": 1})

    (writer,) = recorded(home)
    assert writer.meta.run_id == ""
    assert writer.data_of("experiment.created") == {
        "experiment_id": experiment_id,
        "name": "digits",
        "tags": {"a": "1"},
    }


def test_flush_says_that_an_offline_run_is_not_delivered(home: Path) -> None:
    with tracker.start_run():
        assert tracker.flush(timeout=0) is False


@dataclass
class MlflowsModelInput:
    model_id: str


@pytest.mark.parametrize("model", ["m-12", MlflowsModelInput("m-12")])
def test_a_model_is_an_input_of_the_run_with_a_dataset_or_without(
    home: Path, model: str | MlflowsModelInput
) -> None:
    with tracker.start_run() as run:
        tracker.log_input("s3://corpora/a.parquet", "training", {"v": 1}, model)
        tracker.log_input(model=model)
        tracker.log_input()

    inputs = [
        (kind, data) for kind, data in recorded_run(home, run.run_id).events if "input" in kind
    ]
    read = ("model_input.logged", {"model_id": "m-12"})
    assert inputs[0] == inputs[2] == read
    assert (inputs[1][0], inputs[1][1]["name"]) == ("input.logged", "a.parquet")
    assert inputs[1][1]["tags"] == {"v": "1", "mlflow.data.context": "training"}
    assert len(inputs) == 3


@pytest.mark.parametrize("model", [3, "", "no/id", MlflowsModelInput("")])
def test_an_input_whose_model_is_none_is_refused_as_a_whole(home: Path, model: Any) -> None:
    with tracker.start_run() as run, pytest.raises(InvalidEvent, match="model"):
        tracker.log_input("s3://corpora/a.parquet", model=model)

    assert "input.logged" not in recorded_run(home, run.run_id).types
