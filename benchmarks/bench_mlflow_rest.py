"""MLflow's REST API, here and on `mlflow server` with its default SQLite store, in one run.

    python -m benchmarks.bench_mlflow_rest [SECONDS]

Both servers answer the same requests over the same kind of connection, in turns; requests are
made before the clock starts, so what is timed is the servers. MLflow's rows
for the reads are written into its database directly, which is faster than its own API.
An answer of MLflow's server on a kept connection comes in two pieces, the second of which waits
some 45 ms for the client's delayed acknowledgement. One figure shows that stall, taken through
MLflow's own client; the others are without it, as the connections here acknowledge at once.

Takes some four minutes, more on a busy machine, nearly all of them MLflow's: it starts in one,
and needs seconds for a chart and one or two minutes for the long history, which is therefore
read once.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zlib import crc32

import psutil

from benchmarks.machine import describe_machine
from tracker.events import wire
from tracker.events.types import Event

ROOT = Path(__file__).parents[1]
MLFLOW = ROOT / ".venv-mlflow" / "bin" / "mlflow"
CLIENT = """
import sys, time, mlflow
client = mlflow.MlflowClient(sys.argv[1])
run_id = client.create_run("0").info.run_id
times = []
for step in range(int(sys.argv[2])):
    began = time.perf_counter()
    client.log_metric(run_id, "loss", 0.5, step=step)
    times.append(time.perf_counter() - began)
