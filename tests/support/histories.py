"""A log with something of everything, in a SQLite store: what replays and archives are tried on."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ingest.errors import StoreUnavailable
from ingest.event_stores.base import EventStore
from ingest.event_stores.sqlite import SqliteEventStore
from ingest.replay.job import ReplayReport, ReplayRequest, replay
from ingest.replay.places import destination_of, source_of
from tests.support.logs import Dropped, Metrics, Record, batch_to_append, event

START_US = 1_700_000_000_000_000
MODEL_BYTES = b"weights " * 5_000
MODEL_SHA256 = hashlib.sha256(MODEL_BYTES).hexdigest()
RUNS = 6


async def make_store(path: Path, *, runs: int = RUNS, batches: int = 4) -> None:
    """`runs` runs of two experiments: vision for even numbers, speech for odd ones."""
    store = await SqliteEventStore.open(path)
    await fill(store, runs=runs, batches=batches)
    await store.aclose()


async def fill(store: EventStore, *, runs: int = RUNS, batches: int = 4) -> None:
    created = event("experiment.created", START_US, experiment_id="42", name="planned")
    await store.append_decision(run_id="", events=[created], decided_at=0)
    writers = [(f"run-{number}", f"w{number}") for number in range(runs)]
    next_seqs = {writer_id: 1 for _, writer_id in writers}

    async def append(run_id: str, writer_id: str, records: list[Record]) -> None:
        batch = batch_to_append(run_id, writer_id, next_seqs[writer_id], records)
        next_seqs[writer_id] += batch.header.n
        while True:
            # On a machine that stalls, PostgreSQL ends a transaction that stood still.
            with suppress(StoreUnavailable):
                await store.append(batch)
                return
            await asyncio.sleep(0.02)

    for number, (run_id, writer_id) in enumerate(writers):
        await append(run_id, writer_id, _beginning(number))
    for part in range(batches):
        for number, (run_id, writer_id) in enumerate(writers):
            await append(run_id, writer_id, _training(number, part))
    for run_id, writer_id in writers[:-1]:
        ended = event("run.ended", START_US + 10**9, status="FINISHED")
        await append(run_id, writer_id, [ended])
    decided_at = (await store.head()).next_position - 1
    tagged = event("tags.set", START_US + 2 * 10**9, tags={"reviewed": "yes"})
    await store.append_decision(run_id="run-0", events=[tagged], decided_at=decided_at)


def _beginning(number: int) -> list[Record]:
    name = "vision" if number % 2 == 0 else "speech"
    return [
        event("run.started", START_US + number, experiment_name=name, name=f"run {number}"),
        event("params.logged", START_US + number, params={"lr": str(0.1 * number), "x": "y"}),
        event("tags.set", START_US + number, tags={"team": "é"}),
        event(
            "artifact.logged", START_US + number, path="model/weights.bin",
            digest=MODEL_SHA256, size=len(MODEL_BYTES),
        ),
    ]  # fmt: skip


def _training(number: int, part: int) -> list[Record]:
    records: list[Record] = []
    for index in range(25):
        step = part * 25 + index
        loss = math.nan if step == 7 else 1.0 / (1 + step) + number
        records.append(Metrics({"loss": loss, "acc": -0.0}, step, START_US + 1000 * step))
    if part == 1:
        records.append(Dropped(3, START_US))
    records.append(event("tags.set", START_US + part, tags={"part": str(part)}))
    return records


async def replayed(source: Any, destination: Any, **given: Any) -> ReplayReport:
    """One replay in this process, by the texts that the command line takes."""
    request = ReplayRequest(source_of(str(source)), destination_of(str(destination)), **given)
    return await replay(request, nothing_shown)


nothing_shown: Callable[..., None] = lambda stage, progress: None  # noqa: E731 - a callback
