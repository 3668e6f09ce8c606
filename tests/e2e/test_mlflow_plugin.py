"""Unchanged MLflow programs that log through the plugin, with and without a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_proxy import running_proxy
from tests.support.mlflow_programs import NEWEST, OLDER, ROOT, program, run_program
from tests.support.processes import ServerProcess, environment, running_server

TRAINING = "plugin_training.py"
MODELS = "plugin_models.py"
STEPS = 40


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
        timeout=60,
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
    began = time.monotonic()
    run_id, told = run_program(
        python, TRAINING, tmp_path, STEPS, 0, uri=server.uri, TRACKER_EXIT_WAIT_S="0.2"
    )
    assert time.monotonic() - began < 60
    check_told(told)
    assert told["slowest_s"] < 0.5
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
        output, errors = training.communicate(timeout=60)
        assert training.returncode == 0, errors
        told = json.loads(output.strip().split("\n")[-1])
        check_told(told, steps=200)
        sync(tmp_path, server)
        check_stored(server, run_id, steps=200)


def test_a_killed_program_loses_nothing_that_its_calls_returned_from(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        training = program(NEWEST, TRAINING, tmp_path, 100_000, 0.001, uri=server.uri)
        assert training.stdout is not None
        run_id = training.stdout.readline().strip()
        time.sleep(1.5)
        training.send_signal(signal.SIGKILL)
        training.communicate(timeout=10)
        deadline = time.monotonic() + 30
        while (run := server.get(f"/api/v1/runs/{run_id}"))["status"] != "FAILED":
            assert time.monotonic() < deadline, run
            time.sleep(0.1)
        loss = run["metrics"]["loss"]
        assert loss["count"] == loss["last"]["step"] + 1 > 10
        assert run["end_reason"] in ("killed by signal", "lost")


def test_a_slow_server_slows_no_log_call(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, running_proxy(server.uri) as proxy:
        proxy.fault = "slow"
        run_id, told = run_program(NEWEST, TRAINING, tmp_path, STEPS, 0, uri=proxy.uri)
        check_told(told)
        assert told["slowest_s"] < 0.2
        check_stored(server, run_id)


def test_the_example_ends_with_a_complete_run(tmp_path: Path) -> None:
    example = ROOT / "examples" / "take_the_server_away.py"
    done = subprocess.run(
        [sys.executable, str(example), str(OLDER)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "still training" in done.stdout
    assert "is FINISHED: 50 of 50 epochs" in done.stdout


def test_files_and_models_are_logged_and_loaded_by_mlflow(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        run_id, told = run_program(NEWEST, MODELS, tmp_path, "online", uri=server.uri)
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
