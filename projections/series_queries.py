"""The series read store: exact history and charts, sealed chunks and tail as one.

A query takes a snapshot of the projection in one transaction and reads the tail from the
log up to the checkpoint of that same transaction: a seal in between changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from projections.connection import Connection
from projections.log import EventLogReader
from projections.projection import ProjectionStoreFailed
from projections.read_models import Buckets, SeriesPage
from projections.readers import QueryReaders, Readers
from projections.series_chart import chart, with_roll_ups
from projections.series_history import WINDOW_POINTS, Sweep
from projections.series_points import NO_POINTS, Points
from projections.series_snapshot import NotInHand, Snapshot, StepRange, position_of, take_snapshot
from projections.series_tail import TailReader
from tracker.events.errors import CorruptPayload

T = TypeVar("T")


class SeriesQueries:
    """See read_models.SeriesReadStore. `log` is the log that the projection folds."""

    def __init__(self, tables: Path | QueryReaders, log: EventLogReader) -> None:
        self._readers = Readers(tables) if isinstance(tables, Path) else tables
        self._tails = TailReader(log)

    async def position(self) -> int:
        return await _run(self._readers, position_of)

    async def history(
        self, run_id: str, key: str, *, start_step: int | None, end_step: int | None
    ) -> AsyncIterator[SeriesPage]:
        steps = StepRange(start_step, end_step)

        def query(connection: Connection) -> Snapshot:
            return take_snapshot(connection, run_id, key, steps, for_chart=False)

        snapshot = await _run(self._readers, query)
        tail = await self._tail(snapshot, run_id, key, steps)
        readers = self._readers.pinned(snapshot.build)
        return _pages(readers, Sweep(snapshot.chunks, tail, steps))

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

        def query(connection: Connection) -> tuple[Snapshot, Buckets | None]:
            snapshot = take_snapshot(connection, run_id, key, steps, for_chart=True)
            if not snapshot.has_tail:
                return snapshot, chart(connection, snapshot, NO_POINTS, steps, buckets_max)
            return with_roll_ups(connection, snapshot, steps, buckets_max), None

        snapshot, found = await _run(self._readers, query)
        if found is None:
            tail = await self._tail(snapshot, run_id, key, steps)
            found = await self._chart(snapshot, tail, steps, buckets_max)
        return replace(found, position=snapshot.position)

    async def _chart(
        self, snapshot: Snapshot, tail: Points, steps: StepRange, buckets_max: int
    ) -> Buckets:
        try:
            with _what_is_damaged(self._readers):
                return await asyncio.to_thread(chart, None, snapshot, tail, steps, buckets_max)
        except NotInHand:
            return await _run(
                self._readers.pinned(snapshot.build),
                lambda connection: chart(connection, snapshot, tail, steps, buckets_max),
            )

    async def aclose(self) -> None:
        await self._readers.aclose()

    async def _tail(self, snapshot: Snapshot, run_id: str, key: str, steps: StepRange) -> Points:
        if not snapshot.has_tail:
            return NO_POINTS
        tail = await self._tails.points(
            run_id, key, after=snapshot.tail_from, until=snapshot.position
        )
        return tail.within(steps.start, steps.end)


@contextmanager
def _what_is_damaged(readers: QueryReaders) -> Iterator[None]:
    try:
        yield
    except CorruptPayload as error:
        # What was asked is fine; a 4xx would blame the caller.
        raise ProjectionStoreFailed(f"{readers.label} is damaged, rebuild it: {error}") from error


async def _run(readers: QueryReaders, query: Callable[[Connection], T]) -> T:
    with _what_is_damaged(readers):
        return await readers.run(query)


async def _pages(readers: QueryReaders, sweep: Sweep) -> AsyncIterator[SeriesPage]:
    while (window := await _run(readers, sweep.window)) is not None:
        for start in range(0, len(window), WINDOW_POINTS):
            page = window.cut(start, start + WINDOW_POINTS)
            yield SeriesPage(page.steps, page.times_us, page.values)
