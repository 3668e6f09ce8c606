"""Metric summaries of one run, as columns: a rule on numpy, with no loop over points or keys.

A summary is twelve int64: a float64 is held as its *rank*, the integer that sorts as the
float does (-NaN < -inf < … < -0.0 < 0.0 < … < inf < NaN). Then every summary is a maximum
or a minimum of integers, so merging is commutative, associative and exact in its bits:

    last   maximum of (step, time, rank)      first  minimum of the same
    min    minimum of (rank, step), no NaN    max    maximum rank, then the smallest step
    count, nan_count   sums

Minimum and maximum take -0.0 as 0.0; `first` and `last` keep every bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from projections.columns import Float64s, Int64s, MetricFrame
from tracker.events.limits import INT64_MAX, INT64_MIN

LAST_STEP, LAST_US, LAST_RANK = 0, 1, 2
FIRST_STEP, FIRST_US, FIRST_RANK = 3, 4, 5
MIN_RANK, MIN_STEP = 6, 7
MAX_RANK, MAX_STEP = 8, 9
COUNT, NAN_COUNT = 10, 11
FIELDS: Final = 12

# The summary of no points: what loses every comparison.
_NOTHING: Final = np.array(
    [INT64_MIN] * 3 + [INT64_MAX] * 3 + [INT64_MAX, INT64_MAX, INT64_MIN, INT64_MAX, 0, 0],
    np.int64,
)
_SLOTS_AT_FIRST: Final = 16
_ALL_BUT_SIGN: Final = np.int64(INT64_MAX)

Summaries = NDArray[np.int64]
"""Shape (FIELDS, keys)."""


def ranks_of(values: Float64s) -> Int64s:
    bits = values.view(np.int64)
    return bits ^ ((bits >> 63) & _ALL_BUT_SIGN)


def bits_of(ranks: Int64s) -> Int64s:
    """The inverse of `ranks_of`, as the float64's bits."""
    return ranks ^ ((ranks >> 63) & _ALL_BUT_SIGN)


class MetricTable:
    """The summaries of a run's metrics: one slot per key id, in order of first appearance."""

    __slots__ = ("_slots", "changed", "data", "key_ids")

    def __init__(self) -> None:
        self.key_ids: list[int] = []
        self.data: Summaries = np.empty((FIELDS, 0), np.int64)
        self.changed: set[int] = set()  # slots
        self._slots: dict[int, int] = {}

    @classmethod
    def of_rows(cls, key_ids: Sequence[int], data: Summaries) -> MetricTable:
        """What was stored: column i of `data` belongs to `key_ids[i]`."""
        table = cls()
        table.slots_for(key_ids)
        table.data[:, : len(key_ids)] = data
        return table

    def __len__(self) -> int:
        return len(self.key_ids)

    def slots_for(self, key_ids: Sequence[int]) -> list[int]:
        """The slots of these keys; new keys get new ones."""
        slots = self._slots
        missing = [key_id for key_id in key_ids if key_id not in slots]
        for key_id in missing:
            slots[key_id] = len(self.key_ids)
            self.key_ids.append(key_id)
        self._grow()
        return [slots[key_id] for key_id in key_ids]

    def merge(self, key_ids: Sequence[int], summaries: Summaries) -> None:
        """Merge column i of `summaries` into the summary of `key_ids[i]` (no key twice)."""
        slots = self.slots_for(key_ids)
        self.changed.update(slots)
        mine = self.data[:, slots]
        self.data[:, slots] = merged(mine, summaries)

    def _grow(self) -> None:
        capacity = self.data.shape[1]
        if len(self.key_ids) <= capacity:
            return
        wider = np.empty((FIELDS, max(_SLOTS_AT_FIRST, len(self.key_ids), 2 * capacity)), np.int64)
        wider[:, :capacity] = self.data
        wider[:, capacity:] = _NOTHING[:, None]
        self.data = wider


