"""Charts from what is stored: the coarsest level that is fine enough, chunk by chunk.

Up to a quarter of a million points come with the snapshot and are taken as they are. Beyond,
full chunks that lie within the range give bins of 1,024 points, where those make four to a
bucket, else bins of 128. Chunks whose bins are wide against a bucket (sparse or scattered
steps), those that the range cuts, short ones and the tail give their points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from projections.connection import Connection
from projections.read_models import Buckets
from projections.series_buckets import as_buckets, reduce_to_buckets
from projections.series_points import Points, merged
from projections.series_rollup import (
    CHUNK_POINTS,
    COARSE,
    FINE,
    Bins,
    bins_of_points,
    bins_of_rollups,
    joined,
)
from projections.series_snapshot import (
    Chunk,
    FineBins,
    NotInHand,
    Snapshot,
    StepRange,
    ask_for_points,
    fine_bins,
    points_of,
)

# Beyond it, points are decoded only where roll-ups are too coarse, and so many at most.
REFINED_POINTS_MAX: Final = 1_048_576
_COARSE_BINS_PER_BUCKET: Final = 4


def chart(
    connection: Connection | None,
    snapshot: Snapshot,
    tail: Points,
    steps: StepRange,
    buckets_max: int,
) -> Buckets:
    """At most `buckets_max` buckets, or the points when there are fewer than twice as many.

    Without a connection of what the snapshot holds; raises NotInHand when that is not enough.
    """
    if snapshot.holds_points:
        bins = _bins_of([*snapshot.points(steps), tail])
        return _as_asked(bins, steps, buckets_max)
    bins = _bins(connection, snapshot, tail, steps, buckets_max)
    if int(bins.count.sum()) < 2 * buckets_max:
        # Most points of the chunks that were touched lie outside the range.
        bins = _all_points(connection, snapshot.chunks, tail, steps)
    return _as_asked(bins, steps, buckets_max)


def with_roll_ups(
    connection: Connection, snapshot: Snapshot, steps: StepRange, buckets_max: int
) -> Snapshot:
    """The same snapshot with all roll-ups that a chart of it will need."""
    rolled = _rolled(snapshot.chunks, steps)
    if snapshot.holds_points or not rolled or _is_coarse_enough(rolled, buckets_max):
        return snapshot
    return replace(snapshot, fine=_fine_bins(connection, snapshot, rolled))


def _as_asked(bins: Bins, steps: StepRange, buckets_max: int) -> Buckets:
    if int(bins.count.sum()) < 2 * buckets_max:
        return as_buckets(bins)
    return reduce_to_buckets(
        bins, buckets_max=buckets_max, start_step=steps.start, end_step=steps.end
    )


def _all_points(
    connection: Connection | None, chunks: Sequence[Chunk], tail: Points, steps: StepRange
) -> Bins:
    ask_for_points(connection, chunks)
    return _bins_of([*(points_of(connection, chunk, steps) for chunk in chunks), tail])


def _bins_of(parts: Sequence[Points]) -> Bins:
    points = merged(parts)
    return bins_of_points(points.steps, points.times_us, points.values)


def _bins(
    connection: Connection | None,
    snapshot: Snapshot,
    tail: Points,
    steps: StepRange,
    buckets_max: int,
) -> Bins:
    """Roll-ups where they are fine enough, points elsewhere; in order of arrival."""
    chunks = snapshot.chunks
    rolled = _rolled(chunks, steps)
    width = _bucket_width(chunks, tail, steps, buckets_max)
    bins, per_chunk = _rolled_up(connection, snapshot, rolled, buckets_max)
    coarse = {rolled[place] for place in _too_wide(bins, per_chunk, width)}
    place_of = {i: place for place, i in enumerate(rolled) if i not in coarse}
    ask_for_points(connection, [chunk for i, chunk in enumerate(chunks) if i not in place_of])
    parts: list[Bins] = []
    start = stop = 0  # the roll-ups that are to be the next part, as places in `rolled`
    for i, chunk in enumerate(chunks):
        place = place_of.get(i)
        if place is None:
            parts.append(bins.cut(start * per_chunk, stop * per_chunk))
            start = stop
            points = points_of(connection, chunk, steps)
            parts.append(bins_of_points(points.steps, points.times_us, points.values))
        else:
            start = place if start == stop else start
            stop = place + 1
    parts.append(bins.cut(start * per_chunk, stop * per_chunk))
    return joined([*parts, bins_of_points(tail.steps, tail.times_us, tail.values)])


def _rolled(chunks: Sequence[Chunk], steps: StepRange) -> list[int]:
    """The places of the chunks whose roll-ups may stand for their points."""
    return [
        i
        for i, chunk in enumerate(chunks)
        if chunk.n == CHUNK_POINTS and steps.holds(chunk.step_first, chunk.step_last)
    ]


def _is_coarse_enough(rolled: Sequence[int], buckets_max: int) -> bool:
    return len(rolled) * COARSE >= _COARSE_BINS_PER_BUCKET * buckets_max


def _fine_bins(
    connection: Connection | None, snapshot: Snapshot, rolled: Sequence[int]
) -> FineBins:
    if snapshot.fine is not None:
        return snapshot.fine
    if connection is None:
        raise NotInHand
    first, last = (snapshot.chunks[rolled[place]].chunk_no for place in (0, -1))
    return fine_bins(connection, snapshot.metric_no, first, last)


def _rolled_up(
    connection: Connection | None, snapshot: Snapshot, rolled: Sequence[int], buckets_max: int
) -> tuple[Bins, int]:
    """The bins of the chunks `rolled`, and how many a chunk has."""
    chunks = snapshot.chunks
    if _is_coarse_enough(rolled, buckets_max):
        axes = [chunks[i].axis_coarse for i in rolled]
        values = [chunks[i].value_coarse for i in rolled]
        return bins_of_rollups(axes, values, bins=COARSE), COARSE
    if not rolled:
        return bins_of_rollups([], [], bins=FINE), FINE
    found = _fine_bins(connection, snapshot, rolled)
    pairs = [found[chunks[i].chunk_no] for i in rolled]
    bins = bins_of_rollups([a for a, _ in pairs], [v for _, v in pairs], bins=FINE)
    return bins, FINE


def _too_wide(bins: Bins, per_chunk: int, width: int) -> list[int]:
    """The places of chunks with a bin wider than half a bucket; the widest, within a budget."""
    spans = bins.last_step.view(np.uint64) - bins.first_step.view(np.uint64)
    widest = spans.reshape(-1, per_chunk).max(axis=1) if len(spans) else spans
    places = np.flatnonzero(widest >= max(1, (width + 1) // 2))
    order = np.argsort(widest[places], kind="stable")[::-1]
    chosen: list[int] = places[order[: REFINED_POINTS_MAX // CHUNK_POINTS]].tolist()
    return chosen


def _bucket_width(chunks: Sequence[Chunk], tail: Points, steps: StepRange, buckets_max: int) -> int:
    firsts = [chunk.step_first for chunk in chunks] + [int(step) for step in tail.steps[:1]]
    lasts = [chunk.step_last for chunk in chunks] + [int(step) for step in tail.steps[-1:]]
    low = min(firsts) if steps.start is None else steps.start
    high = max(lasts) if steps.end is None else steps.end
    return (high - low + 1) // buckets_max