print(sorted(times)[len(times) // 2] * 1000)
"""
# What each server imports, so that none compiles anything while its start is timed.
IMPORTS = {
    "tracker": "import ingest.app, ingest.runner, ingest.serving, tracker.cli.main",
    "mlflow": "import mlflow.cli, mlflow.server.fastapi_app, mlflow.store.db.utils",
}
API = "/api/2.0/mlflow"
CLIENTS = 4
STEPS, KEYS = 20, 50  # of one batch: 1,000 metrics
RUNS, METRICS_PER_RUN, PARAMS_PER_RUN = 10_000, 5, 5
POINTS = 1_000_000
PAGE = 25_000
START_TIMEOUT_S = 180.0
# A server that works on in the background, or shares its cores, is not waited for longer.
IDLE_TIMEOUT_S = 30.0
CLIENT_CALLS = 80
FILLERS = 8  # so that appends share the disk's waits
T0_MS = 1_700_000_000_000


class Server:
    """One of the two, as its user starts it."""

    def __init__(self, name: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.name, self.folder = name, folder
        self.start_s = self.idle_mb = 0.0

    @property
    def command(self) -> list[str]:
        database = f"sqlite:///{self.folder / 'store.db'}"
        port = str(self.port)
        if self.name == "mlflow":
            return [
                *(str(MLFLOW), "server", "--port", port, "--backend-store-uri", database),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ]
        return [
            *(sys.executable, "-m", "tracker", "server", "--port", port),
            *("--backend-store-uri", database),
        ]

    @property
    def python(self) -> str:
        return str(MLFLOW.with_name("python")) if self.name == "mlflow" else sys.executable

    def _environment(self) -> dict[str, str]:
        """Without settings, and with a place for compiled modules: both start from those."""
        left_out = ("TRACKER_", "MLFLOW_", "PYTHON")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        return clean | {
            "TRACKER_HOME": str(self.folder),
            "TRACKER_SPOOL_DIR": str(self.folder / "spool"),
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        environ = self._environment()
        subprocess.run(
            [self.python, "-W", "ignore", "-c", IMPORTS[self.name]], env=environ, check=True
        )
        with (self.folder / "server.log").open("wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen(
                self.command, env=environ, stdout=log, stderr=log, start_new_session=True
            )
            try:
                self._await_answer(process, f"{API}/experiments/get?experiment_id=0")
                self.start_s = time.perf_counter() - began
                self._await_idle(process.pid)
                yield
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)

    def _await_answer(self, process: subprocess.Popen[bytes], path: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                self.get(path, timeout=2)
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"{self.name} did not start:\n{(self.folder / 'server.log').read_text()}")

    def _await_idle(self, pid: int) -> None:
        """Until the whole tree has used less than a tenth of a core for two seconds."""
        used, until = _cpu_s(pid), time.monotonic() + IDLE_TIMEOUT_S
        while time.monotonic() < until:
            time.sleep(2)
            now = _cpu_s(pid)
            if now - used < 0.2:
                break
            used = now
        self.idle_mb = sum(p.memory_info().rss for p in _tree(pid)) / 1e6

    def get(self, path: str, *, timeout: float = 300) -> bytes:
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            body: bytes = answer.read()
        return body

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read())

    def create_run(self) -> str:
        body = {"experiment_id": "0", "start_time": T0_MS, "run_name": "bench"}
        return str(self.post(f"{API}/runs/create", body)["run"]["info"]["run_id"])


def _tree(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_s(pid: int) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in _tree(pid))


# -- writing --------------------------------------------------------------------------------


def batch_request(run_id: str, index: int, port: int, chance: random.Random) -> bytes:
    """log-batch of the next 20 steps of 50 metrics."""
    metrics = [
        {
            "key": f"metric_{key}",
            "value": chance.random(),
            "timestamp": T0_MS + step,
            "step": step,
        }
        for step in range(index * STEPS, (index + 1) * STEPS)
        for key in range(KEYS)
    ]
    body = json.dumps({"run_id": run_id, "metrics": metrics}).encode()
    head = (
        f"POST {API}/runs/log-batch HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def acknowledge_at_once(connection: socket.socket) -> None:
    """Where the system can: then a server's second piece waits for nothing."""
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def log_batches(server: Server, seconds: float, batches: int) -> float:
    """Points per second of four clients, each with a run and a connection of its own."""
    chance = random.Random(7)
    runs = [server.create_run() for _ in range(CLIENTS)]
    requests = [
        [batch_request(run, index, server.port, chance) for index in range(batches)] for run in runs
    ]
    sent, until = 0, time.perf_counter() + seconds

    async def client(own: list[bytes]) -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        connection = writer.get_extra_info("socket")
        for request in own:
            if time.perf_counter() >= until:
                break
            writer.write(request)
            acknowledge_at_once(connection)
            head = await reader.readuntil(b"\r\n\r\n")
            acknowledge_at_once(connection)
            assert head.startswith(b"HTTP/1.1 200"), head
            lower = head.lower()
            at = lower.index(b"content-length:") + 15
            await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
            sent += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*map(client, requests))
    return sent * STEPS * KEYS / (time.perf_counter() - began)


# -- filling --------------------------------------------------------------------------------


def run_rows() -> Iterator[tuple[str, dict[str, str], dict[str, float]]]:
    """(run id, params, metrics) of every run."""
    chance = random.Random(3)
    for i in range(RUNS):
        params = {f"param_{k}": str(chance.randint(0, 50)) for k in range(PARAMS_PER_RUN)}
        metrics = {f"metric_{k}": chance.random() for k in range(METRICS_PER_RUN)}
        yield f"{i:032x}", params, metrics


def series() -> array[float]:
    chance = random.Random(5)
    return array("d", [1 / (1 + i / 1000) + chance.gauss(0, 0.05) for i in range(POINTS)])


SERIES_RUN = "f" * 32


def fill_mlflow(server: Server) -> None:
    connection = sqlite3.connect(server.folder / "store.db")
    runs = [*run_rows(), (SERIES_RUN, {}, {})]
    root = "mlflow-artifacts:/0"
    connection.executemany(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id,"
        " status, start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
        " VALUES (?, 'bench', 'UNKNOWN', '', '', 'me', 'FINISHED', ?, '', 'active', ?, 0)",
        [(r, T0_MS + i, f"{root}/{r}/artifacts") for i, (r, _, _) in enumerate(runs)],
    )
    connection.executemany(
        "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
        [(k, v, r) for r, params, _ in runs for k, v in params.items()],
    )
    rows = [(k, v, T0_MS, r) for r, _, metrics in runs for k, v in metrics.items()]
    connection.executemany(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
        " VALUES (?, ?, ?, ?, 0, 0)",
        rows,
    )
    connection.executemany(
        "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)"
        " VALUES (?, ?, ?, ?, 0, 0)",
        rows,
    )
    connection.executemany(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
        " VALUES ('loss', ?, ?, ?, ?, 0)",
        ((value, T0_MS + i, SERIES_RUN, i) for i, value in enumerate(series())),
    )
    connection.commit()
    connection.close()


def fill_tracker(server: Server) -> None:
    with ThreadPoolExecutor(FILLERS) as pool:
        appended = [
            pool.submit(_append_run, server, run_id, i, params, metrics)
            for i, (run_id, params, metrics) in enumerate(run_rows())
        ]
        for one in appended:
            one.result()
    _append_run(server, SERIES_RUN, RUNS, {}, {})
    values, n = series(), 50_000
    for start in range(0, POINTS, n):
        frame = wire.metrics_frame(
            offsets=range(n),
            keys=["loss"],
            steps=array("q", range(start, start + n)),
            times=array("q", range((T0_MS + start) * 1000, (T0_MS + start + n) * 1000, 1000)),
            values=[values[start : start + n]],
        )
        _append(server, SERIES_RUN, f"s-{SERIES_RUN}"[:40], start + 1, n, [frame])


def _append_run(
    server: Server, run_id: str, i: int, params: dict[str, str], metrics: dict[str, float]
) -> None:
    at = (T0_MS + i) * 1000
    events = [
        Event("run.started", at, {"experiment_id": "0", "name": "bench", "user": "me"}),
        *([Event("params.logged", at, {"params": params})] if params else []),
        Event("run.ended", at + 1, {"status": "FINISHED"}),
    ]
    frames = [wire.events_frame(offsets=range(len(events)), events=events)]
    n = len(events)
    if metrics:
        columns = [array("d", [value]) for value in metrics.values()]
        frames.append(
            wire.metrics_frame(
                offsets=[n],
                keys=list(metrics),
                steps=array("q", [0]),
                times=array("q", [T0_MS * 1000]),
                values=columns,
            )
        )
        n += 1
    _append(server, run_id, f"w-{run_id}", 1, n, frames)


def _append(
    server: Server, run_id: str, writer: str, first_seq: int, n: int, frames: list[Any]
) -> None:
    payload = wire.encode_payload(frames)
    header = wire.BatchHeader(run_id, writer, 1, first_seq, n, crc32(payload))
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/api/v1/append",
        data=wire.encode_batch(header, payload),
        headers={"Content-Type": wire.BATCH_CONTENT_TYPE},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


# -- reading --------------------------------------------------------------------------------


Ask = Callable[[], object]


def p50s_ms(
    asks: Sequence[Ask], *, seconds: float, most: int, is_warmed: bool = True
) -> list[float]:
    """The p50 of each, asked in turns, so that whatever else the machine does hits all alike."""
    times: list[list[float]] = [[] for _ in asks]
    if is_warmed:
        for ask in asks:
            ask()
    until = time.perf_counter() + seconds
    while len(times[0]) < most and (time.perf_counter() < until or not times[0]):
        for ask, own in zip(asks, times, strict=True):
            began = time.perf_counter()
            ask()
            own.append(time.perf_counter() - began)
    return [sorted(own)[len(own) // 2] * 1000 for own in times]


def client_call_ms(server: Server) -> float:
    """p50 of log_metric through MLflow's own client, in a process of its own."""
    python = str(MLFLOW.with_name("python"))
    url = f"http://127.0.0.1:{server.port}"
    done = subprocess.run(
        [python, "-c", CLIENT, url, str(CLIENT_CALLS)], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def single_metrics(server: Server) -> Ask:
    """log-metric on one connection, without the stall."""
    run_id, steps = server.create_run(), itertools.count()
    connection = socket.create_connection(("127.0.0.1", server.port))

    def ask() -> None:
        said = {"run_id": run_id, "key": "loss", "value": 0.5, "timestamp": T0_MS}
        body = json.dumps({**said, "step": next(steps)}).encode()
        head = (
            f"POST {API}/runs/log-metric HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        answer = b""
        while not answer.endswith(b"{}"):
            acknowledge_at_once(connection)
            answer += connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200"), answer

    return ask


def search(server: Server) -> None:
    body = {
        "experiment_ids": ["0"],
        "filter": "metrics.metric_0 > 0.5 AND params.param_1 = '7'",
        "order_by": ["metrics.metric_1 DESC"],
        "max_results": 100,
    }
    assert len(server.post(f"{API}/runs/search", body)["runs"]) > 50


def chart(server: Server) -> None:
    path = f"{API}/metrics/get-history-bulk-interval"
    asked = f"run_ids={SERIES_RUN}&metric_key=loss&max_results=2500"
    assert server.get(f"{path}?{asked}").count(b'"step"') == 2500


def history(server: Server) -> None:
    """Page by page, as MLflow's client does."""
    token, found = "", 0
    while True:
        more = f"&page_token={token}" if token else ""
        path = f"{API}/metrics/get-history?run_id={SERIES_RUN}&metric_key=loss&max_results={PAGE}"
        body = server.get(path + more)
        found += body.count(b'"step"')
        at = body.rfind(b'"next_page_token"')
        if at < 0:
            break
        token = quote(json.loads(body[at + 18 : body.index(b'"', at + 20) + 1]))
    assert found == POINTS, found


FIGURES = {
    "start to the first answer, s": "less",
    "idle memory, RSS of all processes, MB": "less",
    "log-batch of 1,000 metrics, 4 clients, points/s": "more",
    "log-metric on one connection, without the stall, ms": "less",
    "log_metric through MLflow's own client, ms": "less",
    "search over 10,000 runs, page of 100, ms": "less",
    "chart of 1 M points (bulk-interval), ms": "less",
    "whole history of 1 M points, 40 pages, ms": "less",
}


def measure(servers: Sequence[Server], seconds: float) -> list[list[float]]:
    """A row of figures for each of FIGURES, a column for each server."""
    say("log-batch")
    rates = [
        asyncio.run(log_batches(server, seconds, 40 if server.name == "mlflow" else 1200))
        for server in servers
    ]
    say("log-metric")
    singles = p50s_ms([single_metrics(server) for server in servers], seconds=6, most=300)
    say("log_metric through the client")
    through_client = [client_call_ms(server) for server in servers]
    say("filling both")
    for server in servers:
        (fill_mlflow if server.name == "mlflow" else fill_tracker)(server)

    def each(ask: Callable[[Server], None]) -> list[Ask]:
        return [partial(ask, server) for server in servers]

    say("search")
    searches = p50s_ms(each(search), seconds=10, most=100)
    say("chart")
    charts = p50s_ms(each(chart), seconds=10, most=50)
    say("history")
    histories = p50s_ms(each(history), seconds=1, most=1, is_warmed=False)
    return [
        [server.start_s for server in servers],
        [server.idle_mb for server in servers],
        *(rates, singles, through_client, searches, charts, histories),
    ]


def say(what: str) -> None:
    """What is measured now, and when it began."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    # Who is told to stop ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    say("starting both")
    print(describe_machine())
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        tracker, mlflow = Server("tracker", Path(ours)), Server("mlflow", Path(theirs))
        with tracker.running(), mlflow.running():
            rows = measure((tracker, mlflow), seconds)
    print(f"{'':<52} {'tracker':>12} {'mlflow':>12} {'ratio':>8}")
    for (what, better), (own, other) in zip(FIGURES.items(), rows, strict=True):
        ratio = other / own if better == "less" else own / other
        print(f"{what:<52} {own:>12,.1f} {other:>12,.1f} {ratio:>7.1f}x")


if __name__ == "__main__":
    main()
