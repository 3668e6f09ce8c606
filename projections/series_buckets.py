"""Charts: bins become at most N buckets of equal width in steps. Pure.

The grid divides the steps asked for (or, without a range, the steps there are) into N
parts; a bin lies in the part that holds its first step. So every point is in exactly one
bucket, and a bucket says which steps it really holds. min, max, first, last and counts are
those of its points: bins only ever sum up points, so no spike is lost on the way.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from projections.columns import Float64s, Int64s
from projections.read_models import Buckets
from projections.series_rollup import Bins

_EXACT_PRODUCT: Final = 2**63


def as_buckets(bins: Bins) -> Buckets:
    """Points as their own buckets: bins of one point each, in order of step."""
    return Buckets(
        False, len(bins),
        bins.first_step, bins.last_step, bins.first_time_us, bins.last_time_us,
        bins.count, bins.nan_count, bins.min, bins.max, bins.first, bins.last,
    )  # fmt: skip


def reduce_to_buckets(
    bins: Bins, *, buckets_max: int, start_step: int | None, end_step: int | None
) -> Buckets:
    """Sum up bins, of which there is at least one, in at most `buckets_max` buckets.

    Bins are in order of arrival where their steps are equal.
    """
    low = int(bins.first_step.min()) if start_step is None else start_step
    high = int(bins.last_step.max()) if end_step is None else end_step
    order = _order(bins.first_step)
    firsts = bins.first_step[order]
    number = bucket_numbers(firsts, low=low, high=high, buckets_max=buckets_max)
    starts = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))
    # The last point of a bucket is that of the bin that ends last, not that begins last.
    lasts = bins.last_step[order]
    if isinstance(order, slice) and (lasts[1:] >= lasts[:-1]).all():
        ends = np.append(starts[1:], len(bins)) - 1
    else:
        arrival = np.arange(len(bins))[order]
        by_end = np.lexsort((arrival, lasts, number))
        ends = by_end[np.append(starts[1:], len(bins)) - 1]
    return Buckets(
        is_reduced=True,
        points=int(bins.count.sum()),
        first_step=firsts[starts],
        last_step=lasts[ends],
        first_time_us=bins.first_time_us[order][starts],
        last_time_us=bins.last_time_us[order][ends],
        count=np.add.reduceat(bins.count[order], starts),
        nan_count=np.add.reduceat(bins.nan_count[order], starts),
        min=_reduced(np.fmin, bins.min[order], starts),
        max=_reduced(np.fmax, bins.max[order], starts),
        first=bins.first[order][starts],
        last=bins.last[order][ends],
    )


def bucket_numbers(steps: Int64s, *, low: int, high: int, buckets_max: int) -> NDArray[np.uint64]:
    """The bucket, 0 … buckets_max - 1, of each step of low … high."""
    span = high - low + 1
    offsets = steps.view(np.uint64) - np.uint64(low % 2**64)
    if span * buckets_max < _EXACT_PRODUCT:
        return offsets * np.uint64(buckets_max) // np.uint64(span)
    # The same division for spans that leave 64 bits: bucket i begins at ceil(i * span / N).
    edges = [-(-i * span // buckets_max) for i in range(1, buckets_max)]
    return np.array(edges, np.uint64).searchsorted(offsets, "right").astype(np.uint64)


def _order(steps: Int64s) -> slice | NDArray[np.int64]:
    if (steps[1:] >= steps[:-1]).all():
        return slice(None)
    return np.argsort(steps, kind="stable")


def _reduced(least_or_greatest: np.ufunc, column: Float64s, starts: NDArray[np.int64]) -> Float64s:
    with np.errstate(invalid="ignore"):  # a signalling NaN may raise the flag
        reduced: Float64s = least_or_greatest.reduceat(column, starts) + 0.0
    return reduced
