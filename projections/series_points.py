"""Points of one metric as three columns, in order of step; equal steps in order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from projections.columns import Float64s, Int64s


@dataclass(frozen=True, slots=True)
class Points:
    steps: Int64s
    times_us: Int64s
    values: Float64s

    def __len__(self) -> int:
        return len(self.steps)

    def cut(self, start: int, stop: int) -> Points:
        return Points(self.steps[start:stop], self.times_us[start:stop], self.values[start:stop])

    def within(self, start_step: int | None, end_step: int | None) -> Points:
        """Those of steps from `start_step` to `end_step`, both included."""
        start = 0 if start_step is None else int(self.steps.searchsorted(start_step, "left"))
        stop = len(self) if end_step is None else int(self.steps.searchsorted(end_step, "right"))
        return self if (start, stop) == (0, len(self)) else self.cut(start, stop)


NO_POINTS = Points(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def merged(parts: Sequence[Points]) -> Points:
    """One column set of several; of equal steps those of the earlier part come first."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return NO_POINTS
    steps = np.concatenate([part.steps for part in parts])
    times = np.concatenate([part.times_us for part in parts])
    values = np.concatenate([part.values for part in parts])
    if (steps[1:] >= steps[:-1]).all():
        return Points(steps, times, values)
    order = np.argsort(steps, kind="stable")
    return Points(steps[order], times[order], values[order])
