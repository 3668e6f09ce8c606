"""The demo's script: start, train, take the server away, bring it back, sync, compare.

Every actor is a process of its own, as in real life: the server, the training, the sync.
The numbers at the end are read back through the public API and must agree.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from tracker.cli import output
from tracker.client import Client
from tracker.entities import RunRecord
from tracker.events.errors import TrackerError
from tracker.refusals import NotFound

SERVER_START_TIMEOUT_S = 30.0
TRAINING_TIMEOUT_S = 600.0
ARRIVAL_TIMEOUT_S = 60.0


class DemoFailed(TrackerError):
    """A step of the demo did not do what it is there to show."""


@dataclass(frozen=True)
class Stage:
    """Where everything of the demo lives and how its processes are started."""

    folder: Path
    port: int

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder / 'tracker.db'}"

    def environment(self) -> dict[str, str]:
        own = {name: text for name, text in os.environ.items() if not name.startswith("TRACKER_")}
        own.pop("MLFLOW_TRACKING_URI", None)
        return own | {
            "TRACKER_HOME": str(self.folder),
            "TRACKER_SPOOL_DIR": str(self.folder / "spool"),
            "TRACKER_URI": self.uri,
            "TRACKER_HELPER_IDLE_S": "5",
            # The digits are small: threads of the linear algebra would only take the
            # cores from the server and the shipper, and the log calls their caches.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def start(self, *arguments: str, stdout: Any = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], env=self.environment(), stdout=stdout, text=True
        )

    def run(self, *arguments: str) -> str:
        """Run a module to its end; return what it printed."""
        process = self.start(*arguments, stdout=subprocess.PIPE)
        printed, _ = process.communicate(timeout=TRAINING_TIMEOUT_S)
        if process.returncode != 0:
            raise DemoFailed(f"python -m {' '.join(arguments)} ended with {process.returncode}")
        return printed

    def start_server(self) -> subprocess.Popen[str]:
        log = (self.folder / "server.log").open("a")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tracker", "server", "--port", str(self.port)),
                *("--backend-store-uri", self.store),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ],
            env=self.environment(),
            stdout=log,
            stderr=log,
            text=True,
        )
        log.close()
        deadline = time.monotonic() + SERVER_START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            with Client(self.uri) as client:
                if client.is_healthy():
                    return process
            time.sleep(0.05)
        raise DemoFailed(f"the server did not start; see {log.name}")


def tell(folder: Path, *, keep: bool, epochs: int, outage_s: float) -> None:
    """Play the demo in `folder`; raise DemoFailed unless every number agrees in the end."""
    stage = Stage(folder, _free_port())
    server = stage.start_server()
    try:
        output.note(f"1. A server with SQLite is up at {stage.uri}")
        output.note("2. Training six networks on handwritten digits, logging every step")
        training = stage.start(
            "tracker.demo.train", "--epochs", str(epochs), stdout=subprocess.PIPE
        )
        _wait_for_runs(stage, training, count=3)
        server.kill()
        server.wait()
        output.note(f"3. The server is killed in the middle of it, for {outage_s:g} s …")
        time.sleep(outage_s)
        still_training = training.poll() is None
        server = stage.start_server()
        state = "the training went on" if still_training else "the training had already ended"
        output.note(f"   … and is back; {state}")
        printed, _ = training.communicate(timeout=TRAINING_TIMEOUT_S)
        if training.returncode != 0:
            raise DemoFailed(f"the training ended with exit code {training.returncode}")
        online = json.loads(printed.splitlines()[-1])
        output.note("4. One more training without any network, then `tracker sync`")
        printed = stage.run("tracker.demo.train", "--offline", "--epochs", str(epochs))
        offline = json.loads(printed.splitlines()[-1])
        stage.run("tracker", "sync", "--uri", stage.uri)
        _report(stage, online, offline)
        if keep:
            output.result(f"\nThe server stays up at {stage.uri} (process {server.pid})")
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            server.terminate()
            server.wait(timeout=10)


def _report(stage: Stage, online: dict[str, Any], offline: dict[str, Any]) -> None:
    logged = online["points"] + offline["points"]
    with Client(stage.uri) as client:
        shipped, stored = _wait_for_points(client, logged)
        runs = client.search_runs(experiment_names=["digits"])
    ranked = sorted(runs, key=lambda run: -run.data.metrics.get("test/accuracy", -1.0))
    output.table(
        ("run", "status", "lr", "hidden", "accuracy", "loss"),
        [
            (
                run.info.run_name,
                run.info.status,
                run.data.params.get("learning_rate"),
                run.data.params.get("hidden"),
                _number(run.data.metrics.get("test/accuracy"), 4),
                _number(run.data.metrics.get("train/loss"), 5),
            )
            for run in ranked
        ],
        title="Runs by accuracy",
    )
    output.result(f"best model, downloaded again        {_check_best(stage, ranked[0])}")
    calls = sorted(online["nanoseconds"] + offline["nanoseconds"])
    p50, p99 = calls[len(calls) // 2] / 1000, calls[int(len(calls) * 0.99)] / 1000
    output.result(f"points logged / shipped / stored   {logged} / {shipped} / {stored}")
    output.result(f"one log call                       p50 {p50:.1f} µs, p99 {p99:.1f} µs")
    output.result(f"verify                             {stage.run('tracker', 'verify', stage.uri)}")
    if not logged == shipped == stored:
        raise DemoFailed("points logged, shipped and stored differ")
    if any(run.info.status != "FINISHED" for run in runs):
        raise DemoFailed("a run did not end as FINISHED")


def _check_best(stage: Stage, best: RunRecord) -> str:
    """Download the best run's model and figure, verified, and ask the model once more."""
    with Client(stage.uri) as client:
        place = _downloaded(client, best, stage.folder / "best")
    from tracker.demo.train import Digits

    digits = Digits.load()
    model = joblib.load(place / "model" / "digits.joblib")
    again = float(model.score(digits.test_x, digits.test_y))
    if abs(again - best.data.metrics["test/accuracy"]) > 1e-12:
        raise DemoFailed(f"the downloaded model's accuracy is {again}, another was logged")
    if not (place / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG"):
        raise DemoFailed("the downloaded confusion matrix is no PNG")
    return f"accuracy {again:.4f} as logged, its files verified"


def _downloaded(client: Client, run: RunRecord, folder: Path) -> Path:
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while True:
        try:
            client.download_artifacts(run.info.run_id, "confusion_matrix.png", folder)
            client.download_artifacts(run.info.run_id, "model", folder)
            return folder
        except NotFound:  # the upload is still under way
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _wait_for_runs(stage: Stage, training: subprocess.Popen[str], *, count: int) -> None:
    """Wait until the training is visibly under way."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    with Client(stage.uri) as client:
        while time.monotonic() < deadline and training.poll() is None:
            experiment = client.get_experiment_by_name("digits")
            if experiment is not None:
                found = client.search_runs(experiment_ids=[experiment.experiment_id])
                if len(found) >= count:
                    return
            time.sleep(0.1)
    if training.poll() not in (None, 0):
        raise DemoFailed(f"the training ended with exit code {training.returncode}")


def _wait_for_points(client: Client, logged: int) -> tuple[int, int]:
    """(points in the event log, points in the projections), once they have all arrived."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    shipped = stored = 0
    while time.monotonic() < deadline:
        shipped = sum(
            len(event["data"]["metrics"]) for event in client.events(type="metrics.logged")
        )
        runs = client.search_runs(experiment_names=["digits"])
        stored = sum(summary.count for run in runs for summary in run.data.summaries.values())
        if shipped >= logged and stored >= logged:
            break
        time.sleep(0.2)
    return shipped, stored


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
