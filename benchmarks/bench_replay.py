"""Replaying and exporting: events/s and points/s from a SQLite store into every kind of place.

Aims: SQLite → PostgreSQL at 150,000 events/s and 1 M points/s; Parquet at 2 M points/s. Two
logs are copied: batches of 1,000 records of three metrics, and of 100 records of one. The
copying is timed apart from the comparison that follows it, three times, each into a new place;
rates are the best. Beside the wall clock the CPU time of this process is given: on a machine that
does other things, too, the two differ.

The floor in the same run: the same rows read from SQLite and thrown away.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.machine import describe_machine
from ingest.event_stores.base import BatchToAppend
from ingest.event_stores.sqlite import SqliteEventStore
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.replay.job import ReplayRequest, replay
from ingest.replay.places import destination_of, source_of
from tests.support.postgres import DURABLE, PostgresServer, running_postgres
from tracker.events import wire
from tracker.events.types import Event

START_US = 1_700_000_000_000_000
LOGS = {
    "1,000 records of 3 metrics a batch": (4_000, 1_000, 3),
    "100 records of 1 metric a batch": (8_000, 100, 1),
}


REPEATS = 3


def main() -> None:
    import pyarrow.parquet  # noqa: F401  # what the command imports once is no part of a rate

    print(describe_machine())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-replay-")))
        postgres = stack.enter_context(running_postgres(DURABLE))
        for number, (name, (batches, records, keys)) in enumerate(LOGS.items()):
            events = batches * records
            source = folder / f"source-{number}.db"
            asyncio.run(make(source, batches, records, keys))
            print(f"\n{name}: {events:,} events, {events * keys:,} points")
            print(
                f"{'':<18}{'best s':>8}{'worst s':>9}{'cpu s':>8}{'events/s':>13}{'points/s':>13}"
            )
            measure(source, folder, postgres, events, keys)


def measure(source: Path, folder: Path, postgres: PostgresServer, events: int, keys: int) -> None:
    """Every destination, from nothing each time."""
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for repeat in range(REPEATS):
        stem = f"{source.stem}-{repeat}".replace("-", "_")
        asyncio.run(_database(postgres.dsn(), stem))
        rows["read only"].append(timed(partial(asyncio.run, read(source))))
        for kind, place in {
            "SQLite": str(folder / f"{stem}.db"),
            "PostgreSQL": postgres.dsn(stem),
            "archive": f"archive:{folder / stem}-archive",
            "Parquet": f"parquet:{folder / stem}-parquet",
            "DuckDB": f"duckdb:{folder / stem}.duckdb",
        }.items():
            rows[f"-> {kind}"].append(timed(partial(run, source, place, compare="quick")))
        rows["full comparison"].append(
            timed(partial(run, source, str(folder / f"{stem}.db"), compare="full"))
        )
    for name, times in rows.items():
        best, cpu = min(times)
        print(
            f"{name:<18}{best:>8.2f}{max(times)[0]:>9.2f}{cpu:>8.2f}{events / best:>13,.0f}"
            f"{events * keys / best:>13,.0f}",
            flush=True,
        )


def run(source: Path, place: str, *, compare: str) -> None:
    request = ReplayRequest(source_of(str(source)), destination_of(place), compare=compare)
    report = asyncio.run(replay(request, lambda stage, progress: None))
    assert report.is_equal


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of this process's CPU time."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


async def read(path: Path) -> None:
    reader = SqliteLogReader(path)
    after = 0
    while batches := await reader.read(after=after, batches_max=4_000, bytes_max=8 * 1024 * 1024):
        after = batches[-1].last_position
    await reader.aclose()


async def make(path: Path, batches: int, records: int, keys: int) -> None:
    store = await SqliteEventStore.open(path)
    pending = []
    for batch in made(batches, records, keys):
        pending.append(store.append(batch))
        if len(pending) == 256:
            await asyncio.gather(*pending)
            pending = []
    await asyncio.gather(*pending)
    await store.aclose()


def made(batches: int, records: int, keys: int) -> Iterator[BatchToAppend]:
    """Twenty runs in turns, of two experiments."""
    chance = random.Random(1)
    noise = [[chance.gauss(0, 1) for _ in range(records)] for _ in range(32)]
    for number in range(batches):
        run, part = number % 20, number // 20
        frames = [
            wire.metrics_frame(
                offsets=range(records),
                keys=[f"metric_{key}" for key in range(keys)],
                steps=array("q", range(part * records, (part + 1) * records)),
                times=array(
                    "q", [START_US + (part * records + i) * 1000 + i % 7 for i in range(records)]
                ),
                values=[array("d", chance.choice(noise)) for _ in range(keys)],
            )
        ]
        n = records
        if part == 0:
            event = Event("run.started", START_US, {"experiment_name": f"e{run % 2}"})
            frames.append(wire.events_frame(offsets=[records], events=[event]))
            n += 1
        payload = wire.encode_payload(frames)
        first_seq = 1 + part * records + min(part, 1)
        header = wire.BatchHeader(f"run-{run}", f"w{run}", 1, first_seq, n, number + 1)
        yield BatchToAppend(header, payload)


async def _database(dsn: str, name: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


if __name__ == "__main__":
    main()
