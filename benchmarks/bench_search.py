"""Search over many runs: the read store by itself, and the whole way through HTTP.

Fills a runs projection with 100,000 runs of 20 params, 10 metrics and 5 tags, then asks
for pages of 100 in the ways people do. `python -m benchmarks.bench_search --runs 10000`
is the quick look. The first line is the figure in docs: a metric and a param filter,
ordered by a metric.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import statistics
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.machine import describe_machine
from benchmarks.read_server import app_of, running, serve
from ingest.routes import runs as runs_routes
from projections import sql
from projections.read_models import RunSearch
from projections.runs_queries import RunsQueries

PARAMS, METRICS, TAGS = 20, 10, 5
DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000
NOW_US = START_US + 365 * DAY_US

SEARCHES: Sequence[tuple[str, dict[str, Any]]] = (
    (
        "metric and param filter, by metric",
        {"filter": "metrics.m0 > 0.5 AND params.p0 = 'v3'", "order_by": ["metrics.m0 DESC"]},
    ),
    (
        "the same, a narrow param",
        {"filter": "metrics.m0 > 0.5 AND params.p1 = 'u777'", "order_by": ["metrics.m0 DESC"]},
    ),
    (
        "the same, by another metric",
        {"filter": "metrics.m0 > 0.9 AND params.p0 = 'v3'", "order_by": ["metrics.m1 ASC"]},
    ),
    (
        "both rare, by another metric",
        {"filter": "metrics.m0 > 0.97 AND params.p0 = 'v3'", "order_by": ["metrics.m1 ASC"]},
    ),
    (
        "param as a number",
        {"filter": "params.lr < 0.001 AND metrics.m2 < 0.5", "order_by": ["metrics.m2"]},
    ),
    ("the newest", {}),
    ("the newest of one experiment", {"experiment_ids": ["7"]}),
    (
        "one experiment, by metric",
        {"experiment_ids": ["7"], "order_by": ["metrics.m3 DESC"]},
    ),
    ("failed last week", {"filter": "status = 'FAILED' AND start_time > now-7d"}),
    ("tag LIKE", {"filter": "tags.t0 LIKE 'team-1%'", "order_by": ["metrics.m1"]}),
    ("regex on the name", {"filter": "run_name RLIKE '^run-9.*7$'"}),
    ("by a metric's min (no index)", {"order_by": ["metrics.m0.min"]}),
    ("by end time (no index)", {"order_by": ["end_time DESC"]}),
    ("nothing matches", {"filter": "metrics.m0 > 0.5 AND params.p0 = 'v3' AND metrics.m1 > 2"}),
    (
        "OR over two metrics",
        {"filter": "metrics.m0 > 0.99 OR metrics.m1 > 0.99", "order_by": ["metrics.m2"]},
    ),
)


def fill(path: Path, runs: int) -> None:
    """Write the rows as the projection's writer lays them out."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -262144")
    connection.executescript(sql.load("runs_schema.sql"))
    rng = random.Random(7)
    keys = [f"p{i}" for i in range(PARAMS - 1)] + ["lr"]
    keys += [f"m{i}" for i in range(METRICS)] + [f"t{i}" for i in range(TAGS)]
    connection.execute("BEGIN")
    connection.execute("INSERT INTO projection VALUES ('runs', 1, 1)")
    connection.executemany("INSERT INTO key VALUES (?, ?)", enumerate(keys, 1))
    connection.executemany(
        "INSERT INTO experiment (experiment_id, name, lifecycle_stage, created_us, updated_us,"
        " last_position, name_order_us, lifecycle_order_us) VALUES (?, ?, 'active', 0, 0, 1, 0, 0)",
        [(str(i), f"experiment {i}") for i in range(50)],
    )
    connection.executemany(
        "INSERT INTO run (run_no, run_id, experiment_id, name, name_order_us, user_id,"
        " user_order_us, lifecycle_stage, lifecycle_order_us, status, base_status,"
        " status_order_us, born_order_us, born_writer_id, start_us, end_us, end_order_us,"
        " owner_order_us, dropped, first_position, last_position, updated_us)"
        " VALUES (?, ?, ?, ?, 0, 'ada', 0, 'active', 0, ?, ?, 0, 0, '', ?, ?, 0, 0, 0, 1, 1, 0)",
        _runs(rng, runs),
    )
    connection.executemany(
        "INSERT INTO run_param (run_no, key_id, value, order_us, writer_id)"
        " VALUES (?, ?, ?, 0, 'w')",
        _params(rng, runs),
    )
    connection.executemany(
        "INSERT INTO run_metric VALUES"
        " (?, ?, ?, ?, 1000, 1, 1.0, 0, 0, 1, ?, 900, 1.0, 0, 1000, 0)",
        _metrics(rng, runs),
    )
    connection.executemany("INSERT INTO run_tag VALUES (?, ?, ?, 0)", _tags(rng, runs))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _runs(rng: random.Random, runs: int) -> Iterator[tuple[Any, ...]]:
    for n in range(1, runs + 1):
        status = rng.choices(("FINISHED", "FAILED", "KILLED"), (90, 8, 2))[0]
        start_us = START_US + n * DAY_US * 365 // runs + rng.randrange(1_000_000)
        run_id = f"{rng.getrandbits(128):032x}"
        end_us = start_us + rng.randrange(3_600_000_000)
        yield (n, run_id, str(rng.randrange(50)), f"run-{n}", status, status, start_us, end_us)


