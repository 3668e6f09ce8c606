"""The rows of the series projection as the fold writes them, on its one writing connection.

Everything happens inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from projections.columns import Float64s, Int64s
from projections.series_codec import decode_values, encode_values
from projections.series_fold import Cohort, RunTail, cuts, stable_order, taken_up
from projections.series_ints import decode_ints, encode_ints
from projections.series_rollup import CHUNK_POINTS, axis_rollup, value_rollup
from projections.sqlite import statements

SQL: Final = statements("series_store.sql")


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


def load_run(connection: sqlite3.Connection, run_id: str) -> RunTail | None:
    row = connection.execute(SQL["run"], (run_id,)).fetchone()
    return RunTail(row[0], run_id, *row[1:]) if row else None


def store_run(connection: sqlite3.Connection, tail: RunTail) -> None:
    row = (
        tail.run_id, tail.run_no, tail.tail_from, tail.batches, tail.points, tail.bytes,
        tail.sealed_points, tail.metrics,
    )  # fmt: skip
    connection.execute(SQL["put_run"], row)


class Sealer:
    """Seals cohorts of one run. Make it, `seal` each cohort, `finish`."""

    def __init__(self, connection: sqlite3.Connection, run_no: int) -> None:
        self._connection = connection
        self._run_no = run_no
        self._next_axis = self._next_id("axis")
        self._next_chunk = self._next_id("chunk")
        self._metrics = self._load_metrics()

    def seal(self, cohort: Cohort) -> None:
        """Store a cohort's points in chunks, with the short chunks they take up."""
        new_points = len(cohort.steps)
        by_axes: dict[tuple[int, ...], list[int]] = {}
        for i, key in enumerate(cohort.keys):
            metric = self._metrics.get(key) or self._add_metric(key)
            count = taken_up([chunk.n for chunk in metric.short], new_points)
            axes = tuple(chunk.axis_id for chunk in metric.short[len(metric.short) - count :])
            by_axes.setdefault(axes, []).append(i)
        for axes, members in by_axes.items():
            self._seal_together(cohort, axes, members)

    def finish(self) -> int:
        """Write the counters back; return how many metrics the run has."""
        for kind, number in (("axis", self._next_axis), ("chunk", self._next_chunk)):
            self._connection.execute(SQL["put_next_id"], (number, kind))
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
        axis_ids = [
            self._put_axis(steps[start:stop], times[start:stop], uses=len(members))
            for start, stop in cuts(len(steps))
        ]
        for i in members:
            metric = self._metrics[cohort.keys[i]]
            values = self._with_taken(metric, len(axes), cohort.values[i])
            self._put_chunks(metric, values if order is None else values[order], axis_ids)

    def _with_taken(self, metric: _Metric, count: int, new: Float64s) -> Float64s:
        if count == 0:
            return new
        taken, metric.short = metric.short[-count:], metric.short[:-count]
        metric.chunks -= count
        parts = []
        for chunk in taken:
            (data,) = self._connection.execute(SQL["chunk_values"], (chunk.chunk_id,)).fetchone()
            parts.append(decode_values(data, chunk.n))
            self._connection.execute(SQL["remove_chunk"], (chunk.chunk_id,))
            self._connection.execute(SQL["remove_chunk_values"], (chunk.chunk_id,))
        return np.concatenate([*parts, new])

    def _put_chunks(self, metric: _Metric, values: Float64s, axis_ids: Sequence[int]) -> None:
        execute = self._connection.execute
        for (start, stop), axis_id in zip(cuts(len(values)), axis_ids, strict=True):
            part, n, chunk_id = values[start:stop], stop - start, self._next_chunk
            bins = value_rollup(part) if n == CHUNK_POINTS else None
            row = (chunk_id, metric.metric_no, metric.chunks, axis_id, n, bins)
            execute(SQL["insert_chunk"], row)
            execute(SQL["insert_chunk_values"], (chunk_id, encode_values(part)))
            if n < CHUNK_POINTS:
                metric.short.append(_ShortChunk(chunk_id, axis_id, n))
            self._next_chunk += 1
            metric.chunks += 1
        execute(SQL["set_chunks"], (metric.chunks, metric.metric_no))

    def _put_axis(self, steps: Int64s, times: Int64s, *, uses: int) -> int:
        axis_id, n = self._next_axis, len(steps)
        bins = axis_rollup(steps, times) if n == CHUNK_POINTS else None
        row = (axis_id, uses, n, int(steps[0]), int(steps[-1]), bins)
        self._connection.execute(SQL["insert_axis"], row)
        points = (axis_id, encode_ints(steps), encode_ints(times))
        self._connection.execute(SQL["insert_axis_points"], points)
        self._next_axis += 1
        return axis_id

    def _leave_axis(self, axis_id: int, *, uses: int) -> None:
        ((left,),) = self._connection.execute(SQL["leave_axis"], (uses, axis_id)).fetchall()
        if left == 0:
            self._connection.execute(SQL["remove_axis"], (axis_id,))
            self._connection.execute(SQL["remove_axis_points"], (axis_id,))

    def _axis_points(self, axis_id: int) -> tuple[Int64s, Int64s]:
        steps, times, n = self._connection.execute(SQL["axis_points"], (axis_id,)).fetchone()
        return decode_ints(steps, n), decode_ints(times, n)

    def _add_metric(self, key: str) -> _Metric:
        self._connection.execute(SQL["insert_key"], (key,))
        ((metric_no,),) = self._connection.execute(
            SQL["insert_metric"], (self._run_no, key)
        ).fetchall()
        metric = self._metrics[key] = _Metric(metric_no, 0, [])
        return metric

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

    def _next_id(self, kind: str) -> int:
        return int(self._connection.execute(SQL["next_id"], (kind,)).fetchone()[0])
