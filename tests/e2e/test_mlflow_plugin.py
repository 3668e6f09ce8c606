"""Unchanged MLflow programs that log through the plugin, with and without a server."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_proxy import running_proxy
from tests.support.mlflow_programs import NEWEST, OLDER, ROOT, program, run_program
from tests.support.processes import (
    ServerProcess,
    environment,
    rest_of_its_words,
    running_server,
)
from tests.support.tls_proxy import TRUST, running_tls_proxy

TRAINING = "plugin_training.py"
MODELS = "plugin_models.py"
TOUR = "plugin_tour.py"
STEPS = 40
# Of the middle one of all steps. One that waited for the slow server would take half a second.
CALLS_S_MAX = 0.25

# MLflow takes seconds to be imported, and many more on a machine that is busy otherwise.
pytestmark = pytest.mark.timeout(300)


def check_told(told: Mapping[str, Any], *, steps: int = STEPS) -> None:
    """What the program was told about its own writes, wherever they were by then."""
    assert told["during"] == ["RUNNING", {"lr": "0.1", "layers": "3"}, 1 / steps]
    assert told["tags"] == {"team": "vision", "phase": "done"}
    assert told["history"] == [[step, 1 / (step + 1)] for step in range(steps)]
    assert told["refusal"][0] == "INVALID_PARAMETER_VALUE"
    assert told["refusal"][1].startswith(
        "Changing param values is not allowed. Param with key='lr'"
    )
    assert told["after"] == ["FINISHED", "outer", True]
    assert told["experiment"]


def check_stored(server: ServerProcess, run_id: str, *, steps: int = STEPS) -> None:
    """What the server has in the end: everything, once."""
    run = server.get(f"/api/v1/runs/{run_id}")
    assert (run["status"], run["name"]) == ("FINISHED", "outer")
    assert run["params"] == {"lr": "0.1", "layers": "3"}
    assert {k: v for k, v in run["tags"].items() if not k.startswith("mlflow.")} == {
        "team": "vision",
        "phase": "done",
    }
    assert run["metrics"]["loss"]["count"] == run["metrics"]["odd"]["nan_count"] == steps
    assert [(i["name"], i["tags"]) for i in run["inputs"]] == [
        ("twelve", {"mlflow.data.context": "training"})
    ]
    found = server.post("/api/v1/runs/search", {"filter": f"parent_run_id = '{run_id}'"})
    assert [inner["name"] for inner in found["runs"]] == ["inner"]
    named = [e["name"] for e in server.get("/api/v1/experiments")["experiments"]]
    assert sorted(named) == ["Default", "from mlflow"]


def sync(home: Path, server: ServerProcess) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "sync", "--uri", server.uri],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("python", [NEWEST, OLDER])
def test_a_program_runs_as_ever_and_its_data_is_on_the_server(tmp_path: Path, python: Path) -> None:
    with running_server(tmp_path) as server:
        run_id, told = run_program(python, TRAINING, tmp_path, STEPS, 0, uri=server.uri)
        check_told(told)
        check_stored(server, run_id)


@pytest.mark.parametrize("python", [NEWEST, OLDER])
def test_without_a_server_everything_waits_and_is_delivered_once(
    tmp_path: Path, python: Path
) -> None:
    server = ServerProcess(tmp_path)
    run_id, told = run_program(
        python, TRAINING, tmp_path, STEPS, 0, uri=server.uri, TRACKER_EXIT_WAIT_S="0.2"
    )
    check_told(told)
    assert statistics.median(told["calls_s"]) < CALLS_S_MAX
    server.start()
    try:
        sync(tmp_path, server)
        check_stored(server, run_id)
        position = server.get("/api/v1/experiments")["position"]
        sync(tmp_path, server)
        check_stored(server, run_id)
        assert server.get("/api/v1/experiments")["position"] == position
    finally:
        server.stop()


def test_a_server_that_is_killed_meanwhile_is_not_noticed_by_the_training(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        training = program(NEWEST, TRAINING, tmp_path, 200, 0.01, uri=server.uri)
        assert training.stdout is not None
        run_id = training.stdout.readline().strip()
        time.sleep(0.5)
        server.kill()
        time.sleep(1.0)
        server.start()
        output, errors = training.communicate(timeout=200)
        assert training.returncode == 0, errors
        told = json.loads(output.strip().split("\n")[-1])
        check_told(told, steps=200)
        sync(tmp_path, server)
        check_stored(server, run_id, steps=200)


def test_a_killed_program_loses_nothing_that_its_calls_returned_from(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        training = program(OLDER, "plugin_endless.py", tmp_path, uri=server.uri)
        assert training.stdout is not None
        run_id = training.stdout.readline().strip()
        for _ in range(200):
            assert training.stdout.readline()
        training.send_signal(signal.SIGKILL)
        returned = rest_of_its_words(training).split("\n")
        steps = 200 + len(returned) - 1  # a line that was cut is not said

        run = await_end(server, run_id)

        assert run["status"] == "FAILED"
        assert run["end_reason"] in ("killed by signal", "lost")
        loss = run["metrics"]["loss"]
        assert loss["count"] == loss["last"]["step"] + 1
        assert steps <= loss["count"] <= steps + 1


def await_end(server: ServerProcess, run_id: str) -> Mapping[str, Any]:
    """The run, when whoever ships it has seen that its program is gone."""
    deadline = time.monotonic() + 120
    run: Mapping[str, Any] = {}
    while time.monotonic() < deadline:
        with suppress(urllib.error.HTTPError):  # it is not there yet
            run = server.get(f"/api/v1/runs/{run_id}")
            if run["status"] != "RUNNING":
                return run
        time.sleep(0.1)
    raise AssertionError(f"the run has not ended: {run}")


def test_a_slow_server_slows_no_log_call(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, running_proxy(server.uri) as proxy:
        proxy.fault = "slow"
        run_id, told = run_program(NEWEST, TRAINING, tmp_path, STEPS, 0, uri=proxy.uri)
        check_told(told)
        assert statistics.median(told["calls_s"]) < CALLS_S_MAX
        check_stored(server, run_id)


def test_the_example_ends_with_a_complete_run(tmp_path: Path) -> None:
    example = ROOT / "examples" / "take_the_server_away.py"
    done = subprocess.run(
        [sys.executable, str(example), str(OLDER)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "still training" in done.stdout
    assert "is FINISHED: 50 of 50 epochs" in done.stdout


@pytest.mark.parametrize("python", [NEWEST, OLDER])
def test_files_and_models_are_logged_and_loaded_by_mlflow(tmp_path: Path, python: Path) -> None:
    with running_server(tmp_path) as server:
        run_id, told = run_program(python, MODELS, tmp_path, "online", uri=server.uri)
        assert told["model"] == ["clf", "LoggedModelStatus.READY"] or told["model"][1] == "READY"
        assert told["listed"] == ["d.json", "folder", "notes"]
        assert (told["text"], told["size"], told["same"]) == ("hello", 256 * 8000, True)
        assert told["auto"] == "0.5"
        assert server.get(f"/api/v1/runs/{run_id}")["status"] == "FINISHED"


def test_models_logged_without_a_server_arrive_with_their_files(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    more = {"TRACKER_EXIT_WAIT_S": "0.2"}
    run_id, told = run_program(NEWEST, MODELS, tmp_path, "offline", uri=server.uri, **more)
    assert told["outputs"] == [told["model_id"]]
    server.start()
    try:
        sync(tmp_path, server)
        listed = server.get(f"/api/v1/models/{told['model_id']}/artifacts")["artifacts"]
        assert "MLmodel" in [entry["path"] for entry in listed]
        files = server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]
        assert [entry["path"] for entry in files] == ["d.json", "folder", "notes"]
    finally:
        server.stop()


@pytest.mark.parametrize(("python", "is_online"), [(NEWEST, True), (OLDER, False)])
def test_threads_forks_and_asynchronous_logging_lose_nothing(
    tmp_path: Path, python: Path, is_online: bool
) -> None:
    server = ServerProcess(tmp_path)
    if is_online:
        server.start()
    try:
        more = {} if is_online else {"TRACKER_EXIT_WAIT_S": "0.2"}
        run_id, told = run_program(python, TOUR, tmp_path, uri=server.uri, **more)
        check_tour(told)
        if not is_online:
            server.start()
        sync(tmp_path, server)
        check_tour_stored(server, run_id)
    finally:
        if server.process is not None:
            server.stop()


def test_mlflows_own_commands_work_through_the_plugin_and_over_tls(tmp_path: Path) -> None:
    """Most of them only a server can answer."""
    with running_server(tmp_path) as server, running_tls_proxy(server.uri) as address:
        run_id, told = run_program(OLDER, "plugin_commands.py", tmp_path, uri=address, **TRUST)

        assert told["created"].startswith("Created experiment 'by command' with id ")
        assert "by command" in told["experiments"]
        assert run_id in told["runs"]
        assert told["run"] == {"loss": 0.25}
        assert '"notes/note.txt"' in told["artifacts"]
        assert (told["stage"], told["restored"]) == ("deleted", "active")


def check_tour(told: Mapping[str, Any]) -> None:
    assert (told["failures"], told["child"], told["status"]) == ([], 0, "FINISHED")
    assert told["found"] == ["inner 2", "inner 1"]
    assert told["params"] == {"p": "1", "q": "2", "batch": "yes"}
    assert sorted(told["later"]) == list(range(50))
    assert (told["twice"], told["purpose"]) == (2, "a tour")


def check_tour_stored(server: ServerProcess, run_id: str) -> None:
    run = server.get(f"/api/v1/runs/{run_id}")
    assert (run["status"], run["tags"]["again"], run["tags"]["batched"]) == (
        "FINISHED",
        "yes",
        "yes",
    )
    counts = {key: metric["count"] for key, metric in run["metrics"].items()}
    assert counts == {f"thread_{number}": 50 for number in range(8)} | {
        "shared": 400, "later": 50, "from_child": 1, "many": 10, "twice": 2,
    }  # fmt: skip
    found = server.post("/api/v1/runs/search", {"filter": f"parent_run_id = '{run_id}'"})
    assert sorted(inner["name"] for inner in found["runs"]) == ["inner 0", "inner 1", "inner 2"]
    (tour,) = [e for e in server.get("/api/v1/experiments")["experiments"] if e["name"] == "tour"]
    assert tour["tags"]["purpose"] == "a tour"
