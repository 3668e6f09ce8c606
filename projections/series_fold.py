"""When a run's tail is sealed, and what the sealed chunks are. Pure: no clock, no I/O.

Theory
------
A point is (step, time, value) of one metric of one run, and it arrived at a position of the
log. A series is its points in order of step; points of one step in order of arrival.

The newest points of a run are not stored here at all: they are its *tail*, read from the
log. A run's row says where the tail begins. When the tail is large enough, all of it is
*sealed* at once, for every metric of the run: so there is one beginning per run and not
one per metric, and a run with 50,000 keys costs one row until it has something to seal.

Sealing is decided after each batch, by counts over the log alone (`is_to_be_sealed`):
never by how batches were handed over, nor by time. So a rebuild seals at the same places,
and its rows are the same. The bounds keep a tail cheap to read and a seal worth its rows.

A metric's sealed points are *chunks*, numbered. A chunk holds at most 4,096 points, in
order. Sealing makes one sorted run of a metric's new points and cuts it into chunks; the
last may be short. Short chunks are taken up by later seals as long as they are at most
twice as large as what is taken so far: so each point is rewritten O(log 4,096) times, and a
metric has a dozen short chunks at most, all after its full ones. A full chunk is final; it
is never changed or removed, which lets readers stream from it without a transaction.

Of two points of one step, the one in the chunk with the lower number arrived earlier:
within one seal because the sort is stable, between seals because whatever a seal takes up
are the metric's last chunks. Chunks may overlap in steps (resumed runs, several writers);
the reader merges them.

Metrics that were logged together have the same steps and times. Those that take up the
same chunks' axes and the same new records share their new *axis* too, without comparing
anything: it follows from where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from projections.columns import Float64s, Int64s, MetricFrame
from projections.series_rollup import CHUNK_POINTS

# A million bytes of values: the tail of a run of 20 metrics fills a chunk of each, and
# to read it costs a few milliseconds.
TAIL_POINTS_MAX: Final = 131_072
# A wide run may hold more, or its chunks would be too small to be worth a row each.
TAIL_POINTS_PER_METRIC: Final = 64
# Runs that log little in many batches: to read a batch costs more than to read its points.
TAIL_BATCHES_MAX: Final = 256
TAIL_BATCHES_POINTS_PER_METRIC: Final = 8
# Batches without points are read with the rest of the tail.
TAIL_BYTES_MAX: Final = 16 * 1024 * 1024

PlacedFrame = tuple[int, MetricFrame]
"""A frame and the position of the sequence number its offsets count from."""


@dataclass(slots=True)
class RunTail:
    """The row of a run. `batches`, `points` and `bytes` are those of the tail."""

    run_no: int
    run_id: str
    tail_from: int = 0
    batches: int = 0
    points: int = 0
    bytes: int = 0
    sealed_points: int = 0
    metrics: int = 0

    def add(self, *, first_position: int, points: int, payload_bytes: int) -> None:
        """Count a batch of the run. A tail begins at the first batch that holds points."""
        if self.points == 0:
            self.tail_from, self.batches, self.bytes = first_position - 1, 0, 0
        self.batches += 1
        self.points += points
        self.bytes += payload_bytes

    def seal(self, *, through: int, metrics: int) -> None:
        """Everything up to the position `through` is in chunks now."""
        self.sealed_points += self.points
        self.tail_from, self.metrics = through, metrics
        self.batches = self.points = self.bytes = 0


def is_to_be_sealed(tail: RunTail) -> bool:
    if tail.points >= max(TAIL_POINTS_MAX, TAIL_POINTS_PER_METRIC * tail.metrics):
        return True
    if tail.points < TAIL_BATCHES_POINTS_PER_METRIC * tail.metrics:
        return tail.bytes >= 4 * TAIL_BYTES_MAX
    return tail.batches >= TAIL_BATCHES_MAX or tail.bytes >= TAIL_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Cohort:
    """Metrics with the same steps and times, in order; a column of values per key."""

    keys: tuple[str, ...]
    steps: Int64s
    times_us: Int64s
    values: tuple[Float64s, ...]


def cohorts(frames: Sequence[PlacedFrame]) -> Iterator[Cohort]:
    """The points of a tail, sorted, metrics of the same records together.

    Frames are in order of position of their batches; metrics are in order of appearance.
    """
    by_keys: dict[tuple[str, ...], list[int]] = {}
    for i, (_, frame) in enumerate(frames):
        by_keys.setdefault(frame.keys, []).append(i)
    signatures: dict[str, list[int]] = {}
    for number, keys in enumerate(by_keys):
        for key in keys:
            signatures.setdefault(key, []).append(number)
    members: dict[tuple[int, ...], list[str]] = {}
    for key, numbers in signatures.items():
        members.setdefault(tuple(numbers), []).append(key)
    indexes = list(by_keys.values())
    for numbers_of, together in members.items():
        chosen = sorted(i for number in numbers_of for i in indexes[number])
        yield _cohort([frames[i] for i in chosen], together)


def _cohort(frames: Sequence[PlacedFrame], keys: Sequence[str]) -> Cohort:
    steps = np.concatenate([frame.steps for _, frame in frames])
    times = np.concatenate([frame.times_us for _, frame in frames])
    arrival = np.concatenate([frame.offsets + first for first, frame in frames])
    order = _order(steps, arrival)
    by_keys = {frame.keys: {key: i for i, key in enumerate(frame.keys)} for _, frame in frames}
    places = [(frame.values, by_keys[frame.keys]) for _, frame in frames]
    columns = []
    for key in keys:
        column = np.concatenate([values[at[key]] for values, at in places])
        columns.append(column if order is None else column[order])
    if order is not None:
        steps, times = steps[order], times[order]
    return Cohort(tuple(keys), steps, times, tuple(columns))


def _order(steps: Int64s, arrival: Int64s) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """The permutation that sorts by step, then by arrival; None when they are in order."""
    if (steps[1:] >= steps[:-1]).all() and (arrival[1:] > arrival[:-1]).all():
        return None
    return np.lexsort((arrival, steps))


def stable_order(steps: Int64s) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """The permutation that sorts by step and keeps the order of equals; None when in order."""
    if (steps[1:] >= steps[:-1]).all():
        return None
    return np.argsort(steps, kind="stable")


def taken_up(sizes: Sequence[int], new_points: int) -> int:
    """How many of a metric's short chunks, from the last, a seal of `new_points` takes up."""
    total, count = new_points, 0
    for size in reversed(sizes):
        if size > 2 * total:
            break
        total += size
        count += 1
    return count


def cuts(n: int) -> Iterator[tuple[int, int]]:
    """Where a run of n points is cut into chunks."""
    for start in range(0, n, CHUNK_POINTS):
        yield start, min(start + CHUNK_POINTS, n)
