"""Roll-ups: a full chunk of 4,096 points as 4 bins of 1,024 and 32 of 128, and what bins hold.

A bin says of its points: first and last step and time, least and greatest value (NaN left
out), first and last value, how many and how many NaN. The steps and times of the bins
belong to the axis and are shared by its metrics. Bins lie uncompressed in rows of a few
sizes, so those of a thousand chunks are joined and read as one array; bins of 64 points
would be twice the bytes, for charts that nobody could tell apart. The bins of 1,024 are
small enough to lie in the chunk's own row, for series of many millions of points.

`min` and `max` of zeros are +0.0, and a bin without a number has the NaN of numpy, so that
the same points always give the same bytes. `first` and `last` are bit exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from projections.columns import Float64s, Int64s
from projections.series_codec import is_float32, widen_float32
from tracker.events.errors import CorruptPayload

CHUNK_POINTS: Final = 4096
COARSE: Final = 4
FINE: Final = 32
"""Bins a chunk."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Columns of one length, a row per bin. In order of chunk, then of step."""

    first_step: Int64s
    last_step: Int64s
    first_time_us: Int64s
    last_time_us: Int64s
    count: Int64s
    nan_count: Int64s
    min: Float64s
    max: Float64s
    first: Float64s
    last: Float64s

    def __len__(self) -> int:
        return len(self.count)

    def cut(self, start: int, stop: int) -> Bins:
        return Bins(*(getattr(self, field.name)[start:stop] for field in fields(Bins)))


def joined(parts: Sequence[Bins]) -> Bins:
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(Bins)]
    if not parts:
        integers, floats = np.empty(0, np.int64), np.empty(0, np.float64)
        return Bins(*(integers,) * 6, *(floats,) * 4)
    return Bins(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def bins_of_points(steps: Int64s, times_us: Int64s, values: Float64s) -> Bins:
    """Each point as a bin of one."""
    nans = np.isnan(values).astype(np.int64)
    count = np.ones(len(steps), np.int64)
    return Bins(steps, steps, times_us, times_us, count, nans, values, values, values, values)


def axis_rollup(steps: Int64s, times_us: Int64s, *, bins: int) -> bytes:
    """First and last step, first and last time of every bin of a full chunk."""
    rows = [column.reshape(bins, -1) for column in (steps, times_us)]
    ends = np.stack([rows[0][:, 0], rows[0][:, -1], rows[1][:, 0], rows[1][:, -1]])
    return ends.astype("<i8", copy=False).tobytes()


def value_rollup(values: Float64s, *, bins: int) -> bytes:
    """min, max, first, last of every bin of a full chunk, then the NaN counts if there are any.

    In float32 where that is exact; the length tells the form.
    """
    rows = values.reshape(bins, -1)
    nans = np.isnan(rows).sum(axis=1)
    has_nans = bool(nans.any())
    least = (np.fmin if has_nans else np.minimum).reduce(rows, axis=1) + 0.0
    greatest = (np.fmax if has_nans else np.maximum).reduce(rows, axis=1) + 0.0
    if has_nans:
        least[nans == rows.shape[1]] = np.nan
        greatest[nans == rows.shape[1]] = np.nan
    edges = np.concatenate([least, greatest, rows[:, 0], rows[:, -1]])
    packed = edges.astype("<f4" if is_float32(edges) else "<f8", copy=False).tobytes()
    return packed + nans.astype("<u2").tobytes() if has_nans else packed


def bins_of_rollups(axes: Sequence[bytes], values: Sequence[bytes], *, bins: int) -> Bins:
    """The bins of full chunks, from their axes' and their own roll-ups. Raises CorruptPayload."""
    chunks = len(axes)
    try:
        ends = np.frombuffer(b"".join(axes), "<i8").reshape(chunks, 4, bins)
    except ValueError:
        raise CorruptPayload("the roll-up of an axis has a wrong length") from None
    edges = np.empty((chunks, 4, bins), np.float64)
    nans = np.zeros((chunks, bins), np.int64)
    by_length: dict[int, list[int]] = {}
    for i, packed in enumerate(values):
        by_length.setdefault(len(packed), []).append(i)
    for length, rows in by_length.items():
        _unpack(b"".join([values[i] for i in rows]), length, rows, edges, nans)
    count = np.full(chunks * bins, CHUNK_POINTS // bins, np.int64)
    first_step, last_step, first_time, last_time = (ends[:, i].reshape(-1) for i in range(4))
    least, greatest, first, last = (edges[:, i].reshape(-1) for i in range(4))
    return Bins(
        first_step, last_step, first_time, last_time, count, nans.reshape(-1),
        least, greatest, first, last,
    )  # fmt: skip


def _unpack(
    data: bytes, length: int, rows: list[int], edges: Float64s, nans: NDArray[np.int64]
) -> None:
    bins = edges.shape[2]
    single, double, counts_bytes = 4 * bins * 4, 4 * bins * 8, 2 * bins
    if length not in (single, single + counts_bytes, double, double + counts_bytes):
        raise CorruptPayload("the roll-up of a chunk has a wrong length")
    is_single = length < double
    packed = np.frombuffer(data, np.uint8).reshape(len(rows), length)
    numbers = np.ascontiguousarray(packed[:, : single if is_single else double])
    if is_single:
        edges[rows] = widen_float32(numbers.view("<f4")).reshape(len(rows), 4, bins)
    else:
        edges[rows] = numbers.view("<f8").reshape(len(rows), 4, bins)
    if length not in (single, double):
        counts = np.ascontiguousarray(packed[:, -counts_bytes:]).view("<u2")
        nans[rows] = counts.reshape(len(rows), bins)
