"""Read models in PostgreSQL beside those in SQLite: the same rows, the same questions, in turns.

`python -m benchmarks.bench_postgres_reads` starts a PostgreSQL of its own, fills 100,000 runs
into both stores and a series of a million points, asks both, and prints medians and ratios: of the
stores by themselves, and of the answers that servers over each give to HTTP. Then it times how
long it takes until a server that was killed while it folded is followed by another.
`--runs 10000` is the quick look.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import asyncpg
import numpy as np

from benchmarks.bench_search import NOW_US, SEARCHES, fill
from benchmarks.machine import describe_machine
from benchmarks.read_server import app_of, running, serve
from ingest.arrow import CONTENT_TYPE as ARROW
from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from ingest.routes import metrics as series_routes
from ingest.routes import runs as run_routes
from projections.kinds import KINDS, ProjectionKind
from projections.postgres.builds import PostgresBuilds
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.layout import CHECKPOINTS, tables
from projections.postgres.leadership import PostgresLeadership
from projections.postgres.readers import PostgresReaders, ReaderPool
from projections.postgres.sessions import Session
from projections.postgres.tables import PostgresBuild
from projections.projection import Projection
from projections.read_models import RunSearch
from projections.rebuild import fold_into
from projections.runs_kept import KEPT_ENTRIES_MAX
from projections.runs_queries import RunsQueries
from projections.series_queries import SeriesQueries
from projections.sqlite import FileRows
from tests.support.logs import batch_to_append, event
from tests.support.memory_log import MemoryLog
from tests.support.postgres import fresh_database, running_postgres

T = TypeVar("T")

_RUNS, _SERIES = KINDS
POINTS, BATCH_POINTS = 1_000_000, 20_000
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}
TAKEOVERS = 5
CHARTS = (
    (f"chart of {POINTS:,} points", 0, POINTS),
    ("chart of 100,000 of them", 300_000, 399_999),
)
EXACT = f"exact history of {POINTS:,} points"


class Home:
    """One workspace's builds, led by this process."""

    def __init__(self, dsn: str) -> None:
        self.place = PostgresPlace(dsn)
        self._lease = PostgresLeadership(Session(self.place, name="lease"), "default")
        self.builds = PostgresBuilds(self.place, "default", token=lambda: self._lease.token)
        self.pool = ReaderPool(self.place)

    async def open(self) -> None:
        store = await PostgresEventStore.open(PostgresOptions(self.place.uri))
        await store.aclose()
        assert await self._lease.acquire()

    async def begin(self, kind: ProjectionKind, log: MemoryLog) -> tuple[PostgresBuild, Projection]:
        return await self.builds.begin(kind, log)

    async def aclose(self) -> None:
        await self.pool.aclose()
        await self.builds.aclose()
        await self._lease.release()


async def copied(home: Home, path: Path) -> None:
    """The runs of a SQLite file as a serving build."""
    build, projection = await home.begin(_RUNS, MemoryLog())
    await projection.aclose()
    session = Session(home.place, name="copy", tables=tables("runs"))
    source = sqlite3.connect(path, check_same_thread=False)
    rows = FileRows(source)
    for name, columns in rows.tables().items():
        if name == CHECKPOINTS:
            continue
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT OR REPLACE INTO {name} ({', '.join(columns)}) VALUES ({marks})"
        begin = f"BEGIN; SET LOCAL search_path = {build.schema}"
        await session.in_transaction(begin, partial(_put, sql, rows, name))
    await session.aclose()
    source.close()
    await home.builds.switch(build)


def _put(sql: str, rows: FileRows, name: str, connection: PostgresConnection) -> None:
    connection.executemany(sql, rows.rows(name))


async def timed_in_turns(
    ask_store: Callable[[T], Awaitable[object]], stores: Sequence[T], *, seconds: float
) -> list[list[float]]:
    """Milliseconds of each question to each store; one after the other, again and again."""
    asks = [partial(ask_store, store) for store in stores]
    times: list[list[float]] = [[] for _ in asks]
    for ask in asks:
        await ask()
    ends = time.perf_counter() + seconds * len(asks)
    while time.perf_counter() < ends or len(times[0]) < 5:
        for ask, of_ask in zip(asks, times, strict=True):
            began = time.perf_counter()
            await ask()
            of_ask.append((time.perf_counter() - began) * 1000)
    return times


