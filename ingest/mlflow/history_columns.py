"""A metric's whole history in MLflow's orders, as columns, and what is picked from them.

To MLflow a point is (timestamp in ms, step, value): the same one twice is one point, and
histories come in order of timestamp, charts in order of step. NaN counts as 0 in an order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.mlflow.entities import LARGEST
from projections.columns import Float64s, Int64s
from projections.read_models import SeriesReadStore


@dataclass(frozen=True, slots=True)
class History:
    """Columns of one length. Infinities are MLflow's; NaN is NaN."""

    times_ms: Int64s
    steps: Int64s
    values: Float64s

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def nbytes(self) -> int:
        return self.times_ms.nbytes + self.steps.nbytes + self.values.nbytes

    def cut(self, start: int, stop: int) -> History:
        return History(self.times_ms[start:stop], self.steps[start:stop], self.values[start:stop])

    def take(self, places: NDArray[np.int64]) -> History:
        return History(self.times_ms[places], self.steps[places], self.values[places])


async def history_of(
    series: SeriesReadStore,
    run_id: str,
    key: str,
    *,
    start_step: int | None = None,
    end_step: int | None = None,
) -> History:
    """All points in order of (step, timestamp, value), each once."""
    steps, times, values = [], [], []
    pages = await series.history(run_id, key, start_step=start_step, end_step=end_step)
    async for page in pages:
        steps.append(page.steps)
        times.append(page.times_us)
        values.append(page.values)
    if not steps:
        nothing = np.empty(0, np.int64)
        return History(nothing, nothing, np.empty(0, np.float64))
    return await asyncio.to_thread(_by_step, times, steps, values)


def _by_step(
    times_parts: Sequence[Int64s], steps_parts: Sequence[Int64s], values_parts: Sequence[Float64s]
) -> History:
    times_ms, steps = np.concatenate(times_parts) // 1000, np.concatenate(steps_parts)
    values = np.clip(np.concatenate(values_parts), -LARGEST, LARGEST)  # NaN stays NaN
    history = History(times_ms, steps, values)
    if len(steps) < 2 or (steps[1:] > steps[:-1]).all():
        return history
    return _each_once(history.take(_order(steps, times_ms, values)))


def by_time(history: History) -> History:
    """In order of (timestamp, step, value)."""
    times, steps = history.times_ms, history.steps
    if len(times) < 2 or _is_rising(times, steps):
        return history
    return history.take(_order(times, steps, history.values))


def _is_rising(times: Int64s, steps: Int64s) -> bool:
    """Whether what is in order of step is in order of time, too, without a look at values."""
    later = times[1:] > times[:-1]
    same = (times[1:] == times[:-1]) & (steps[1:] > steps[:-1])
    return bool((later | same).all())


def _order(first: Int64s, second: Int64s, values: Float64s) -> NDArray[np.int64]:
    is_nan = np.isnan(values)
    return np.lexsort((is_nan, np.where(is_nan, 0.0, values), second, first))


def _each_once(history: History) -> History:
    times, steps, bits = history.times_ms, history.steps, history.values
    same = (times[1:] == times[:-1]) & (steps[1:] == steps[:-1])
    same &= (bits[1:] == bits[:-1]) | (np.isnan(bits[1:]) & np.isnan(bits[:-1]))
    if not same.any():
        return history
    return history.take(np.flatnonzero(np.concatenate([[True], ~same])))


def sampled(history: History, max_results: int) -> History:
    """At most so many points, evenly over the rows, the first and the last among them.

    The rows are divided as SQL's NTILE does, and each part gives its first; the last point
    takes the place of the last one given when there is no more room.
    """
    n = len(history)
    if n <= max_results:
        return history
    size, larger = divmod(n, max_results)
    parts = np.arange(max_results)
    starts = parts * size + np.minimum(parts, larger)
    starts[-1] = n - 1
    return history.take(starts)
