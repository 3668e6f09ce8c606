"""Ingest: durable appends over HTTP, pre-encoded, client and server on the same cores.

    python -m benchmarks.bench_ingest [SECONDS]

Every writer has one connection and one batch in flight, as a shipper does. A batch counts
when its acknowledgement has come; points are "folded" when /ready says that every
projection has reached the log's head.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zlib import crc32

from benchmarks.machine import describe_machine, fsync_latency_ms, percentiles
from tracker.events import wire
from tracker.events.types import Event

SECONDS_DEFAULT = 6.0
PAYLOADS = 32
FOLD_TIMEOUT_S = 120.0


@dataclass
class Load:
    """What each of `writers` sends: batches of `records` records with `keys` metrics each."""

    name: str
    writers: int
    records: int
    keys: int

    @property
    def points(self) -> int:
        return self.records * self.keys


LOADS = (Load("10k-point batches", 16, 1000, 10), Load("small batches", 64, 200, 1))


@dataclass
class Outcome:
    batches: int = 0
    latencies_ns: list[int] = field(default_factory=list)
    rss_max_mb: float = 0.0


def payload_of(load: Load, seed: int) -> bytes:
    """Noisy float32 losses with shared steps and times."""
    chance = random.Random(seed)
    n = load.records
    times = array("q", [1_700_000_000_000_000])
    for _ in range(n - 1):
        times.append(times[-1] + chance.randint(900, 1_100))
    frame = wire.metrics_frame(
        offsets=range(n),
        keys=[f"metric_{i}" for i in range(load.keys)],
        steps=array("q", range(seed * n, seed * n + n)),
        times=times,
        values=[
            array("d", array("f", [1 + chance.gauss(0, 0.1) for _ in range(n)]))
            for _ in range(load.keys)
        ],
    )
    return wire.encode_payload([frame])


def request_of(header: wire.BatchHeader, payload: bytes) -> bytes:
    body = wire.encode_batch(header, payload)
    head = (
        "POST /api/v1/append HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: {wire.BATCH_CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Writer(asyncio.Protocol):
    """Sends the next batch when the last one was acknowledged, until time is up."""

    def __init__(
        self, index: int, load: Load, payloads: list[bytes], outcome: Outcome, until: float
    ) -> None:
        self._ids = (f"run-{load.writers}-{index}", f"writer-{load.writers}-{index}")
        self._load, self._payloads, self._outcome, self._until = load, payloads, outcome, until
        self._next_seq, self._sent, self._sent_at = 1, 0, 0
        self._answer = b""
        self.done = asyncio.get_running_loop().create_future()
        run_id, writer_id = self._ids
        started = wire.events_frame(offsets=[0], events=[Event("run.started", 1, {"name": "x"})])
        header = wire.BatchHeader(run_id, writer_id, 1, 1, 1, 1)
        self._request = request_of(header, wire.encode_payload([started]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send(self._request, 1)

    def _send(self, request: bytes, n: int) -> None:
        self._next_seq += n
        self._sent_at = time.perf_counter_ns()
        self._transport.write(request)
        if self._sent_at < self._until:
            # The next one is made while the server works on this one.
            payload = self._payloads[self._sent % PAYLOADS]
            self._sent += 1
            run_id, writer_id = self._ids
            header = wire.BatchHeader(
                run_id, writer_id, 1, self._next_seq, self._load.records, crc32(payload)
            )
            self._request = request_of(header, payload)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"}"):
            return
        if not self._answer.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._answer.decode(errors="replace")))
            return
        now = time.perf_counter_ns()
        self._answer = b""
        if self._sent_at >= self._until:
            if not self.done.done():
                self.done.set_result(None)
            return
        if self._sent > 1:
            self._outcome.batches += 1
            self._outcome.latencies_ns.append(now - self._sent_at)
        self._send(self._request, self._load.records)


async def drive(load: Load, port: int, pid: int, seconds: float) -> tuple[Outcome, float]:
    payloads = [payload_of(load, seed) for seed in range(PAYLOADS)]
    wire_bytes = sum(map(len, payloads)) / PAYLOADS / load.points
    print(f"   {len(payloads[0])} bytes a batch, {wire_bytes:.2f} bytes a point")
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    until = time.perf_counter_ns() + int(seconds * 1e9)
    watching = loop.create_task(watch_rss(pid, outcome))
    writers = []
    for index in range(load.writers):
        _, writer = await loop.create_connection(
            partial(Writer, index, load, payloads, outcome, until), "127.0.0.1", port
        )
        writers.append(writer.done)
    await asyncio.gather(*writers)
    elapsed = time.perf_counter() - began
    watching.cancel()
    return outcome, elapsed


async def watch_rss(pid: int, outcome: Outcome) -> None:
    while True:
        outcome.rss_max_mb = max(outcome.rss_max_mb, rss_mb(pid))
        await asyncio.sleep(0.1)


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def wait_until_folded(port: int) -> bool:
    """False when the server has no projections, or they did not get there."""
    deadline = time.monotonic() + FOLD_TIMEOUT_S
    while time.monotonic() < deadline:
        answer = json.loads(await get(port, "/ready"))
        if not answer.get("projections"):
            return False
        if all(projection["lag"] == 0 for projection in answer["projections"]):
            return True
        await asyncio.sleep(0.05)
    return False


def serve_and_measure(load: Load, folder: Path, seconds: float) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "tracker", "server", "--port", "0", "--home", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    try:
        port = int(server.stderr.readline().rpartition(":")[2])
        asyncio.run(measure(load, port, server.pid, seconds))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
        server.stderr.close()


async def measure(load: Load, port: int, pid: int, seconds: float) -> None:
    began = time.perf_counter()
    outcome, elapsed = await drive(load, port, pid, seconds)
    folded = await wait_until_folded(port)
    folded_s = time.perf_counter() - began
    p50, p99, worst = percentiles(outcome.latencies_ns)
    points = outcome.batches * load.points
    print(
        f"   {load.name}, {load.writers} writers: {outcome.batches / elapsed:,.0f} batches/s, "
        f"{points / elapsed:,.0f} points/s acknowledged; ack p50 {p50 / 1000:.1f} ms, "
        f"p99 {p99 / 1000:.1f} ms, max {worst / 1000:.1f} ms; "
        f"server RSS max {outcome.rss_max_mb:.0f} MB"
    )
    metrics = (await get(port, "/metrics")).decode()
    cpu = rest_of(metrics, "process_cpu_seconds_total")
    groups = float(rest_of(metrics, "tracker_commit_seconds_count") or 1)
    commits_s = float(rest_of(metrics, "tracker_commit_seconds_sum") or 0)
    print(
        f"   server CPU {cpu} s; {outcome.batches / groups:.1f} batches a commit, "
        f"{commits_s / groups * 1000:.2f} ms each"
    )
    if folded:
        print(f"   folded: {points / folded_s:,.0f} points/s from the first batch to lag 0")


def rest_of(metrics: str, name: str) -> str:
    for line in metrics.splitlines():
        if line.startswith(name + " "):
            return line.split()[1]
    return ""


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS_DEFAULT
    print(describe_machine())
    for load in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            before = fsync_latency_ms(Path(folder))
            serve_and_measure(load, Path(folder), seconds)
            after = fsync_latency_ms(Path(folder))
            print(f"   fsync {before:.2f} ms before, {after:.2f} ms after")


if __name__ == "__main__":
    main()
