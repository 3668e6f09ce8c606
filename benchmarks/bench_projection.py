"""Folding and rebuilding: events/s and points/s of each projection, by kind of log.

Aim: a rebuild of the runs projection folds at least 150,000 events/s. An event is one
sequence number: one log call, so a record of ten metrics counts once. Every log is made in
memory beforehand; what is timed is what a rebuild does: digest, decoding, fold, rows, and
checkpoint, with one transaction per group.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from ingest.event_stores.base import BatchToAppend
from ingest.event_stores.memory import MemoryEventStore
from projections.kinds import KINDS, ProjectionKind
from projections.log import EventLogReader
from projections.rebuild import fold_into
from tracker.events import wire
from tracker.events.types import Event

REPEATS = 3
START_US = 1_700_000_000_000_000


def main() -> None:
    print(describe_machine())
    asyncio.run(measure_all())


async def measure_all() -> None:
    logs = {
        "metrics: 1,000 records of 1 a batch": metric_batches(600, records=1000, keys=1),
        "metrics: 200 records of 10 a batch": metric_batches(600, records=200, keys=10),
        "metrics: 200 records of 1 a batch": metric_batches(2000, records=200, keys=1),
        "metrics: 10 records of 1 a batch": metric_batches(3000, records=10, keys=1),
        "tags: 200 a batch": tag_batches(300, events=200),
        "whole runs: 20 params, 5 tags, 10 × 1,000 points": run_batches(400, steps=1000),
        "short runs: 20 params, 5 tags, 10 × 20 points": run_batches(1500, steps=20),
    }
    print(f"{'log':<50} {'':<7} {'events/s':>12} {'points/s':>12} {'batches/s':>10}")
    for name, batches in logs.items():
        log = MemoryEventStore()
        events = points = count = 0
        for batch, n_points in batches:
            await log.append(batch)
            events, points, count = events + batch.header.n, points + n_points, count + 1
        for kind in KINDS:
            seconds = sorted([await rebuild_s(kind, log) for _ in range(REPEATS)])[REPEATS // 2]
            print(
                f"{name:<50} {kind.name:<7} {events / seconds:>12,.0f} "
                f"{points / seconds:>12,.0f} {count / seconds:>10,.0f}"
            )


async def rebuild_s(kind: ProjectionKind, log: EventLogReader) -> float:
    with tempfile.TemporaryDirectory() as folder:
        projection = kind.open(Path(folder) / "build.sqlite", log)
        started = time.perf_counter()
        await fold_into(projection, log, on_position=lambda _: None)
        seconds = time.perf_counter() - started
        await projection.aclose()
    return seconds


Batches = Iterator[tuple[BatchToAppend, int]]


def metric_batches(count: int, *, records: int, keys: int, runs: int = 16) -> Batches:
    rng = random.Random(1)
    for i in range(count):
        run, turn = i % runs, i // runs
        first = turn * records
        yield (
            batch(f"run-{run}", f"w-{run}", 1 + first, [
                metrics_frame(rng, first=first, records=records, keys=keys, offset=0)
            ], records),
            records * keys,
        )  # fmt: skip


def tag_batches(count: int, *, events: int, runs: int = 16) -> Batches:
    for i in range(count):
        run, first = i % runs, i // runs * events
        said = [
            Event("tags.set", START_US + n, {"tags": {f"tag-{n % 20}": f"value {n}"}})
            for n in range(first, first + events)
        ]
        yield batch(f"run-{run}", f"w-{run}", 1 + first, [frame_of(said)], events), 0


def run_batches(count: int, *, steps: int) -> Batches:
    rng = random.Random(2)
    for run in range(count):
        at = START_US + run * 1_000_000
        tags = {f"tag-{n}": f"{run % 7}" for n in range(5)}
        said = [Event("run.started", at, {"experiment_name": "e", "name": f"r{run}", "tags": tags})]
        said += [Event("params.logged", at, {"params": {f"p{n}": str(run)}}) for n in range(20)]
        metrics = metrics_frame(rng, first=0, records=steps, keys=10, offset=len(said))
        end = Event("run.ended", at + steps, {"status": "FINISHED"})
        frames = [frame_of(said), metrics, frame_of([end], first=len(said) + steps)]
        yield batch(f"run-{run}", f"w-{run}", 1, frames, len(said) + steps + 1), steps * 10


def metrics_frame(
    rng: random.Random, *, first: int, records: int, keys: int, offset: int
) -> list[Any]:
    noisy = [array("f", [rng.gauss(1, 0.1) for _ in range(records)]) for _ in range(keys)]
    return wire.metrics_frame(
        offsets=range(offset, offset + records),
        keys=[f"metric-{k}" for k in range(keys)],
        steps=array("q", range(first, first + records)),
        times=array("q", [START_US + n * 1000 + rng.randrange(99) for n in range(records)]),
        values=[array("d", column) for column in noisy],
    )


def frame_of(events: Sequence[Event], *, first: int = 0) -> list[Any]:
    return wire.events_frame(offsets=range(first, first + len(events)), events=events)


def batch(
    run_id: str, writer_id: str, first_seq: int, frames: Sequence[list[Any]], n: int
) -> BatchToAppend:
    header = wire.BatchHeader(run_id, writer_id, 1, first_seq, n, first_seq % 2**32)
    return BatchToAppend(header, wire.encode_payload(frames))


if __name__ == "__main__":
    main()
