"""The rows of the series projection as the fold writes them.

Everything happens inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from projections.columns import Float64s, Int64s
from projections.connection import Connection, WritableConnection, prefetch
from projections.series_codec import decode_values, encode_values
from projections.series_fold import Cohort, RunTail, cuts, stable_order, taken_up
from projections.series_ints import decode_ints, encode_ints
from projections.series_rollup import CHUNK_POINTS, COARSE, FINE, axis_rollup, value_rollup
from projections.sqlite import statements

SQL: Final = statements("series_store.sql")

# A chunk's number is free only when the chunk that had it is gone.
_IN_ORDER: Final = (
    "remove_chunk", "remove_chunk_values", "remove_axis", "remove_axis_points",
    "insert_axis", "insert_axis_bins", "insert_axis_points",
    "insert_chunk", "insert_chunk_bins", "insert_chunk_values",
)  # fmt: skip
_WRITE_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class _ShortChunk:
    chunk_id: int
    axis_id: int
    n: int


@dataclass(slots=True)
class _Metric:
    metric_no: int
    chunks: int
    short: list[_ShortChunk]


def load_run(connection: Connection, run_id: str) -> RunTail | None:
    row = connection.execute(SQL["run"], (run_id,)).fetchone()
    return RunTail(row[0], run_id, *row[1:]) if row else None


def store_runs(connection: WritableConnection, tails: Iterable[RunTail]) -> None:
    rows = [
        (
            tail.run_id, tail.run_no, tail.tail_from, tail.batches, tail.points, tail.bytes,
            tail.sealed_points, tail.metrics,
        )
        for tail in tails
    ]  # fmt: skip
    connection.executemany(SQL["put_run"], rows)


class Sealer:
    """Seals cohorts of one run. Make it, `seal` each cohort, `finish`.

    Rows are gathered and written together: a seal may touch 50,000 metrics. What a seal
    takes up was there before it, so nothing is read that was not written yet.
    """

    def __init__(self, connection: WritableConnection, run_no: int) -> None:
        self._connection = connection
        self._run_no = run_no
        self._next_axis = self._number("next_id", "axis")
        self._next_chunk = self._number("next_id", "chunk")
        self._next_metric = self._number("metrics_count") + 1
        self._metrics = self._load_metrics()
        self._touched: dict[str, _Metric] = {}
        self._known_below = self._next_metric
        self._rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in _IN_ORDER}
        self._gathered = 0

    def seal(self, cohort: Cohort) -> None:
        """Store a cohort's points in chunks, with the short chunks they take up."""
        new_points = len(cohort.steps)
        by_axes: dict[tuple[int, ...], list[int]] = {}
        for i, key in enumerate(cohort.keys):
            metric = self._metrics.get(key)
            if metric is None:
                metric = self._metrics[key] = _Metric(self._next_metric, 0, [])
                self._next_metric += 1
            self._touched[key] = metric
            count = taken_up([chunk.n for chunk in metric.short], new_points)
            axes = tuple(chunk.axis_id for chunk in metric.short[len(metric.short) - count :])
            by_axes.setdefault(axes, []).append(i)
        for axes, members in by_axes.items():
            self._seal_together(cohort, axes, members)

    def finish(self) -> int:
        """Write what is left; return how many metrics the run has."""
        self._write()
        numbers = [(self._next_axis, "axis"), (self._next_chunk, "chunk")]
        self._connection.executemany(SQL["put_next_id"], numbers)
        new = {k: m for k, m in self._touched.items() if m.metric_no >= self._known_below}
        old = [m for m in self._touched.values() if m.metric_no < self._known_below]
        put = self._connection.executemany
        put(SQL["insert_key"], [(key,) for key in new])
        put(
            SQL["insert_metric"],
            [(self._run_no, metric.metric_no, metric.chunks, key) for key, metric in new.items()],
        )
        put(SQL["set_chunks"], [(metric.chunks, metric.metric_no) for metric in old])
        return len(self._metrics)

    def _seal_together(self, cohort: Cohort, axes: tuple[int, ...], members: list[int]) -> None:
        """Metrics that take up chunks on the same axes: their new axes are the same, too."""
        taken = [self._axis_points(axis_id) for axis_id in axes]
        steps = np.concatenate([*(steps for steps, _ in taken), cohort.steps])
        times = np.concatenate([*(times for _, times in taken), cohort.times_us])
        order = stable_order(steps)
        if order is not None:
            steps, times = steps[order], times[order]
        for axis_id in axes:
            self._leave_axis(axis_id, uses=len(members))
        pieces = list(cuts(len(steps)))
        axis_ids = [
            self._put_axis(steps[start:stop], times[start:stop], uses=len(members))
            for start, stop in pieces
        ]
        taken_ids = [
            (chunk.chunk_id,)
            for i in members
            for chunk in _last(self._metrics[cohort.keys[i]].short, len(axes))
        ]
        prefetch(self._connection, SQL["chunk_values"], taken_ids)
        for i in members:
            metric = self._metrics[cohort.keys[i]]
            values = self._with_taken(metric, len(axes), cohort.values[i])
            if order is not None:
                values = values[order]
            for (start, stop), axis_id in zip(pieces, axis_ids, strict=True):
                self._put_chunk(metric, values[start:stop], axis_id)
            if self._gathered >= _WRITE_ROWS:
                self._write()

    def _with_taken(self, metric: _Metric, count: int, new: Float64s) -> Float64s:
        if count == 0:
            return new
        taken, metric.short = metric.short[-count:], metric.short[:-count]
        metric.chunks -= count
        parts = []
        for chunk in taken:
            (data,) = self._connection.execute(SQL["chunk_values"], (chunk.chunk_id,)).fetchone()
            parts.append(decode_values(data, chunk.n))
            self._put("remove_chunk", chunk.chunk_id)
            self._put("remove_chunk_values", chunk.chunk_id)
        return np.concatenate([*parts, new])

    def _put_chunk(self, metric: _Metric, values: Float64s, axis_id: int) -> None:
        n, chunk_id = len(values), self._next_chunk
        coarse = None
        if n == CHUNK_POINTS:
            coarse = value_rollup(values, bins=COARSE)
            self._put("insert_chunk_bins", chunk_id, value_rollup(values, bins=FINE))
        else:
            metric.short.append(_ShortChunk(chunk_id, axis_id, n))
        self._put("insert_chunk", chunk_id, metric.metric_no, metric.chunks, axis_id, n, coarse)
        self._put("insert_chunk_values", chunk_id, encode_values(values))
        self._next_chunk += 1
        metric.chunks += 1

    def _put_axis(self, steps: Int64s, times: Int64s, *, uses: int) -> int:
        axis_id, n = self._next_axis, len(steps)
        coarse = None
        if n == CHUNK_POINTS:
            coarse = axis_rollup(steps, times, bins=COARSE)
            self._put("insert_axis_bins", axis_id, axis_rollup(steps, times, bins=FINE))
        self._put("insert_axis", axis_id, uses, n, int(steps[0]), int(steps[-1]), coarse)
        self._put("insert_axis_points", axis_id, encode_ints(steps), encode_ints(times))
        self._next_axis += 1
        return axis_id

    def _leave_axis(self, axis_id: int, *, uses: int) -> None:
        ((left,),) = self._connection.execute(SQL["leave_axis"], (uses, axis_id)).fetchall()
        if left == 0:
            self._put("remove_axis", axis_id)
            self._put("remove_axis_points", axis_id)

    def _put(self, statement: str, *row: object) -> None:
        self._rows[statement].append(row)
        self._gathered += 1

    def _write(self) -> None:
        for name, rows in self._rows.items():
            if rows:
                self._connection.executemany(SQL[name], rows)
            rows.clear()
        self._gathered = 0

    def _axis_points(self, axis_id: int) -> tuple[Int64s, Int64s]:
        steps, times, n = self._connection.execute(SQL["axis_points"], (axis_id,)).fetchone()
        return decode_ints(steps, n), decode_ints(times, n)

    def _load_metrics(self) -> dict[str, _Metric]:
        execute = self._connection.execute
        metrics = {
            key: _Metric(metric_no, chunks, [])
            for key, metric_no, chunks in execute(SQL["metrics_of_run"], (self._run_no,))
        }
        by_number = {metric.metric_no: metric for metric in metrics.values()}
        for metric_no, *chunk in execute(SQL["chunks_to_merge"], (self._run_no,)):
            by_number[metric_no].short.append(_ShortChunk(*chunk))
        return metrics

    def _number(self, statement: str, *values: str) -> int:
        return int(self._connection.execute(SQL[statement], values).fetchone()[0])


def _last(chunks: list[_ShortChunk], count: int) -> list[_ShortChunk]:
    return chunks[len(chunks) - count :]
