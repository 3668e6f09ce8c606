"""Counting and fingerprinting what a log says of each run, to compare two of them.

The fingerprint of a run is a sum, modulo 2^64, over its records: (writer, sequence, step,
time, key, value bits) of every point, and the contents of every other event. So it does not
depend on positions, on how records were cut into batches, or on the order in which they
arrived, and two logs that fold to the same run have the same one. It tells accidents, not
attacks: those the hash chain tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from projections.columns import Columns, MetricFrame
from projections.projection import DecodedBatch

Uint64s = NDArray[np.uint64]

_MASK: Final = 2**64 - 1
_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@dataclass(slots=True)
class Count:
    """`points_hash` leaves out who logged a point: what tables of points can be held against."""

    events: int = 0
    points: int = 0
    dropped: int = 0
    hash: int = 0
    points_hash: int = 0

    def add(self, other: Count) -> None:
        self.events += other.events
        self.points += other.points
        self.dropped += other.dropped
        self.hash = (self.hash + other.hash) & _MASK
        self.points_hash = (self.points_hash + other.points_hash) & _MASK


@dataclass(slots=True)
class Tally:
    """By (run, writer), as a destination may have writers of its own."""

    with_points: bool = False
    batches: int = 0
    by_writer: dict[tuple[str, str], Count] = field(default_factory=dict)

    def take(self, items: Iterable[DecodedBatch]) -> None:
        for batch, columns in items:
            self.batches += 1
            key = (batch.run_id, batch.writer_id)
            count = self.by_writer.get(key)
            if count is None:
                count = self.by_writer[key] = Count()
            self._take(count, batch.writer_id, batch.first_seq, columns)

    def by_run(self, of: Iterable[tuple[str, str]] | None = None) -> dict[str, Count]:
        """Summed up by run; of these writers only, if given."""
        runs: dict[str, Count] = {}
        for key in self.by_writer if of is None else of:
            count = self.by_writer.get(key)
            if count is not None:
                runs.setdefault(key[0], Count()).add(count)
        return runs

    def _take(self, count: Count, writer_id: str, first_seq: int, columns: Columns) -> None:
        total = 0
        writer = seed_of(writer_id)
        for frame in columns.metrics:
            total += _frame_hash(frame, writer, first_seq)
            if self.with_points:
                count.points_hash = (count.points_hash + _points_hash(frame)) & _MASK
        count.points += columns.points
        count.events += sum(len(frame.steps) for frame in columns.metrics) + len(columns.events)
        for item in columns.events:
            event = item.event
            said = [writer_id, first_seq + item.offset, event.type, event.version, event.time_us]
            total += _content_hash([*said, event.data])
        for lost in columns.dropped:
            count.dropped += lost.width
            # One range may arrive as two: what is summed does not tell.
            total += (lost.width * seed_of(f"{writer_id}\0{lost.reason}")) & _MASK
        count.hash = (count.hash + total) & _MASK


def _frame_hash(frame: MetricFrame, writer: int, first_seq: int) -> int:
    base = frame.offsets.view(np.uint64) + np.uint64((first_seq + writer) & _MASK)
    return _values_hash(frame, _record_hash(frame, mixed(base)))


def _points_hash(frame: MetricFrame) -> int:
    return _values_hash(frame, _record_hash(frame, np.zeros(len(frame.steps), np.uint64)))


def _record_hash(frame: MetricFrame, base: Uint64s) -> Uint64s:
    base = mixed(base ^ np.ascontiguousarray(frame.steps).view(np.uint64))
    return mixed(base ^ np.ascontiguousarray(frame.times_us).view(np.uint64))


def _values_hash(frame: MetricFrame, base: Uint64s) -> int:
    total = 0
    for key, column in zip(frame.keys, frame.values, strict=True):
        total += values_hash(base, np.uint64(seed_of(key)), column)
    return total


def values_hash(base: Uint64s, key: np.uint64 | Uint64s, column: NDArray[np.float64]) -> int:
    bits = np.ascontiguousarray(column).view(np.uint64)
    return int(mixed(base ^ (bits + key)).sum(dtype=np.uint64))


def mixed(numbers: Uint64s) -> Uint64s:
    """splitmix64's finaliser: every bit of the input moves half of the output's."""
    numbers = numbers ^ (numbers >> _S30)
    numbers = numbers * _A
    numbers = numbers ^ (numbers >> _S27)
    numbers = numbers * _B
    return numbers ^ (numbers >> _S31)


@lru_cache(maxsize=100_000)
def seed_of(text: str) -> int:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little")


def _content_hash(said: list[Any]) -> int:
    try:
        text = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits, which msgpack can hold and orjson cannot
        text = repr(said).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