def tell(what: str, times: Sequence[Sequence[float]]) -> None:
    """Medians, and the least of each: what it takes when nothing else runs in between."""
    medians = [statistics.median(of_store) for of_store in times]
    least = [min(of_store) for of_store in times]
    found = "".join(f"{a:9.2f} {b:9.2f} ms {b / a:5.2f}x  " for a, b in (medians, least))
    print(f"  {what:34} {found}", flush=True)


async def searches(home: Home, folder: Path, runs: int, seconds: float) -> None:
    path = folder / "runs.sqlite"
    began = time.perf_counter()
    fill(path, runs)
    filled = time.perf_counter()
    await copied(home, path)
    copied_s = time.perf_counter() - filled
    print(f"{runs:,} runs: filled in {filled - began:.0f} s, copied in {copied_s:.0f} s")
    print(f"  {'page of 100':34} SQLite and PostgreSQL: medians, then the least of each")
    await _searches(home, path, seconds, entries_kept=0, title="every run read anew")
    await _searches(home, path, seconds, entries_kept=KEPT_ENTRIES_MAX, title="asked again")
    print(" over HTTP")
    async with serving(home, runs=path) as asking:
        for title, search in SEARCHES:
            body = {**search, "max_results": 100}
            ask = partial(_posted, "/api/v1/runs/search", body)
            tell(title, await timed_in_turns(ask, asking, seconds=seconds))


async def _searches(
    home: Home, path: Path, seconds: float, *, entries_kept: int, title: str
) -> None:
    print(f" {title}")
    readers = PostgresReaders(home.pool, "default", "runs")
    one, other = (
        RunsQueries(tables, clock_us=lambda: NOW_US, entries_kept=entries_kept)
        for tables in (path, readers)
    )
    for name, search in SEARCHES:
        asked = RunSearch(**search, max_results=100, now_us=NOW_US)
        pages = [await store.search_runs(asked) for store in (one, other)]
        assert [r.run_id for r in pages[0].items] == [r.run_id for r in pages[1].items], name
        ask = partial(_search, asked)
        tell(name, await timed_in_turns(ask, (one, other), seconds=seconds))
    await one.aclose()


async def _search(asked: RunSearch, store: RunsQueries) -> None:
    await store.search_runs(asked)


@dataclass(frozen=True)
class Asking:
    """A server that was given one of the stores."""

    session: aiohttp.ClientSession
    url: str


@asynccontextmanager
async def serving(home: Home, **given: Path) -> AsyncIterator[tuple[Asking, Asking]]:
    """A server over the file that is given under a projection's name, and one over PostgreSQL."""
    ((name, path),) = given.items()
    module = "benchmarks.bench_postgres_reads"
    with (
        running(module, f"--serve-{name}", str(path)) as (one, _),
        running(module, f"--serve-{name}", home.place.uri) as (other, _),
    ):
        async with aiohttp.ClientSession() as session:
            yield Asking(session, one), Asking(session, other)