def _params(rng: random.Random, runs: int) -> Iterator[tuple[Any, ...]]:
    for n in range(1, runs + 1):
        yield (n, 1, f"v{rng.randrange(20)}")
        yield (n, 2, f"u{rng.randrange(2000)}")
        for key_id in range(3, PARAMS):
            yield (n, key_id, f"value-{key_id}-{rng.randrange(10)}")
        yield (n, PARAMS, f"{10 ** rng.uniform(-5, -1):.3g}")


def _metrics(rng: random.Random, runs: int) -> Iterator[tuple[Any, ...]]:
    for n in range(1, runs + 1):
        for key_id in range(PARAMS + 1, PARAMS + METRICS + 1):
            value = rng.random()
            bits = struct.unpack("<q", struct.pack("<d", value))[0]
            yield (n, key_id, value, bits, value * 0.9)


def _tags(rng: random.Random, runs: int) -> Iterator[tuple[Any, ...]]:
    first = PARAMS + METRICS + 1
    for n in range(1, runs + 1):
        yield (n, first, f"team-{rng.randrange(100)}")
        for key_id in range(first + 1, first + TAGS):
            yield (n, key_id, f"tag {rng.randrange(1000)}")


@dataclass(frozen=True)
class Timing:
    """In milliseconds."""

    p50: float
    p99: float
    found: int
    rounds: int


def _cpu_ms(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system) * 1000


async def timed(ask: Callable[[], Awaitable[int]], *, seconds: float) -> Timing:
    found = await ask()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < ends and len(times) < 200):
        began = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    return Timing(statistics.median(times), p99, found, len(times) + 1)


async def serve_runs(path: Path) -> None:
    store = RunsQueries(path, clock_us=lambda: NOW_US)
    await serve(app_of(runs_routes.ROUTES, runs=store))
    await store.aclose()


async def measure(path: Path, url: str, pid: int, *, seconds: float) -> None:
    """CPU is the server's per request: it tells the cost even where other work takes turns."""
    process = psutil.Process(pid)
    store = RunsQueries(path, clock_us=lambda: NOW_US)
    print(f"{'page of 100; ms':36} store p50   p99  HTTP p50   p99   CPU  runs")
    async with aiohttp.ClientSession() as session:
        for name, search in SEARCHES:

            async def by_store(search: dict[str, Any] = search) -> int:
                return len((await store.search_runs(RunSearch(**search))).items)

            async def by_http(search: dict[str, Any] = search) -> int:
                async with session.post(url, json=search) as answer:
                    # Until the whole answer is there; what a client makes of it is its own.
                    return (await answer.read()).count(b'"run_id"')

            inner = await timed(by_store, seconds=seconds)
            cpu_before = _cpu_ms(process)
            outer = await timed(by_http, seconds=seconds)
            cpu = (_cpu_ms(process) - cpu_before) / outer.rounds
            assert inner.found == outer.found
            print(
                f"{name:36} {inner.p50:9.1f} {inner.p99:5.1f} {outer.p50:9.1f} {outer.p99:5.1f} "
                f"{cpu:5.1f} {outer.found:5}",
                flush=True,
            )
    await store.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="per search and way")
    parser.add_argument("--file", type=Path, help="keep the filled file here, and use it again")
    parser.add_argument("--serve", type=Path, help="only answer over HTTP from this file")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve_runs(given.serve))
        return
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        path = given.file or Path(folder) / "runs.sqlite"
        if not path.exists():
            began = time.perf_counter()
            fill(path, given.runs)
            size = path.stat().st_size / 1e6
            print(f"{given.runs} runs filled in {time.perf_counter() - began:.0f} s, {size:.0f} MB")
        with running("benchmarks.bench_search", "--serve", str(path)) as (url, pid):
            asyncio.run(measure(path, f"{url}/api/v1/runs/search", pid, seconds=given.seconds))


if __name__ == "__main__":
    main()
