"""Run an unchanged MLflow script while its server is killed and started again.

    python examples/take_the_server_away.py [python-with-mlflow]

Starts `tracker server` in a folder of its own, starts mlflow_training.py with
MLFLOW_TRACKING_URI=tracker+http://…, kills the server with SIGKILL in the middle, lets the
script train on, starts the server again, and shows that the run is complete. Exits with 1
if it is not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

EPOCHS = 50
SCRIPT = Path(__file__).with_name("mlflow_training.py")


def main() -> int:
    python = sys.argv[1] if sys.argv[1:] else sys.executable
    with tempfile.TemporaryDirectory(prefix="tracker-example-") as folder:
        port = _free_port()
        address = f"http://127.0.0.1:{port}"
        own = {"TRACKER_HOME": folder, "MLFLOW_TRACKING_URI": f"tracker+{address}"}
        environment = {**os.environ, **own}
        environment.pop("TRACKER_SPOOL_DIR", None)
        server = _start_server(port, environment)
        training = subprocess.Popen(
            [python, "-W", "ignore", str(SCRIPT), str(EPOCHS)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            _wait_for_epoch(address, 5)
            server.send_signal(signal.SIGKILL)
            server.wait()
            print("the server is gone; the script trains on")
            time.sleep(2.0)
            print("still training" if training.poll() is None else "the script has ended")
            server = _start_server(port, environment)
            print("the server is back")
            output, _ = training.communicate(timeout=120)
            run_id = output.strip().split("\n")[-1]
            return _show(_complete_run(address, run_id))
        finally:
            training.kill()
            server.terminate()
            server.wait(timeout=15)


def _start_server(port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tracker", "server", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("the server did not start; run `tracker server` by hand to see why")


def _wait_for_epoch(address: str, epoch: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for run in _post(f"{address}/api/v1/runs/search", {})["runs"]:
            if run["metrics"].get("test/loss", {"last": {"step": -1}})["last"]["step"] >= epoch:
                return
        time.sleep(0.05)
    raise SystemExit("the script has logged nothing; is MLflow installed in its interpreter?")


def _complete_run(address: str, run_id: str) -> dict[str, Any]:
    """The run, when the shipper has delivered the rest; as it is after half a minute."""
    deadline = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(f"{address}/api/v1/runs/{run_id}", timeout=10) as answer:
            run: dict[str, Any] = json.loads(answer.read())
        if run["status"] == "FINISHED" or time.monotonic() > deadline:
            return run
        time.sleep(0.1)


def _show(run: dict[str, Any]) -> int:
    metric = run["metrics"]["test/accuracy"]
    print(
        f"run {run['name']} is {run['status']}: {metric['count']} of {EPOCHS} epochs, "
        f"accuracy {metric['last']['value']:.3f}, tags {run['tags'].get('finished')!r}"
    )
    is_complete = run["status"] == "FINISHED" and metric["count"] == EPOCHS
    return 0 if is_complete and run["tags"].get("finished") == "yes" else 1


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    raise SystemExit(main())