async def _posted(path: str, body: dict[str, Any], asking: Asking) -> None:
    async with asking.session.post(asking.url + path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


async def _got(path: str, asking: Asking) -> None:
    async with asking.session.get(asking.url + path, headers={"Accept": ARROW}) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


async def serve_runs(store: str) -> None:
    readers = Path(store) if "://" not in store else _readers(store, "runs")
    await serve(app_of(run_routes.ROUTES, runs=RunsQueries(readers, clock_us=lambda: NOW_US)))


async def serve_series(store: str) -> None:
    readers = Path(store) if "://" not in store else _readers(store, "series")
    await serve(app_of(series_routes.ROUTES, series=SeriesQueries(readers, points())))


def _readers(dsn: str, name: str) -> PostgresReaders:
    return PostgresReaders(ReaderPool(PostgresPlace(dsn)), "default", name)


def points() -> MemoryLog:
    log = MemoryLog()
    rng = np.random.default_rng(7)
    for start in range(0, POINTS, BATCH_POINTS):
        steps = np.arange(start, start + BATCH_POINTS)
        values = [rng.standard_normal(BATCH_POINTS).astype(np.float32).astype(np.float64)]
        log.append_columns("run", ("loss",), steps, steps * 1000, values)
    return log


async def charts(home: Home, folder: Path, seconds: float) -> None:
    log = points()
    path = folder / "series.sqlite"
    build, projection = await home.begin(_SERIES, log)
    for target in (_SERIES.open(path, log), projection):
        await fold_into(target, log, on_position=lambda position: None)
        await target.aclose()
    await home.builds.switch(build)
    stores = [
        SeriesQueries(path, log),
        SeriesQueries(PostgresReaders(home.pool, "default", "series"), log),
    ]

    for title, start, end in CHARTS:
        ask = partial(_chart, start, end)
        tell(title, await timed_in_turns(ask, stores, seconds=seconds))
    tell(EXACT, await timed_in_turns(_history, stores, seconds=seconds))
    await stores[0].aclose()
    print(" over HTTP")
    async with serving(home, series=path) as asking:
        metric = "/api/v1/runs/run/metrics/loss"
        for title, start, end in CHARTS:
            asked = f"{metric}?start_step={start}&end_step={end}&buckets=1000"
            tell(title, await timed_in_turns(partial(_got, asked), asking, seconds=seconds))
        tell(EXACT, await timed_in_turns(partial(_got, metric), asking, seconds=seconds))


async def _chart(start: int, end: int, store: SeriesQueries) -> None:
    await store.buckets("run", "loss", start_step=start, end_step=end, buckets_max=1000)


async def _history(store: SeriesQueries) -> None:
    pages = await store.history("run", "loss", start_step=None, end_step=None)
    assert sum([len(page.steps) async for page in pages]) == POINTS


async def takeovers(dsn: str) -> list[float]:
    """Seconds from the SIGKILL of who folds until another has folded what came after it."""
    store = await PostgresEventStore.open(PostgresOptions(dsn))
    watch = PostgresBuilds(PostgresPlace(dsn), "default")
    servers = [_started(dsn), _started(dsn)]
    found = []
    for number in range(1, TAKEOVERS + 1):
        leads = await _leader(dsn)
        leader = next(server for server in servers if server.pid == leads)
        leader.kill()
        began = time.monotonic()
        tags = event("tags.set", number, tags={"n": str(number)})
        await store.append(batch_to_append("run", "w", number, [tags]))
        while min(position for _, _, position in await watch.positions()) < number:
            await asyncio.sleep(0.01)
        found.append(time.monotonic() - began)
        _reaped(leader)
        servers.remove(leader)
        servers.append(_started(dsn))
    for server in servers:
        server.kill()
        _reaped(server)
    await watch.aclose()
    await store.aclose()
    return sorted(found)


def _started(dsn: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.postgres_reads_process", dsn]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "reads\n"
    return process


def _reaped(process: subprocess.Popen[str]) -> None:
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def _leader(dsn: str) -> int:
    """The process id of who folds."""
    connection = await asyncpg.connect(dsn)
    try:
        holder = await connection.fetchval("SELECT holder FROM tracker.projection_lease")
    finally:
        await connection.close()
    return int(str(holder).rpartition(":")[2])


async def in_process(dsn: str, folder: Path, runs: int, seconds: float) -> None:
    home = Home(dsn)
    await home.open()
    await searches(home, folder, runs, seconds)
    await charts(home, folder, seconds)
    await home.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="per question and store")
    parser.add_argument("--only", choices=["reads", "takeover"], default=None)
    parser.add_argument("--serve-runs", help="only answer over HTTP, from this file or database")
    parser.add_argument("--serve-series", help="likewise")
    asked = parser.parse_args()
    if asked.serve_runs:
        asyncio.run(serve_runs(asked.serve_runs))
        return
    if asked.serve_series:
        asyncio.run(serve_series(asked.serve_series))
        return
    print(describe_machine())
    with (
        running_postgres(SETTINGS) as server,
        tempfile.TemporaryDirectory(prefix="tracker-bench-") as name,
    ):
        if asked.only != "takeover":
            with fresh_database(server.dsn()) as dsn:
                asyncio.run(in_process(dsn, Path(name), asked.runs, asked.seconds))
        if asked.only != "reads":
            with fresh_database(server.dsn()) as dsn:
                times = asyncio.run(takeovers(dsn))
                print(f"  takeover after a kill: {', '.join(f'{t:.1f}' for t in times)} s")


if __name__ == "__main__":
    main()