def merged(a: Summaries, b: Summaries) -> Summaries:
    """Column by column the summary of the points of both. Shapes (FIELDS, keys)."""
    out = np.empty_like(a)
    a_is_last = _is_less(b, a, LAST_STEP, LAST_US, LAST_RANK)
    out[LAST_STEP : LAST_RANK + 1] = np.where(a_is_last, a[:3], b[:3])
    a_is_first = _is_less(a, b, FIRST_STEP, FIRST_US, FIRST_RANK)
    out[FIRST_STEP : FIRST_RANK + 1] = np.where(a_is_first, a[3:6], b[3:6])
    a_is_min = _is_less(a, b, MIN_RANK, MIN_STEP)
    out[MIN_RANK : MIN_STEP + 1] = np.where(a_is_min, a[6:8], b[6:8])
    a_is_max = (a[MAX_RANK] > b[MAX_RANK]) | (
        (a[MAX_RANK] == b[MAX_RANK]) & (a[MAX_STEP] < b[MAX_STEP])
    )
    out[MAX_RANK : MAX_STEP + 1] = np.where(a_is_max, a[8:10], b[8:10])
    out[COUNT:] = a[COUNT:] + b[COUNT:]
    return out


def summarised(frames: Sequence[MetricFrame]) -> Summaries:
    """The summaries of frames that all have the same keys, in the order of those keys."""
    if len(frames) == 1:
        steps, times = frames[0].steps, frames[0].times_us
        columns = list(frames[0].values)
    else:
        steps = np.concatenate([frame.steps for frame in frames])
        times = np.concatenate([frame.times_us for frame in frames])
        columns = [f.values[k] for k in range(len(frames[0].keys)) for f in frames]
    keys = len(frames[0].keys)
    values = columns[0][None, :] if len(columns) == 1 else np.concatenate(columns)
    values = values.reshape(keys, len(steps))
    out = np.empty((FIELDS, keys), np.int64)
    _put_ends(out, steps, times, values)
    _put_extremes(out, steps, values)
    out[COUNT] = len(steps)
    return out


def _put_ends(out: Summaries, steps: Int64s, times: Int64s, values: Float64s) -> None:
    last = _ties(steps, times, steps.max(), greatest=True)
    out[LAST_STEP], out[LAST_US] = steps[last[0]], times[last[0]]
    out[LAST_RANK] = ranks_of(np.ascontiguousarray(values[:, last])).max(axis=1)
    first = _ties(steps, times, steps.min(), greatest=False)
    out[FIRST_STEP], out[FIRST_US] = steps[first[0]], times[first[0]]
    out[FIRST_RANK] = ranks_of(np.ascontiguousarray(values[:, first])).min(axis=1)


def _ties(steps: Int64s, times: Int64s, step: np.int64, *, greatest: bool) -> NDArray[np.intp]:
    """Where this step stands with the greatest (or smallest) time: seldom more than one place."""
    at = np.flatnonzero(steps == step)
    if len(at) > 1:
        there = times[at]
        at = at[there == (there.max() if greatest else there.min())]
    return at


def _put_extremes(out: Summaries, steps: Int64s, values: Float64s) -> None:
    rows = np.arange(len(values))
    # The first place of an extreme is the one with the smallest step when steps ascend.
    # argmin and argmax stop at a NaN, so a NaN in the result tells that there is one.
    if len(steps) == 1 or bool((steps[1:] >= steps[:-1]).all()):
        low, high = values.argmin(axis=1), values.argmax(axis=1)
        least, most = values[rows, low], values[rows, high]
        if not np.isnan(least).any():
            out[MIN_RANK], out[MIN_STEP] = ranks_of(least + 0.0), steps[low]
            out[MAX_RANK], out[MAX_STEP] = ranks_of(most + 0.0), steps[high]
            out[NAN_COUNT] = 0
            return
    is_nan = np.isnan(values)
    out[NAN_COUNT] = is_nan.sum(axis=1)
    ranks = ranks_of(values + 0.0)
    for field, far, reduce in ((MIN_RANK, INT64_MAX, np.min), (MAX_RANK, INT64_MIN, np.max)):
        there = np.where(is_nan, far, ranks)
        extreme = reduce(there, axis=1)
        at = (there == extreme[:, None]) & ~is_nan
        out[field] = extreme
        out[field + 1] = np.where(at, steps, INT64_MAX).min(axis=1)


def _is_less(a: Summaries, b: Summaries, *fields: int) -> NDArray[np.bool_]:
    """Lexicographic a < b over these fields, per column."""
    *before, last = fields
    less: NDArray[np.bool_] = a[last] < b[last]
    for field in reversed(before):
        less = (a[field] < b[field]) | ((a[field] == b[field]) & less)
    return less
