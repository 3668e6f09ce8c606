"""The SDK against a real server: what was logged is what is found."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ServerProcess, environment, running_server
from tests.support.recorded import recorded

QUIET = {"TRACKER_QUIET": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def run_script(home: Path, script: str, *, uri: str | None, **more: str) -> Any:
    """What the script prints last, as JSON; its stderr under "stderr" if that is an object."""
    path = home / "script.py"
    path.write_text(f"import json, tracker\n{script}\n")
    with_uri = {"TRACKER_URI": uri} if uri else {}
    done = subprocess.run(
        [sys.executable, str(path)],
        env=environment(home, **{"TRACKER_EXIT_WAIT_S": "90", **with_uri, **more}),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().split("\n")
    return {"stderr": done.stderr, "told": json.loads(lines[-1]) if lines[-1] else None}


def test_a_script_finds_what_it_has_logged(tmp_path: Path, server: ServerProcess) -> None:
    told = run_script(
        tmp_path,
        """
tracker.set_experiment("found")
with tracker.start_run(run_name="parent") as parent:
    tracker.log_params({"lr": 0.1, "layers": 3})
    for step in range(100):
        tracker.log_metric("loss", 1.0 / (step + 1), step)
    during = tracker.get_run(parent.info.run_id)
    with tracker.start_run(nested=True, run_name="child") as child:
        tracker.log_metrics({"loss": float("nan"), "acc": 0.5})
run = tracker.get_run(parent.info.run_id)
found = tracker.search_runs(filter_string="params.lr = '0.1'", output_format="list")
frame = tracker.search_runs(order_by=["attributes.start_time ASC"])
history = tracker.get_metric_history(parent.info.run_id, "loss")
print(json.dumps({
    "during": [during.info.status, during.data.metrics["loss"]],
    "status": run.info.status,
    "params": run.data.params,
    "loss": run.data.metrics["loss"],
    "found": [each.info.run_name for each in found],
    "frame": list(frame["tags.mlflow.runName"]),
    "parent": tracker.get_parent_run(child.info.run_id).info.run_name,
    "history": [[point.step, point.value] for point in history],
    "experiment": tracker.get_experiment_by_name("found").experiment_id == run.info.experiment_id,
    "chosen": tracker.set_experiment("found").experiment_id == run.info.experiment_id,
}))
""",
        uri=server.uri,
    )["told"]

    assert told["during"] == ["RUNNING", 0.01]
    assert told["status"] == "FINISHED"
    assert told["params"] == {"lr": "0.1", "layers": "3"}
    assert told["loss"] == 0.01
    assert told["found"] == ["parent"]
    assert told["frame"] == ["parent", "child"]
    assert told["parent"] == "parent"
    assert told["history"] == [[step, 1.0 / (step + 1)] for step in range(100)]
    assert told["experiment"]
    assert told["chosen"]


def test_experiments_and_runs_are_renamed_deleted_and_restored(
    tmp_path: Path, server: ServerProcess
) -> None:
    told = run_script(
        tmp_path,
        """
made = tracker.create_experiment("before", tags={"a": 1})
try:
    tracker.create_experiment("before")
    refusal = None
except Exception as error:
    refusal = type(error).__name__
tracker.rename_experiment(made, "after")
with tracker.start_run(experiment_id=made) as run:
    pass
tracker.delete_run(run.run_id)
gone = tracker.search_runs([made], output_format="list")
tracker.restore_run(run.run_id)
back = tracker.search_runs([made], output_format="list")
tracker.delete_experiment(made)
deleted = [e.name for e in tracker.search_experiments(view_type=2)]
tracker.restore_experiment(made)
print(json.dumps({
    "refusal": refusal, "gone": len(gone), "back": [r.info.run_id for r in back],
    "run_id": run.run_id, "deleted": deleted, "name": tracker.get_experiment(made).name,
    "tags": tracker.get_experiment(made).tags, "none": tracker.get_experiment_by_name("no such"),
}))
""",
        uri=server.uri,
        **QUIET,
    )["told"]

    assert told["refusal"] == "ExperimentExists"
    assert (told["gone"], told["back"]) == (0, [told["run_id"]])
    assert told["deleted"] == ["after"]
    assert (told["name"], told["tags"], told["none"]) == ("after", {"a": "1"}, None)


@pytest.mark.parametrize("shipper", ["helper", "thread"])
def test_the_last_line_says_that_all_was_sent(
    tmp_path: Path, server: ServerProcess, shipper: str
) -> None:
    stderr = run_script(
        tmp_path,
        "with tracker.start_run(): tracker.log_metric('a', 1.0)",
        uri=server.uri,
        TRACKER_SHIPPER=shipper,
    )["stderr"]

    assert f"all 3 records sent to {server.uri}" in stderr or "all 4 records" in stderr


def test_local_data_is_found_by_the_server_of_the_machine(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        told = run_script(
            tmp_path,
            """
with tracker.start_run(run_name="near") as run:
    tracker.log_metric("loss", 0.25)
found = tracker.search_runs(output_format="list")
print(json.dumps([[r.info.run_name, r.info.status, r.data.metrics] for r in found]))
""",
            uri=None,
        )["told"]
        assert server.process is not None

    assert told == [["near", "FINISHED", {"loss": 0.25}]]


def test_a_process_that_never_said_goodbye_has_failed_with_the_reason(
    tmp_path: Path, server: ServerProcess
) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "import os, time, tracker\nrun = tracker.start_run()\nprint(run.run_id, flush=True)\n"
        "tracker.flush(90)\nos._exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, str(path)],
        env=environment(tmp_path, TRACKER_URI=server.uri, **QUIET),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    run_id = done.stdout.strip()

    assert done.returncode == 3
    run: dict[str, Any] = {"status": "RUNNING"}
    deadline = time.monotonic() + 90
    while run["status"] == "RUNNING" and time.monotonic() < deadline:
        with suppress(urllib.error.HTTPError):  # it is not folded yet
            run = server.get(f"/api/v1/runs/{run_id}")
        time.sleep(0.1)
    assert run["status"] == "FAILED"
    assert run["end_reason"]


def test_an_experiment_that_no_server_heard_of_waits_in_the_spool(tmp_path: Path) -> None:
    told = run_script(
        tmp_path,
        "print(json.dumps(tracker.create_experiment('later')))",
        uri="http://127.0.0.1:9",
        TRACKER_SHIPPER="none",
    )["told"]

    (writer,) = recorded(tmp_path)
    assert writer.data_of("experiment.created")["experiment_id"] == told


def test_without_a_server_training_goes_on_and_says_how_to_send_the_rest(tmp_path: Path) -> None:
    stderr = run_script(
        tmp_path,
        "with tracker.start_run():\n    for i in range(1000): tracker.log_metric('a', i, i)",
        uri="http://127.0.0.1:9",
        TRACKER_SHIPPER="none",
    )["stderr"]

    (writer,) = recorded(tmp_path)
    assert writer.points == [("a", i, float(i)) for i in range(1000)]
    assert "0 of 1,00" in stderr
    assert f"tracker sync {tmp_path}" in stderr
