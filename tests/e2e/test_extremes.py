"""What people really log once in a while, through the SDK, a shipper and a server."""

from __future__ import annotations

import json
import math
import os
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ServerProcess, run_cli, running_server, start_script
from tracker.client import Client

POINTS = 5_000_000 if os.environ.get("TRACKER_CHAOS_ROUNDS") == "full" else 300_000
KEYS = 50_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as process:
        yield process


def log_and_sync(server: ServerProcess, home: Path, script: str, **more: str) -> str:
    """Run a script offline, sync it, and return the id it printed first."""
    training = start_script(home, script, TRACKER_MODE="offline", TRACKER_QUIET="1", **more)
    printed, errors = training.communicate(timeout=300)
    assert training.returncode == 0, errors
    synced = run_cli(home, "sync", "--uri", server.uri)
    assert synced.returncode == 0, synced.stderr
    return printed.split()[0]


def run_of(server: ServerProcess, run_id: str) -> Any:
    head = server.get("/ready")["head"]
    return server.get(f"/api/v1/runs/{run_id}?min_position={head}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_metric_with_millions_of_points_is_whole_and_charts_its_spike(
    tmp_path: Path, server: ServerProcess
) -> None:
    run_id = log_and_sync(
        server,
        tmp_path,
        f"""
import tracker
run = tracker.start_run()
print(run.info.run_id)
for step in range({POINTS}):
    tracker.log_metric("loss", 1e6 if step == 123_457 else 1 / (step + 1), step=step)
tracker.end_run()
""",
    )

    summary = run_of(server, run_id)["metrics"]["loss"]
    chart = server.get(f"/api/v1/runs/{run_id}/metrics/loss?buckets=1000")
    with Client(server.uri) as client:
        history = client.metric_history(run_id, "loss")

    assert (summary["count"], summary["max"], summary["max_step"]) == (POINTS, 1e6, 123_457)
    assert (chart["points"], max(chart["max"]), sum(chart["count"])) == (POINTS, 1e6, POINTS)
    assert len(chart["max"]) <= 1000
    assert list(history.steps) == list(range(POINTS))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_with_fifty_thousand_metric_keys_stays_usable(
    tmp_path: Path, server: ServerProcess
) -> None:
    run_id = log_and_sync(
        server,
        tmp_path,
        f"""
import tracker
run = tracker.start_run()
print(run.info.run_id)
for step in range(3):
    tracker.log_metrics({{f"layer/{{i}}": i + step for i in range({KEYS})}}, step=step)
tracker.end_run()
""",
    )

    metrics = run_of(server, run_id)["metrics"]
    history = server.get(f"/api/v1/runs/{run_id}/metrics/layer/777")

    assert len(metrics) == KEYS
    assert history["values"] == [777.0, 778.0, 779.0]


def test_odd_steps_and_every_kind_of_float_come_back_bit_for_bit(
    tmp_path: Path, server: ServerProcess
) -> None:
    run_id = log_and_sync(
        server,
        tmp_path,
        """
import math, struct, tracker
run = tracker.start_run()
print(run.info.run_id)
payload = struct.unpack("<d", struct.pack("<Q", 0x7FF8DEADBEEF0001))[0]
most = 1.7976931348623157e308
odd = [math.nan, payload, math.inf, -math.inf, -0.0, 0.0, 5e-324, -2.2e-308, most, 0.1]
for step, value in enumerate(odd):
    tracker.log_metric("odd", value, step=step)
for step in (5, -3, 5, 2**63 - 1, -(2**63), 0):
    tracker.log_metric("steps", step % 7, step=step)
tracker.end_run()
""",
    )
    odd = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, -2.2e-308, 1.7976931348623157e308, 0.1]

    with Client(server.uri) as client:
        values = list(client.metric_history(run_id, "odd").values)
        steps = list(client.metric_history(run_id, "steps").steps)
    answer = server.get(f"/api/v1/runs/{run_id}/metrics/odd")

    bits = [struct.pack("<d", value) for value in values]
    assert bits[1] == struct.pack("<Q", 0x7FF8DEADBEEF0001)
    assert bits[:1] + bits[2:] == [struct.pack("<d", value) for value in odd]
    assert answer["values"][:4] == ["NaN", "NaN", "Infinity", "-Infinity"]
    assert steps == [-(2**63), -3, 0, 5, 5, 2**63 - 1]


def test_text_of_every_kind_is_kept_or_refused_by_the_name_of_its_limit(
    tmp_path: Path, server: ServerProcess
) -> None:
    run_id = log_and_sync(
        server,
        tmp_path,
        """
import tracker
run = tracker.start_run(run_name="Läuft 🏃")
print(run.info.run_id)
tracker.log_params({"empty": "", "emoji": "🧪" * 100, "schlüssel/ä b": "ü", "list": [1, 2]})
for value in ("x" * 10_000_000,):
    try:
        tracker.log_param("long", value)
    except ValueError as error:
        tracker.set_tag("refused", str(error)[-300:])
try:
    tracker.log_metric("k" * 300, 1.0)
except ValueError as error:
    tracker.set_tag("refused key", str(error)[-300:])
tracker.end_run()
""",
    )

    run = run_of(server, run_id)

    assert run["name"] == "Läuft 🏃"
    assert run["params"] == {
        "empty": "",
        "emoji": "🧪" * 100,
        "schlüssel/ä b": "ü",
        "list": "[1, 2]",
    }
    assert "param_value_bytes_max" in run["tags"]["refused"]
    assert "key_characters_max" in run["tags"]["refused key"]


def test_a_clock_that_jumps_back_by_a_day_loses_and_reorders_nothing(
    tmp_path: Path, server: ServerProcess
) -> None:
    run_id = log_and_sync(
        server,
        tmp_path,
        """
import time, tracker
real = time.time_ns
shift = 0
time.time_ns = lambda: real() - shift
import tracker.recording, tracker.run
for module in (tracker.recording, tracker.run):
    if hasattr(module, "time_ns"):
        module.time_ns = time.time_ns
run = tracker.start_run()
print(run.info.run_id)
tracker.set_tag("phase", "before")
tracker.log_metric("loss", 1.0, step=1)
shift = 86_400 * 10**9
tracker.set_tag("phase", "after")
tracker.log_metric("loss", 0.5, step=2)
tracker.end_run()
""",
    )

    run = run_of(server, run_id)

    assert run["tags"]["phase"] == "after"
    assert run["status"] == "FINISHED"
    assert run["metrics"]["loss"]["last"]["value"] == 0.5
    url = f"{server.uri}/api/v1/events?run_id={run_id}&type=metrics.logged"
    with urllib.request.urlopen(url, timeout=30) as lines:
        times = [json.loads(line)["time_us"] for line in lines.read().splitlines()]
    assert times[1] < times[0] - 86_000 * 10**6
