"""One state of a series: its chunks, and where its tail lies in the log.

A snapshot is taken in one transaction. Full chunks are never changed or removed, so their
points may be read later, in other transactions; those of short chunks, which the next seal
may take up, are read with the snapshot (a dozen at most).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from projections.connection import Connection, prefetch
from projections.series_codec import decode_values
from projections.series_ints import decode_ints
from projections.series_points import Points
from projections.series_rollup import CHUNK_POINTS
from projections.sqlite import statements
from tracker.events.limits import INT64_MAX, INT64_MIN

SQL: Final = statements("series_queries.sql")
# A chart reads so many as they are: some five milliseconds.
RAW_POINTS_MAX: Final = 262_144


@dataclass(frozen=True, slots=True)
class StepRange:
    """Both ends included; None is open."""

    start: int | None
    end: int | None

    def holds(self, first: int, last: int) -> bool:
        """Whether it holds all steps from `first` to `last`."""
        return (self.start is None or self.start <= first) and (
            self.end is None or last <= self.end
        )


class Chunk(NamedTuple):
    """`points` are set where the snapshot holds them, `coarse` roll-ups where asked for.

    A tuple, as a chart of ten million points makes thousands.
    """

    chunk_id: int
    chunk_no: int
    axis_id: int
    n: int
    step_first: int
    step_last: int
    axis_coarse: bytes = b""
    value_coarse: bytes = b""
    points: Points | None = None


FineBins: TypeAlias = Mapping[int, tuple[bytes, bytes]]
"""Of axis and values."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`chunks` are those that touch the range, by number. The tail ends at `position`.

    `fine` are fine roll-ups by the number of their chunk, if they were read with it.
    """

    position: int
    tail_from: int
    has_tail: bool
    metric_no: int
    chunks: list[Chunk]
    build: str | None = None
    fine: FineBins | None = None

    @property
    def holds_points(self) -> bool:
        """Whether every chunk's points are here."""
        return all(chunk.points is not None for chunk in self.chunks)

    def points(self, steps: StepRange) -> list[Points]:
        """The points within the range of the chunks that hold theirs."""
        return [
            _within(chunk.points, chunk, steps) for chunk in self.chunks if chunk.points is not None
        ]


def take_snapshot(
    connection: Connection, run_id: str, key: str, steps: StepRange, *, for_chart: bool
) -> Snapshot:
    """With the points of short chunks; for a chart with those of all chunks when they are few,
    else with coarse roll-ups."""
    asked = {"run_id": run_id, "key": key}
    found = connection.execute(SQL["run_and_metric"], asked).fetchone()
    position, tail_from, tail_points, metric_no, build = found
    if tail_from is None:
        return Snapshot(position, position, False, 0, [])
    chunks: list[Chunk] = []
    if metric_no is not None:
        values = {
            "metric_no": metric_no,
            "start_step": INT64_MIN if steps.start is None else steps.start,
            "end_step": INT64_MAX if steps.end is None else steps.end,
        }
        found = connection.execute(SQL["chunks_with_coarse" if for_chart else "chunks"], values)
        chunks = [Chunk(*row) for row in found]
        takes_all = for_chart and sum([chunk.n for chunk in chunks]) <= RAW_POINTS_MAX
        taken = {chunk.chunk_no for chunk in chunks if takes_all or chunk.n != CHUNK_POINTS}
        ask_for_points(connection, [chunk for chunk in chunks if chunk.chunk_no in taken])
        chunks = [
            _with_points(connection, chunk) if chunk.chunk_no in taken else chunk
            for chunk in chunks
        ]
    return Snapshot(position, tail_from, tail_points > 0, metric_no or 0, chunks, build)


class NotInHand(Exception):  # as the others here: it says what happened
    """A snapshot does not hold what is asked of it."""


def position_of(connection: Connection) -> int:
    return int(connection.execute(SQL["position"]).fetchone()[0])


def ask_for_points(connection: Connection | None, chunks: Sequence[Chunk]) -> None:
    """Say that the points of these will be read."""
    if connection is None:
        return
    to_read = [chunk for chunk in chunks if chunk.points is None]
    prefetch(connection, SQL["points"], [(chunk.chunk_id, chunk.axis_id) for chunk in to_read])


def points_of(connection: Connection | None, chunk: Chunk, steps: StepRange) -> Points:
    """The chunk's points within the range. Raises NotInHand without a connection, if it must
    be asked for them."""
    points = chunk.points
    if points is None:
        if connection is None:
            raise NotInHand
        points = _read_points(connection, chunk)
    return _within(points, chunk, steps)


def _within(points: Points, chunk: Chunk, steps: StepRange) -> Points:
    if steps.holds(chunk.step_first, chunk.step_last):
        return points
    return points.within(steps.start, steps.end)


def fine_bins(connection: Connection, metric_no: int, first_no: int, last_no: int) -> FineBins:
    """The fine roll-ups of the full chunks of these numbers."""
    asked = {"metric_no": metric_no, "first_no": first_no, "last_no": last_no}
    found = connection.execute(SQL["bins"], asked)
    return {chunk_no: (axis, values) for chunk_no, axis, values in found}


def _with_points(connection: Connection, chunk: Chunk) -> Chunk:
    return chunk._replace(points=_read_points(connection, chunk))


def _read_points(connection: Connection, chunk: Chunk) -> Points:
    asked = (chunk.chunk_id, chunk.axis_id)
    data, steps, times = connection.execute(SQL["points"], asked).fetchone()
    n = chunk.n
    return Points(decode_ints(steps, n), decode_ints(times, n), decode_values(data, n))
