"""Metric series: sealing, size, charts and exact history, beside the obvious ways to do it.

The log is in memory and batches are encoded beforehand, so what is measured is decoding,
folding and sealing, and reading. HTTP figures have client and server in one process.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web

from benchmarks.machine import describe_machine
from ingest.arrow import CONTENT_TYPE
from ingest.routes.metrics import ROUTES
from ingest.state import READ_STORES
from projections.columns import Float64s
from projections.read_models import RunsReadStore
from projections.rounds import decoded
from projections.series_codec import decode_values, encode_values
from projections.series_projection import SeriesProjection
from projections.series_queries import SeriesQueries
from tests.support.memory_log import MemoryLog

ROUNDS = 15
RECORDS = 500  # × 20 metrics: batches of 10,000 points
KEYS = [f"metric/{i}" for i in range(20)]


def losses(n: int, *, seed: int = 0) -> Float64s:
    """A noisy loss as a float32 tensor gives it."""
    noise = np.random.default_rng(seed).standard_normal(n)
    return (2 * np.exp(-np.arange(n) / n * 3) + 0.05 * noise).astype(np.float32).astype(np.float64)


def wide_log(*, runs: int, batches: int) -> MemoryLog:
    """`runs` writers in turns, 20 metrics a record, times with jitter."""
    log = MemoryLog()
    dice = np.random.default_rng(1)
    for number in range(batches):
        steps = np.arange(number * RECORDS, (number + 1) * RECORDS)
        for run in range(runs):
            times = 10**15 + steps * 50_000 + dice.integers(-400, 400, RECORDS)
            values = [losses(RECORDS, seed=number * 31 + i) for i in range(len(KEYS))]
            log.append_columns(f"run-{run}", KEYS, steps, times, values)
    return log


def long_log(n: int) -> MemoryLog:
    log = MemoryLog()
    values, dice = losses(n), np.random.default_rng(2)
    times = 10**15 + np.arange(n) * 50_000 + dice.integers(-400, 400, n)
    for start in range(0, n, 20_000):
        part = slice(start, min(start + 20_000, n))
        steps = np.arange(part.start, part.stop)
        log.append_columns("run", ["loss"], steps, times[part], [values[part]])
    return log


async def fold(path: Path, log: MemoryLog, *, group: int = 64) -> tuple[float, float]:
    """Decode and fold everything; (wall, processor) seconds."""
    projection = SeriesProjection(path, log)
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(log.batches), group):
        await projection.apply([decoded(batch) for batch in log.batches[start : start + group]])
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    await projection.aclose()
    return seconds


def size_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    pages, page_bytes, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "page_size", "freelist_count")
    )
    connection.close()
    return int((pages - free) * page_bytes)


def bench_codec() -> None:
    chunk = losses(4096)
    packed = encode_values(chunk)
    encode = timed(lambda: encode_values(chunk), 200)
    decode = timed(lambda: decode_values(packed, 4096), 200)
    print(
        f"chunk of 4,096 float32 losses: {len(packed) / 4096:.2f} bytes/point, encode "
        f"{4096 / encode / 1e6:.0f} Mpt/s (aim 20), decode {4096 / decode / 1e6:.0f} Mpt/s (aim 50)"
    )


async def bench_fold(folder: Path) -> None:
    log = wide_log(runs=16, batches=28)
    points = sum(batch.n for batch in log.batches) * len(KEYS)
    wall, cpu = await fold(folder / "wide.sqlite", log)
    wire = sum(len(batch.payload) for batch in log.batches) / points
    baseline = rows_per_second(folder / "rows.sqlite", 200_000)
    connection = sqlite3.connect(folder / "wide.sqlite")
    sealed, tail = connection.execute(
        "SELECT sum(sealed_points), sum(tail_points) FROM run"
    ).fetchone()
    blobs = sum(
        connection.execute(query).fetchone()[0]
        for query in (
            "SELECT sum(length(data)) FROM chunk_values",
            "SELECT sum(length(steps) + length(times)) FROM axis_points",
            "SELECT sum(length(coarse)) FROM chunk",
            "SELECT sum(length(coarse)) FROM axis",
            "SELECT sum(length(bins)) FROM chunk_bins",
            "SELECT sum(length(bins)) FROM axis_bins",
        )
    )
    connection.close()
    print(
        f"fold and seal, 16 runs, batches of 10,000 points, 20 metrics: {points / wall / 1e6:.1f} "
        f"Mpt/s, {points / cpu / 1e6:.1f} Mpt per processor second (aim 1); "
        f"a row per point: {baseline / 1e6:.2f} Mpt/s, {points / wall / baseline:.0f} times slower"
    )
    print(
        f"  sealed {sealed:,} points, {tail:,} in tails: {blobs / sealed:.2f} bytes/point in "
        f"columns, {size_of(folder / 'wide.sqlite') / sealed:.2f} in the file (aim 3.5); "
        f"wire {wire:.2f}"
    )


def rows_per_second(path: Path, n: int) -> float:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(
        "CREATE TABLE point (run, key, step, position, time, value,"
        " PRIMARY KEY (run, key, step, position)) WITHOUT ROWID"
    )
    rows = [(1, i % 20, i // 20, i, i, value) for i, value in enumerate(losses(n).tolist())]
    began = time.perf_counter()
    for start in range(0, n, 10_000):
        with connection:
            connection.executemany(
                "INSERT INTO point VALUES (?, ?, ?, ?, ?, ?)", rows[start : start + 10_000]
            )
    seconds = time.perf_counter() - began
    connection.close()
    return n / seconds


async def bench_reads(folder: Path, n: int, *, chart_aim_ms: int) -> None:
    log = long_log(n)
    path = folder / f"long-{n}.sqlite"
    wall, _ = await fold(path, log)
    store = SeriesQueries(path, log)

    async def chart() -> None:
        await store.buckets("run", "loss", start_step=None, end_step=None, buckets_max=1000)

    async def brute() -> None:
        parts = [
            page.values
            async for page in await store.history("run", "loss", start_step=None, end_step=None)
        ]
        values = np.concatenate(parts)
        starts = np.arange(1000) * n // 1000
        np.fmin.reduceat(values, starts)
        np.fmax.reduceat(values, starts)

    async with serving(store) as (session, url):

        async def over_http() -> None:
            async with session.get(f"{url}?buckets=1000") as response:
                assert (await response.json())["points"] == n

        peak = 0

        async def stream() -> None:
            nonlocal peak
            async with session.get(url, headers={"Accept": CONTENT_TYPE}) as response:
                size = 0
                async for part in response.content.iter_any():
                    size += len(part)
                    peak = max(peak, resident_bytes())
                assert size > 24 * n

        inside, http = await median_ms(chart), await median_ms(over_http)
        everything = await median_ms(brute, rounds=3)
        del log
        before = resident_bytes()
        streamed = await median_ms(stream, rounds=3)
    print(
        f"{n:,} points ({n / wall / 1e6:.1f} Mpt/s folded): chart of 1,000 buckets {inside:.1f} ms,"
        f" over HTTP {http:.1f} ms (aim {chart_aim_ms}); all points, then numpy: "
        f"{everything:.0f} ms, {everything / inside:.0f} times as long"
    )
    print(
        f"  exact history as Arrow over HTTP: {n / streamed / 1e3:.1f} Mpt/s (aim 5), memory"
        f" grew by {(peak - before) / 2**20:.0f} MiB at most, the points are {24 * n >> 20} MiB"
    )
    await store.aclose()


async def bench_keys(folder: Path) -> None:
    """50,000 keys, five records of 10,000: then 300 batches more, so that all is sealed."""
    log = MemoryLog()
    for part in range(5):
        names = [f"layer/{part * 10_000 + i}/grad" for i in range(10_000)]
        one = np.zeros(1, np.int64)
        log.append_columns("run", names, one, one, [np.array([float(i)]) for i in range(10_000)])
    wall, _ = await fold(folder / "keys.sqlite", log)
    store = SeriesQueries(folder / "keys.sqlite", log)

    async def chart() -> None:
        await store.buckets("run", "layer/7/grad", start_step=None, end_step=None, buckets_max=1000)

    began = time.perf_counter()
    await chart()
    first = 1000 * (time.perf_counter() - began)
    again = await median_ms(chart)
    await store.aclose()
    for _ in range(300):
        step = np.ones(1, np.int64)
        log.append_columns("run", ["loss"], step, step, [np.array([1.0])])
    sealing, _ = await fold(folder / "keys.sqlite", log)
    print(
        f"50,000 keys: folded in {1000 * wall:.0f} ms, a chart {first:.1f} ms, again {again:.1f} "
        f"ms; sealed in {1000 * sealing:.0f} ms"
    )


@asynccontextmanager
async def serving(store: SeriesQueries) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    class Stores:
        series = store

        @property
        def runs(self) -> RunsReadStore:
            raise AssertionError("only an unknown metric asks for its run, and all exist here")

        async def wait_for(self, position: int, *, timeout_s: float) -> bool:
            return True

    app = web.Application()
    app[READ_STORES] = Stores()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as session:
        yield session, f"http://{host}:{port}/api/v1/runs/run/metrics/loss"
    await runner.cleanup()


def timed(call: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def median_ms(call: Callable[[], Awaitable[None]], rounds: int = ROUNDS) -> float:
    await call()
    milliseconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        await call()
        milliseconds.append(1000 * (time.perf_counter() - began))
    return statistics.median(milliseconds)


async def main() -> int:
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench_codec()
        await bench_fold(folder)
        await bench_keys(folder)
        await bench_reads(folder, 1_000_000, chart_aim_ms=20)
        await bench_reads(folder, 10_000_000, chart_aim_ms=60)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
