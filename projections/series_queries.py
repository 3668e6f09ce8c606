"""The series read store on SQLite: exact history and charts, sealed chunks and tail as one.

A query takes a snapshot of the projection in one transaction and reads the tail from the
log up to the checkpoint of that same transaction: a seal in between changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from projections.log import EventLogReader
from projections.projection import ProjectionStoreFailed
from projections.read_models import Buckets, SeriesPage
from projections.readers import Readers
from projections.series_chart import chart
from projections.series_history import WINDOW_POINTS, Sweep
from projections.series_points import NO_POINTS, Points
from projections.series_snapshot import Snapshot, StepRange, position_of, take_snapshot
from projections.series_tail import TailReader
from tracker.events.errors import CorruptPayload

T = TypeVar("T")


class SeriesQueries:
    """See read_models.SeriesReadStore. `log` is the log that the projection folds."""

    def __init__(self, path: Path, log: EventLogReader) -> None:
        self._path = path
        self._readers = Readers(path)
        self._tails = TailReader(log)

    async def position(self) -> int:
        return await self._run(position_of)

    async def history(
        self, run_id: str, key: str, *, start_step: int | None, end_step: int | None
    ) -> AsyncIterator[SeriesPage]:
        steps = StepRange(start_step, end_step)
        snapshot, tail = await self._see(run_id, key, steps, with_coarse=False)
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
        snapshot, tail = await self._see(run_id, key, steps, with_coarse=True)
        return await self._run(
            lambda connection: chart(connection, snapshot, tail, steps, buckets_max)
        )

    async def aclose(self) -> None:
        await self._readers.aclose()

    async def _run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._readers.run(query)
        except CorruptPayload as error:
            # What was asked is fine; a 4xx would blame the caller.
            raise ProjectionStoreFailed(f"{self._path} is damaged, rebuild it: {error}") from error

    async def _see(
        self, run_id: str, key: str, steps: StepRange, *, with_coarse: bool
    ) -> tuple[Snapshot, Points]:
        snapshot = await self._run(
            lambda connection: take_snapshot(
                connection, run_id, key, steps, with_coarse=with_coarse
            )
        )
        if not snapshot.has_tail:
            return snapshot, NO_POINTS
        tail = await self._tails.points(
            run_id, key, after=snapshot.tail_from, until=snapshot.position
        )
        return snapshot, tail.within(steps.start, steps.end)

    async def _pages(self, sweep: Sweep) -> AsyncIterator[SeriesPage]:
        while (window := await self._run(sweep.window)) is not None:
            for start in range(0, len(window), WINDOW_POINTS):
                page = window.cut(start, start + WINDOW_POINTS)
                yield SeriesPage(page.steps, page.times_us, page.values)
