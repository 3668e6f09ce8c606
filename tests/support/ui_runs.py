"""Runs to look at: a sweep, nested runs, and names that try to be markup."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.support.processes import ServerProcess

PIECE = 3_000
DAY_US = 86_400_000_000
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


def log_run(
    server: ServerProcess,
    run_id: str,
    *,
    experiment: str,
    name: str,
    steps: int = 120,
    params: Mapping[str, str] | None = None,
    parent: str | None = None,
    status: str | None = "FINISHED",
    seed: int = 0,
) -> None:
    """One run through the public door, as curl would log it."""
    rng = random.Random(f"{run_id}{seed}")
    start_us = int(time.time() * 1e6) - DAY_US + rng.randrange(DAY_US // 2)
    rate = float((params or {}).get("lr", "0.01"))
    events: list[dict[str, Any]] = [
        event(
            "run.started", start_us, {"experiment_name": experiment, "name": name, "user": "ada"}
        ),
        event("params.logged", start_us, {"params": dict(params or {"lr": "0.01"})}),
        event("tags.set", start_us, {"tags": {"team": "vision", "mlflow.source.name": "train.py"}}),
    ]
    if parent is not None:
        events[0]["data"]["parent_run_id"] = parent
    for step in range(steps):
        loss: float | str = 0.1 + 2 * math.exp(-step * rate) + rng.gauss(0, 0.03)
        if step == steps // 2:
            loss = 7.0  # a spike of one point, which no picture may lose
        if step == steps // 3:
            loss = "NaN"
        metrics: dict[str, float | str] = {"train/loss": loss, "train/accuracy": step / steps}
        if step % 10 == 0:
            metrics["val/loss"] = 0.2 + math.exp(-step * rate)
        at_us = start_us + step * 1_000_000
        events.append(event("metrics.logged", at_us, {"metrics": metrics, "step": step}))
    if status is not None:
        reason = {"reason": "out of memory"} if status == "FAILED" else {}
        end_us = start_us + steps * 1_000_000
        events.append(
            event("run.ended", end_us, {"status": status, "end_time_us": end_us, **reason})
        )
    append(server, run_id, 1, events)


def log_long_run(
    server: ServerProcess, run_id: str, *, experiment: str, steps: int, spike_at: int
) -> None:
    """A smooth curve with one point of 99 in it, logged in pieces."""
    started = event("run.started", 0, {"experiment_name": experiment, "name": run_id})
    points = (
        event(
            "metrics.logged",
            step * 1_000,
            {"metrics": {"loss": 99.0 if step == spike_at else 1 / (step + 1)}, "step": step},
        )
        for step in range(steps)
    )
    first_seq = 1
    for events in batched([started, *points], PIECE):
        append(server, run_id, first_seq, events)
        first_seq += len(events)
    until_known(server, run_id)


def batched(
    events: Sequence[Mapping[str, Any]], size: int
) -> Iterator[Sequence[Mapping[str, Any]]]:
    return (events[at : at + size] for at in range(0, len(events), size))


def until_known(server: ServerProcess, run_id: str) -> None:
    """Wait until the projection has the run."""
    server.get(f"/api/v1/runs/{run_id}?min_position={server.get('/ready')['head']}")


def event(kind: str, time_us: int, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "time_us": time_us, "data": dict(data)}


def append(
    server: ServerProcess, run_id: str, first_seq: int, events: Sequence[Mapping[str, Any]]
) -> None:
    server.post(
        "/api/v1/append",
        {
            "run_id": run_id,
            "writer_id": f"w-{run_id}"[:64],
            "first_seq": first_seq,
            "events": list(events),
        },
    )


def log_sweep(server: ServerProcess) -> None:
    """Twelve runs of `sweep`, a parent with children and a grandchild, and a hostile one."""
    for number in range(12):
        optimizer = ("adam", "sgd", "lamb")[number % 3]
        rate = ("0.1", "0.03", "0.01", "0.003")[number % 4]
        log_run(
            server,
            f"sweep-{number:02d}",
            experiment="sweep",
            name=f"{optimizer} {rate} #{number}",
            params={"lr": rate, "optimizer": optimizer, "layers": str(2 + number % 2)},
            status=("FINISHED", "FINISHED", "FINISHED", "FAILED", "KILLED")[number % 5],
        )
    log_run(server, "parent", experiment="nested", name="the parent", steps=10)
    for number in range(3):
        log_run(
            server, f"child-{number}", experiment="nested", name=f"child {number}",
            parent="parent", steps=20,
        )  # fmt: skip
    log_run(
        server, "grandchild", experiment="nested", name="the grandchild",
        parent="child-2", steps=5,
    )  # fmt: skip
    log_run(
        server,
        "hostile",
        experiment=f"{HOSTILE} experiment",
        name=HOSTILE,
        params={"<b>key</b>": "<script>document.title='hacked'</script>", "lr": "0.1"},
        steps=12,
    )


def experiment_id(server: ServerProcess, name: str) -> str:
    """Waits until the projection knows the experiment."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for found in server.get("/api/v1/experiments")["experiments"]:
            if found["name"] == name:
                return str(found["experiment_id"])
        time.sleep(0.05)
    raise AssertionError(f"no experiment {name!r}")
