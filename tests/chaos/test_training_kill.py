"""Training killed with SIGKILL at a random moment: what had returned arrives, once."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.processes import (
    ServerProcess,
    rest_of_its_words,
    run_cli,
    running_server,
    start_script,
)

ROUNDS = 60 if os.environ.get("TRACKER_CHAOS_ROUNDS") == "full" else 6
SEED = int(os.environ.get("TRACKER_CHAOS_SEED", "20261121"))

# Prints each step after its call returned, unbuffered, so that what the parent has read is
# a lower bound of what must never be lost.
SCRIPT = """
import itertools, os, tracker
run = tracker.start_run()
os.write(1, (run.info.run_id + "\\n").encode())
for step in itertools.count():
    tracker.log_metric("loss", step * 0.5, step=step)
    if step % 50 == 0:
        os.write(1, f"{step}\\n".encode())
"""


def witnessed_steps(printed: str) -> int:
    """The last step whose line arrived whole, or -1."""
    whole = printed[: printed.rfind("\n") + 1].split()
    return int(whole[-1]) if whole else -1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("shipper", ["helper", "thread", "none"])
def test_every_record_whose_call_returned_arrives_once_and_the_run_has_failed(
    tmp_path: Path, shipper: str
) -> None:
    random_moment = random.Random(f"{SEED} {shipper}")
    with running_server(tmp_path) as server:
        for _ in range(max(1, ROUNDS // 3)):
            mode = {"TRACKER_MODE": "offline"} if shipper == "none" else {}
            training = start_script(
                tmp_path,
                SCRIPT,
                TRACKER_URI=server.uri,
                TRACKER_SHIPPER=shipper if shipper == "thread" else "helper",
                **mode,
            )
            assert training.stdout is not None
            run_id = training.stdout.readline().strip()
            time.sleep(random_moment.uniform(0.0, 0.8))
            training.send_signal(signal.SIGKILL)
            rest = rest_of_its_words(training)

            synced = run_cli(tmp_path, "sync", "--uri", server.uri)

            assert synced.returncode == 0, synced.stderr
            check_run(server, run_id, at_least=witnessed_steps(rest))
    verified = run_cli(tmp_path, "verify", f"sqlite:///{server.store_path}")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def check_run(server: ServerProcess, run_id: str, *, at_least: int) -> None:
    head = server.get("/ready")["head"]
    run = server.get(f"/api/v1/runs/{run_id}?min_position={head}")
    deadline = time.monotonic() + 90  # the helper may be the one who reports the death
    while run["status"] == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.1)
        run = server.get(f"/api/v1/runs/{run_id}")
    history = server.get(f"/api/v1/runs/{run_id}/metrics/loss?limit=50000") if at_least >= 0 else {}
    steps = history.get("steps", [])

    assert run["status"] == "FAILED"
    assert run["end_reason"] in ("killed by signal", "lost")
    assert steps == list(range(len(steps)))
    if history.get("next_page_token") is None:
        assert len(steps) > at_least
    assert run["dropped"] == 0
