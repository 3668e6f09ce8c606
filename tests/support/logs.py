"""Making logs for tests: records of a writer, cut into batches, put in some order."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from ingest.event_stores.base import BatchToAppend
from projections.columns import decode_payload
from projections.log import GENESIS_CHAIN, StoredBatch, chain_link
from projections.projection import DecodedBatch
from tracker.events import wire
from tracker.events.types import Event


@dataclass(frozen=True)
class Metrics:
    """One record of metrics, as one log call makes it."""

    values: Mapping[str, float]
    step: int
    time_us: int


@dataclass(frozen=True)
class Dropped:
    width: int
    time_us: int


Record = Metrics | Dropped | Event


def width_of(record: Record) -> int:
    return record.width if isinstance(record, Dropped) else 1


def event(type: str, time_us: int = 1_000, **data: Any) -> Event:
    return Event(type, time_us, data)


def payload_of(records: Sequence[Record]) -> bytes:
    """The payload a shipper makes: metrics regrouped by keys, events in one frame."""
    frames: list[list[Any]] = []
    groups: defaultdict[tuple[str, ...], list[tuple[int, Metrics]]] = defaultdict(list)
    events: list[tuple[int, Event]] = []
    offset = 0
    for record in records:
        match record:
            case Metrics():
                groups[tuple(record.values)].append((offset, record))
            case Dropped():
                frames.append(
                    wire.dropped_frame(
                        offset=offset, width=record.width, time_us=record.time_us, reason="test"
                    )
                )
            case Event():
                events.append((offset, record))
        offset += width_of(record)
    for keys, group in groups.items():
        frames.append(
            wire.metrics_frame(
                offsets=[at for at, _ in group],
                keys=keys,
                steps=array("q", [m.step for _, m in group]),
                times=array("q", [m.time_us for _, m in group]),
                values=[array("d", [m.values[key] for _, m in group]) for key in keys],
            )
        )
    if events:
        offsets = [at for at, _ in events]
        frames.append(wire.events_frame(offsets=offsets, events=[e for _, e in events]))
    return wire.encode_payload(frames)


def batch_to_append(
    run_id: str, writer_id: str, first_seq: int, records: Sequence[Record]
) -> BatchToAppend:
    payload = payload_of(records)
    n = sum(map(width_of, records))
    header = wire.BatchHeader(run_id, writer_id, 1, first_seq, n, crc32(payload))
    return BatchToAppend(header, payload)


class LogOfBatches:
    """A log in memory: append records, take the batches."""

    def __init__(self) -> None:
        self.batches: list[StoredBatch] = []
        self._next_seq: defaultdict[str, int] = defaultdict(lambda: 1)

    def append(self, run_id: str, writer_id: str, records: Iterable[Record]) -> StoredBatch:
        records = list(records)
        batch = batch_to_append(run_id, writer_id, self._next_seq[writer_id], records)
        self._next_seq[writer_id] += batch.header.n
        previous = self.batches[-1] if self.batches else None
        facts: dict[str, Any] = {
            "first_position": previous.last_position + 1 if previous else 1,
            "n": batch.header.n,
            "run_id": run_id,
            "writer_id": writer_id,
            "epoch": 1,
            "first_seq": batch.header.first_seq,
            "records_crc": batch.header.records_crc,
            "received_at_us": 1_700_000_000_000_000,
            "schema": 1,
            "payload_sha256": hashlib.sha256(batch.payload).digest(),
        }
        chain = chain_link(previous.chain_sha256 if previous else GENESIS_CHAIN, **facts)
        stored = StoredBatch(**facts, chain_sha256=chain, payload=batch.payload)
        self.batches.append(stored)
        return stored

    def decoded(self) -> list[DecodedBatch]:
        return [decoded(batch) for batch in self.batches]


def decoded(batch: StoredBatch) -> DecodedBatch:
    return batch, decode_payload(batch.payload, n=batch.n)
