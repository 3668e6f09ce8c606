"""A server that is killed again and again while MLflow's clients log to it.

A client sends a request until it is answered, as MLflow's own does. What was answered must be
there, and nothing may be there twice to MLflow, whatever a kill left behind.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.error
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ServerProcess, run_cli

API = "/api/2.0/mlflow"
_ASKED = os.environ.get("TRACKER_CHAOS_ROUNDS", "")
KILLS = int(_ASKED) if _ASKED.isdecimal() else 20 if _ASKED else 3
CLIENTS, SEED = 3, 11


def send(server: ServerProcess, path: str, body: Mapping[str, Any]) -> Any:
    """Until it is answered; a refusal fails the test."""
    return answered(lambda: server.post(f"{API}/{path}", body))


def answered(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 180
    while True:
        try:
            return ask()
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise AssertionError(error.read().decode()) from error
        except (urllib.error.URLError, OSError):
            pass  # killed in the middle: whether it was stored, nobody knows
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Client(threading.Thread):
    """Logs batches into its run, with a param and a tag now and then, until told to stop."""

    def __init__(self, server: ServerProcess, number: int) -> None:
        super().__init__(daemon=True)
        self.server, self.number, self.batches = server, number, 0
        self.stop = threading.Event()
        created = send(server, "runs/create", {"experiment_id": "0"})
        self.run_id = str(created["run"]["info"]["run_id"])
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.log(self.batches)
                self.batches += 1
        except BaseException as error:  # noqa: BLE001  # told to the test, which raises it
            self.failure = error

    def log(self, i: int) -> None:
        metrics = [
            {"key": f"m{key}", "value": i + key / 10, "timestamp": 1000 + i, "step": step}
            for step in range(i * 5, i * 5 + 5)
            for key in range(3)
        ]
        said: dict[str, Any] = {"run_id": self.run_id, "metrics": metrics}
        if i % 7 == 0:
            said["params"] = [{"key": f"p{i}", "value": str(i)}]
            said["tags"] = [{"key": "last", "value": str(i)}]
        send(self.server, "runs/log-batch", said)


@pytest.mark.timeout(900)
def test_what_was_answered_is_there_once_however_often_the_server_dies(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    server = ServerProcess(tmp_path)
    server.start()
    clients = [Client(server, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(KILLS):
        go_on(clients)
        time.sleep(chance.uniform(0, 0.9))
        server.kill()
        server.start()
    go_on(clients)
    for client in clients:
        client.stop.set()
        client.join()

    for client in clients:
        assert client.failure is None, client.failure
        assert client.batches > 0
        history = get_json(server, f"metrics/get-history?run_id={client.run_id}&metric_key=m1")
        steps = [metric["step"] for metric in history["metrics"]]
        assert steps == list(range(client.batches * 5))
        data = get_json(server, f"runs/get?run_id={client.run_id}")["run"]["data"]
        params = {param["key"] for param in data["params"]}
        assert params == {f"p{i}" for i in range(0, client.batches, 7)}
    assert server.stop() == 0
    verified = run_cli(tmp_path, "verify", str(server.store_path), "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert json.loads(verified.stdout)


def go_on(clients: Sequence[Client]) -> None:
    """Wait until each has been answered once more."""
    before = [client.batches for client in clients]
    deadline = time.monotonic() + 180
    while any(c.batches <= n for c, n in zip(clients, before, strict=True)):
        assert not [client.failure for client in clients if client.failure is not None]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def get_json(server: ServerProcess, path: str) -> Any:
    return answered(lambda: server.get(f"{API}/{path}"))
