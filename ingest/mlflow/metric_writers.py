"""Server-side writers: metrics that came over MLflow's API, appended to the log.

A server has one writer per run it was sent metrics for. Its id is random, so a restart or
a second server begins a sequence of its own and never continues another's. While one
append is on its way to the disk, what else arrives for the run is gathered into the next:
the sequence is appended in order, whatever the store does, and many small requests cost
few commits. A request is answered when its records are durable.

When an append fails, nobody knows whether it was stored: the writer is given up, whoever
waited is told to send again, and the next request begins a new writer.

MLflow's clients send a request again when its answer was lost, and to MLflow the same
point twice is one point. So a writer remembers the requests it stored last, and what comes
again is answered without being appended.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final
from zlib import crc32

from ingest.counters import ServerCounters
from ingest.errors import Busy, ShuttingDown
from ingest.event_stores.base import AppendOutcome, BatchToAppend, EventStore
from ingest.liveness import LeaseBook
from ingest.mlflow.metric_points import MetricBatch, Rows
from tracker.events import wire
from tracker.events.types import Event, validate

# One append takes at most so many points, and as many requests: some 200 kB of payload.
POINTS_PER_APPEND_MAX: Final = 64_000
REQUESTS_PER_APPEND_MAX: Final = 64
# Beyond it a run's requests are told to come again: the disk does not keep up.
REQUESTS_WAITING_MAX: Final = 1_024
# Writers of runs that are quiet are let go; a retry comes within minutes of its request.
RUNS_KEPT_MAX: Final = 4_096
REQUESTS_REMEMBERED_MAX: Final = 128
_PREFIX: Final = "mlflow-"


@dataclass(slots=True)
class _Request:
    batch: MetricBatch
    digest: bytes
    stored: asyncio.Future[None]


@dataclass(slots=True)
class _RunWriter:
    run_id: str
    writer_id: str
    next_seq: int = 1
    waiting: list[_Request] = field(default_factory=list)
    # Requests under way and the last that were stored, by their contents.
    known: OrderedDict[bytes, asyncio.Future[None]] = field(default_factory=OrderedDict)
    task: asyncio.Task[None] | None = None


class MetricWriters:
    """Used from one event loop. `aclose` it before the store."""

    def __init__(self, store: EventStore, leases: LeaseBook, counters: ServerCounters) -> None:
        self._store = store
        self._leases = leases
        self._counters = counters
        self._writers: OrderedDict[str, _RunWriter] = OrderedDict()
        self._is_closed = False

    async def append(self, run_id: str, batch: MetricBatch) -> None:
        """Return when the batch is durable. Raises what EventStore.append raises, and Busy."""
        if not batch.records:
            return
        if self._is_closed:
            raise ShuttingDown("the server is stopping; send it again", retry_after_s=1.0)
        for event in batch.events:
            validate(event)
        writer = self._writer(run_id)
        digest = _digest(batch)
        stored = writer.known.get(digest)
        if stored is None:
            stored = self._put(writer, batch, digest)
        # Others may wait for the same: one that goes away must not take it with it.
        await asyncio.shield(stored)

    async def aclose(self) -> None:
        """Append what was accepted. What comes later is refused."""
        self._is_closed = True
        tasks = [writer.task for writer in self._writers.values() if writer.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def _writer(self, run_id: str) -> _RunWriter:
        writer = self._writers.get(run_id)
        if writer is None:
            writer = self._writers[run_id] = _RunWriter(run_id, _new_writer_id())
            self._let_go()
        else:
            self._writers.move_to_end(run_id)
        return writer

    def _let_go(self) -> None:
        surplus = len(self._writers) - RUNS_KEPT_MAX
        if surplus <= 0:
            return
        quiet = [run_id for run_id, writer in self._writers.items() if writer.task is None]
        for run_id in quiet[:surplus]:
            del self._writers[run_id]

    def _put(self, writer: _RunWriter, batch: MetricBatch, digest: bytes) -> asyncio.Future[None]:
        if len(writer.waiting) >= REQUESTS_WAITING_MAX:
            raise Busy("this run's metrics come faster than they are stored", retry_after_s=1.0)
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        writer.waiting.append(_Request(batch, digest, stored))
        writer.known[digest] = stored
        while len(writer.known) > REQUESTS_REMEMBERED_MAX + len(writer.waiting):
            writer.known.popitem(last=False)
        if writer.task is None:
            writer.task = loop.create_task(self._run(writer), name=f"metrics of {writer.run_id}")
        return stored

    async def _run(self, writer: _RunWriter) -> None:
        """Append what waits, again and again, until nothing does."""
        try:
            while writer.waiting:
                requests = _taken(writer.waiting)
                try:
                    await self._append(writer, requests)
                except Exception as error:  # noqa: BLE001  # told to every request that waits for it
                    self._give_up(writer, requests, error)
                    return
                for request in requests:
                    request.stored.set_result(None)
        finally:
            writer.task = None

    async def _append(self, writer: _RunWriter, requests: Sequence[_Request]) -> None:
        frames, n, points = _frames([request.batch for request in requests])
        payload = wire.encode_payload(frames)
        header = wire.BatchHeader(
            run_id=writer.run_id,
            writer_id=writer.writer_id,
            epoch=1,
            first_seq=writer.next_seq,
            n=n,
            records_crc=crc32(payload),
        )
        result = await self._store.append(BatchToAppend(header, payload))
        writer.next_seq = result.next_seq
        self._leases.renew(writer.writer_id, writer.run_id)
        counters = self._counters
        counters.appends[AppendOutcome.APPENDED] += 1
        counters.records += n
        counters.points += points
        counters.bytes += len(payload)

    def _give_up(self, writer: _RunWriter, requests: Sequence[_Request], error: Exception) -> None:
        if self._writers.get(writer.run_id) is writer:
            del self._writers[writer.run_id]
        for request in (*requests, *writer.waiting):
            request.stored.set_exception(error)
            # Whoever asked may have gone; then nobody looks at it, and that is fine.
            request.stored.exception()
        writer.waiting.clear()


def _taken(waiting: list[_Request]) -> list[_Request]:
    """The first requests, as many as one append takes; at least one."""
    points = count = 0
    for request in waiting[:REQUESTS_PER_APPEND_MAX]:
        points += request.batch.points + len(request.batch.events)
        if count and points > POINTS_PER_APPEND_MAX:
            break
        count += 1
    taken = waiting[:count]
    del waiting[:count]
    return taken


def _frames(batches: Sequence[MetricBatch]) -> tuple[list[list[Any]], int, int]:
    """(frames, records, points). Records of the same keys share a frame."""
    offset = points = 0
    groups: dict[tuple[str, ...], tuple[list[range], list[Rows]]] = {}
    events: list[Event] = []
    event_offsets: list[int] = []
    for batch in batches:
        points += batch.points
        for rows in batch.rows:
            places, group = groups.setdefault(rows.keys, ([], []))
            places.append(range(offset, offset + len(rows.steps)))
            group.append(rows)
            offset += len(rows.steps)
        event_offsets.extend(range(offset, offset + len(batch.events)))
        events.extend(batch.events)
        offset += len(batch.events)
    frames = [_frame(keys, *group) for keys, group in groups.items()]
    if events:
        frames.append(wire.events_frame(offsets=event_offsets, events=events))
    return frames, offset, points


def _frame(keys: tuple[str, ...], places: Sequence[range], group: Sequence[Rows]) -> list[Any]:
    first = group[0]
    steps, times, values = first.steps, first.times_us, first.values
    if len(group) > 1:
        steps = _joined("q", [rows.steps for rows in group])
        times = _joined("q", [rows.times_us for rows in group])
        columns = zip(*[rows.values for rows in group], strict=True)
        values = [_joined("d", column) for column in columns]
    return wire.metrics_frame(
        offsets=[*chain.from_iterable(places)], keys=keys, steps=steps, times=times, values=values
    )


def _joined(typecode: str, parts: Sequence[array[Any]]) -> array[Any]:
    return array(typecode, b"".join([part.tobytes() for part in parts]))


def _digest(batch: MetricBatch) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for rows in batch.rows:
        found.update(repr((rows.keys, len(rows.steps))).encode())
        found.update(rows.steps)
        found.update(rows.times_us)
        found.update(b"".join([column.tobytes() for column in rows.values]))
    for event in batch.events:
        found.update(repr(event).encode())
    return found.digest()


def _new_writer_id() -> str:
    return _PREFIX + os.urandom(16).hex()
