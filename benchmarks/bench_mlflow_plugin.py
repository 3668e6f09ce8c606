"""`mlflow.log_metric` through the plugin, and synchronously against MLflow's own server.

    python -m benchmarks.bench_mlflow_plugin [ROUNDS]

One unchanged program, by MLflow's own interpreter (.venv-mlflow; `make test` installs it), to
every destination in turns, so that all meet the same load. What is timed is each call, MLflow's
own client included. The floor is the same call to a store that does nothing at all: what is
left of a call when the tracking costs nothing.

An answer of MLflow's server on a kept connection comes in two pieces, the second of which waits
some 45 ms for the client's delayed acknowledgement. One row is without that stall: there the
connection acknowledges at once, which MLflow's client does not do by itself.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bench_mlflow_rest import ROOT, Server
from benchmarks.machine import describe_machine

PYTHON: Final = ROOT / ".venv-mlflow" / "bin" / "python"
PROGRAM: Final = """
import http.client, json, socket, sys, time
import mlflow
from mlflow.tracking._tracking_service.utils import _get_store

how, calls = sys.argv[1], int(sys.argv[2])
if how == "acknowledging":
    answered = http.client.HTTPConnection.getresponse
    def getresponse(self):
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return answered(self)
    http.client.HTTPConnection.getresponse = getresponse
mlflow.set_experiment("bench")
with mlflow.start_run() as run:
    log, given = mlflow.log_metric, ()
    if how == "client":
        log, given = mlflow.MlflowClient().log_metric, (run.info.run_id,)
    if how == "floor":
        _get_store().log_metric = lambda run_id, metric: None
    times = []
    for step in range(-20, calls):
        began = time.perf_counter()
        log(*given, "loss", 0.5, step=step)
        times.append(time.perf_counter() - began)
print(json.dumps(times[20:]))
"""


@dataclass(frozen=True)
class Case:
    """One destination, and how it is logged to."""

    name: str
    to: str  # a server's name, or "nowhere": a port at which nobody answers
    calls: int
    how: str = "fluent"
    registry: bool = False

    def address(self, servers: dict[str, Server]) -> str:
        if self.to == "mlflow":
            return f"http://127.0.0.1:{servers['mlflow'].port}"
        port = servers["tracker"].port if self.to == "tracker" else 9
        return f"tracker+http://127.0.0.1:{port}"


PLUGIN: Final = Case("plugin", "tracker", 3_000)
SYNC: Final = Case("MLflow's server", "mlflow", 60)
QUICK: Final = Case("MLflow's server, without the stall", "mlflow", 100, "acknowledging")
FLOOR: Final = Case("floor: a store that does nothing", "nowhere", 3_000, "floor")
REGISTRY: Final = Case("plugin, MLFLOW_REGISTRY_URI set", "tracker", 3_000, registry=True)
CASES: Final = (
    PLUGIN,
    Case("plugin, no server there", "nowhere", 3_000),
    FLOOR,
    REGISTRY,
    Case("floor, MLFLOW_REGISTRY_URI set", "nowhere", 3_000, "floor", registry=True),
    Case("plugin, one MlflowClient kept", "tracker", 3_000, "client"),
    SYNC,
    QUICK,
    Case("MLflow's server, one MlflowClient kept", "mlflow", 60, "client"),
)


def times_of(case: Case, servers: dict[str, Server], home: Path) -> list[float]:
    """Seconds of each call."""
    address = case.address(servers)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKER_", "MLFLOW_"))}
    own = {
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TRACKER_HOME": str(home),
        "TRACKER_SPOOL_DIR": str(home / "spool"),
        "TRACKER_SNAPSHOT": "none",
        "TRACKER_EXIT_WAIT_S": "0" if case.to == "nowhere" else "30",
    }
    if case.registry:
        own["MLFLOW_REGISTRY_URI"] = address
    done = subprocess.run(
        [str(PYTHON), "-W", "ignore", "-c", PROGRAM, case.how, str(case.calls)],
        env=clean | own,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{case.name}:\n{done.stderr[-4000:]}")
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


def main(rounds: int = 3) -> None:
    print(describe_machine())
    found: dict[Case, list[list[float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {}
        for name in ("tracker", "mlflow"):
            (Path(folder) / name).mkdir()
            servers[name] = Server(name, Path(folder) / name)
            stack.enter_context(servers[name].running())
        for number in range(rounds):
            for case in CASES:
                home = Path(folder) / f"{number}-{CASES.index(case)}"
                found[case].append(times_of(case, servers, home))
    print(f"load {os.getloadavg()[0]:.1f} at the end; {rounds} rounds\n")
    print(f"{'µs of one call, MLflow included':<42}{'p50':>9}{'mean':>9}   p50 of each round")
    for case, all_rounds in found.items():
        every = [time for times in all_rounds for time in times]
        each = ", ".join(f"{_p50(times):,.0f}" for times in all_rounds)
        print(f"{case.name:<42}{_p50(every):>9,.0f}{statistics.mean(every) * 1e6:>9,.0f}   {each}")
    for slow in (SYNC, QUICK):
        for fast in (PLUGIN, REGISTRY):
            print(_ratio(slow, fast, found))
    shares = [
        _p50(floor) / _p50(plugin)
        for floor, plugin in zip(found[FLOOR], found[PLUGIN], strict=True)
    ]
    print("MLflow's own part of a call through the plugin:", _spread(shares, "{:.0%}"))


def _ratio(slow: Case, fast: Case, found: dict[Case, list[list[float]]]) -> str:
    ratios = [_p50(s) / _p50(f) for s, f in zip(found[slow], found[fast], strict=True)]
    return f"{slow.name} / {fast.name}: {_spread(ratios, '{:.0f}x')}"


def _spread(values: list[float], form: str) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def _p50(times: list[float]) -> float:
    """Microseconds."""
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
