"""Replaying and exporting: events/s and points/s from a SQLite store into every kind of place.

Aims: SQLite → PostgreSQL at 150,000 events/s and 1 M points/s; Parquet at 2 M points/s. Two
logs are copied: batches of 1,000 records of three metrics, and of 100 records of one. The
copying is timed apart from the comparison that follows it. Beside the wall clock the CPU time
of this process is given: on a machine that does other things, too, the two differ.

The floor in the same run: the same rows read from SQLite and thrown away.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.machine import describe_machine
from ingest.event_stores.base import BatchToAppend
from ingest.event_stores.sqlite import SqliteEventStore
from ingest.event_stores.sqlite_reader import SqliteLogReader
from ingest.replay.job import ReplayReport, ReplayRequest, replay
from ingest.replay.places import destination_of, source_of
from tests.support.postgres import DURABLE, running_postgres
from tracker.events import wire
from tracker.events.types import Event

START_US = 1_700_000_000_000_000
LOGS = {
    "1,000 records of 3 metrics a batch": (4_000, 1_000, 3),
    "100 records of 1 metric a batch": (8_000, 100, 1),
}


def main() -> None:
    print(describe_machine())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-replay-")))
        postgres = stack.enter_context(running_postgres(DURABLE))
        for number, (name, (batches, records, keys)) in enumerate(LOGS.items()):
            source = folder / f"source-{number}.db"
            asyncio.run(make(source, batches, records, keys))
            print(f"\n{name}: {batches * records:,} events, {batches * records * keys:,} points")
            print(f"{'':<22}{'seconds':>9}{'cpu s':>9}{'events/s':>14}{'points/s':>14}")
            events = batches * records
            told("read only", lambda path=source: asyncio.run(read(path)), events, keys)
            asyncio.run(_database(postgres.dsn(), f"bench{number}"))
            for kind, place in {
                "SQLite": str(folder / f"copy-{number}.db"),
                "PostgreSQL": postgres.dsn(f"bench{number}"),
                "archive": f"archive:{folder / f'archive-{number}'}",
                "Parquet": f"parquet:{folder / f'parquet-{number}'}",
                "DuckDB": f"duckdb:{folder / f'{number}.duckdb'}",
            }.items():
                request = ReplayRequest(
                    source_of(str(source)), destination_of(place), compare="quick"
                )
                report = told(f"-> {kind}", lambda asked=request: run(asked), events, keys)
                assert report is not None
                assert report.is_equal
            request = ReplayRequest(
                source_of(str(source)), destination_of(str(folder / f"copy-{number}.db"))
            )
            told("full comparison", lambda asked=request: run(asked), events, keys)


def run(request: ReplayRequest) -> ReplayReport:
    return asyncio.run(replay(request, lambda stage, progress: None))


def told(
    name: str, work: Callable[[], ReplayReport | None], events: int, keys: int
) -> ReplayReport | None:
    began, cpu = time.perf_counter(), time.process_time()
    report = work()
    seconds = time.perf_counter() - began
    print(
        f"{name:<22}{seconds:>9.2f}{time.process_time() - cpu:>9.2f}{events / seconds:>14,.0f}"
        f"{events * keys / seconds:>14,.0f}",
        flush=True,
    )
    return report


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
