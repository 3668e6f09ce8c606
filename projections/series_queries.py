"""The series read store on SQLite: exact history and charts, sealed chunks and tail as one.

A query takes a snapshot of the projection in one transaction and reads the tail from the
log up to the checkpoint of that same transaction: a seal in between changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from projections.log import EventLogReader
from projections.read_models import Buckets, SeriesPage
from projections.readers import Readers
from projections.series_buckets import as_buckets, reduce_to_buckets
from projections.series_history import WINDOW_POINTS, Sweep
from projections.series_points import NO_POINTS, Points, merged
from projections.series_rollup import (
    BINS,
    CHUNK_POINTS,
    Bins,
    bins_of_points,
    bins_of_rollups,
    joined,
)
from projections.series_snapshot import (
    Chunk,
    Snapshot,
    StepRange,
    points_of,
    position_of,
    take_snapshot,
)
from projections.series_tail import TailReader

# Up to here a chart decodes the points themselves: some five milliseconds.
RAW_POINTS_MAX: Final = 262_144
# Beyond it, points are decoded only where roll-ups are too coarse, and so many at most.
REFINED_POINTS_MAX: Final = 1_048_576


class SeriesQueries:
    """See read_models.SeriesReadStore. `log` is the log that the projection folds."""

    def __init__(self, path: Path, log: EventLogReader) -> None:
        self._readers = Readers(path)
        self._tails = TailReader(log)

    async def position(self) -> int:
        return await self._readers.run(position_of)

    async def history(
        self, run_id: str, key: str, *, start_step: int | None, end_step: int | None
    ) -> AsyncIterator[SeriesPage]:
        steps = StepRange(start_step, end_step)
        snapshot, tail = await self._see(run_id, key, steps, with_bins=False)
        return self._pages(Sweep(snapshot.chunks, tail, steps))

    async def buckets(
        self,
        run_id: str,
        key: str,
        *,
        start_step: int | None,
        end_step: int | None,
        buckets_max: int,
    ) -> Buckets:
        steps = StepRange(start_step, end_step)
        snapshot, tail = await self._see(run_id, key, steps, with_bins=True)
        return await self._readers.run(
            lambda connection: chart(connection, snapshot.chunks, tail, steps, buckets_max)
        )

    async def aclose(self) -> None:
        await self._readers.aclose()

    async def _see(
        self, run_id: str, key: str, steps: StepRange, *, with_bins: bool
    ) -> tuple[Snapshot, Points]:
        snapshot = await self._readers.run(
            lambda connection: take_snapshot(connection, run_id, key, steps, with_bins=with_bins)
        )
        if not snapshot.has_tail:
            return snapshot, NO_POINTS
        tail = await self._tails.points(
            run_id, key, after=snapshot.tail_from, until=snapshot.position
        )
        return snapshot, tail.within(steps.start, steps.end)

    async def _pages(self, sweep: Sweep) -> AsyncIterator[SeriesPage]:
        while (window := await self._readers.run(sweep.window)) is not None:
            for start in range(0, len(window), WINDOW_POINTS):
                page = window.cut(start, start + WINDOW_POINTS)
                yield SeriesPage(page.steps, page.times_us, page.values)


def chart(
    connection: sqlite3.Connection,
    chunks: Sequence[Chunk],
    tail: Points,
    steps: StepRange,
    buckets_max: int,
) -> Buckets:
    """At most `buckets_max` buckets, or the points when there are fewer than twice as many."""
    if sum(chunk.n for chunk in chunks) + len(tail) <= max(RAW_POINTS_MAX, 2 * buckets_max):
        points = merged([*(points_of(connection, chunk, steps) for chunk in chunks), tail])
        bins = bins_of_points(points.steps, points.times_us, points.values)
        if len(points) < 2 * buckets_max:
            return as_buckets(bins)
    else:
        bins = _bins(connection, chunks, tail, steps, buckets_max)
        if int(bins.count.sum()) < 2 * buckets_max:
            # Most points of the chunks that were touched lie outside the range.
            points = merged([*(points_of(connection, chunk, steps) for chunk in chunks), tail])
            return as_buckets(bins_of_points(points.steps, points.times_us, points.values))
    return reduce_to_buckets(
        bins, buckets_max=buckets_max, start_step=steps.start, end_step=steps.end
    )


def _bins(
    connection: sqlite3.Connection,
    chunks: Sequence[Chunk],
    tail: Points,
    steps: StepRange,
    buckets_max: int,
) -> Bins:
    """Roll-ups where they are fine enough, points elsewhere; in order of arrival."""
    rolled = [
        i
        for i, chunk in enumerate(chunks)
        if chunk.n == CHUNK_POINTS and steps.holds(chunk.step_first, chunk.step_last)
    ]
    bins = bins_of_rollups(
        [chunks[i].axis_bins or b"" for i in rolled], [chunks[i].value_bins or b"" for i in rolled]
    )
    coarse = set(_too_coarse(bins, rolled, _width(chunks, tail, steps, buckets_max)))
    place_of = {i: place for place, i in enumerate(rolled) if i not in coarse}
    parts: list[Bins] = []
    start = stop = 0  # the roll-ups that are to be the next part, as places in `rolled`
    for i, chunk in enumerate(chunks):
        place = place_of.get(i)
        if place is None:
            parts.append(bins.cut(start * BINS, stop * BINS))
            start = stop
            points = points_of(connection, chunk, steps)
            parts.append(bins_of_points(points.steps, points.times_us, points.values))
        else:
            start = place if start == stop else start
            stop = place + 1
    parts.append(bins.cut(start * BINS, stop * BINS))
    return joined([*parts, bins_of_points(tail.steps, tail.times_us, tail.values)])


def _too_coarse(bins: Bins, rolled: Sequence[int], width: int) -> list[int]:
    """The chunks, the coarsest first, with a bin wider than half a bucket; within a budget."""
    spans = bins.last_step.view(np.uint64) - bins.first_step.view(np.uint64)
    widest = spans.reshape(-1, BINS).max(axis=1) if len(rolled) else spans
    order = np.argsort(widest, kind="stable")[::-1][: REFINED_POINTS_MAX // CHUNK_POINTS]
    return [rolled[i] for i in order.tolist() if 2 * int(widest[i]) >= max(width, 2)]


def _width(chunks: Sequence[Chunk], tail: Points, steps: StepRange, buckets_max: int) -> int:
    firsts = [chunk.step_first for chunk in chunks] + [int(s) for s in tail.steps[:1]]
    lasts = [chunk.step_last for chunk in chunks] + [int(s) for s in tail.steps[-1:]]
    low = min(firsts) if steps.start is None else steps.start
    high = max(lasts) if steps.end is None else steps.end
    return (high - low + 1) // buckets_max
