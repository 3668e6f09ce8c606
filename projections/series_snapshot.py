"""One state of a series: its chunks, and where its tail lies in the log.

A snapshot is taken in one transaction. Full chunks are never changed or removed, so their
points may be read later, in other transactions; those of short chunks, which the next seal
may take up, are read with the snapshot (a dozen at most).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from projections.series_codec import decode_values
from projections.series_ints import decode_ints
from projections.series_points import Points
from projections.series_rollup import CHUNK_POINTS
from projections.sqlite import statements
from tracker.events.limits import INT64_MAX, INT64_MIN

SQL: Final = statements("series_queries.sql")


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


@dataclass(frozen=True, slots=True)
class Chunk:
    """`points` are set for short chunks, the roll-ups for full ones where asked for."""

    chunk_id: int
    chunk_no: int
    axis_id: int
    n: int
    step_first: int
    step_last: int
    axis_bins: bytes | None = None
    value_bins: bytes | None = None
    points: Points | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`chunks` are those that touch the range, by number. The tail ends at `position`."""

    position: int
    tail_from: int
    has_tail: bool
    chunks: list[Chunk]


def take_snapshot(
    connection: sqlite3.Connection, run_id: str, key: str, steps: StepRange, *, with_bins: bool
) -> Snapshot:
    position = position_of(connection)
    tail = connection.execute(SQL["tail"], (run_id,)).fetchone()
    if tail is None:
        return Snapshot(position, position, False, [])
    chunks = []
    metric = connection.execute(SQL["metric"], (run_id, key)).fetchone()
    if metric is not None:
        values = {
            "metric_no": metric[0],
            "start_step": INT64_MIN if steps.start is None else steps.start,
            "end_step": INT64_MAX if steps.end is None else steps.end,
        }
        found = connection.execute(SQL["chunks_with_bins" if with_bins else "chunks"], values)
        chunks = [
            Chunk(*row) if row[3] == CHUNK_POINTS else _short(connection, Chunk(*row))
            for row in found.fetchall()
        ]
    return Snapshot(position, tail[0], tail[1] > 0, chunks)


def position_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute(SQL["position"]).fetchone()[0])


def points_of(connection: sqlite3.Connection, chunk: Chunk, steps: StepRange) -> Points:
    """The chunk's points within the range."""
    points = chunk.points or _read_points(connection, chunk)
    if steps.holds(chunk.step_first, chunk.step_last):
        return points
    return points.within(steps.start, steps.end)


def _short(connection: sqlite3.Connection, chunk: Chunk) -> Chunk:
    points = _read_points(connection, chunk)
    return Chunk(
        chunk.chunk_id, chunk.chunk_no, chunk.axis_id, chunk.n,
        chunk.step_first, chunk.step_last, points=points,
    )  # fmt: skip


def _read_points(connection: sqlite3.Connection, chunk: Chunk) -> Points:
    (data,) = connection.execute(SQL["values"], (chunk.chunk_id,)).fetchone()
    steps, times = connection.execute(SQL["axis_points"], (chunk.axis_id,)).fetchone()
    n = chunk.n
    return Points(decode_ints(steps, n), decode_ints(times, n), decode_values(data, n))
