"""Columns back into the frames of a payload: for who stores a part of a batch."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from projections.columns import Columns, Float64s, Int64s
from tracker.events import wire


def frames_from(columns: Columns, *, cut: int) -> list[list[Any]]:
    """The frames of everything at offset `cut` or beyond, offsets counted from there."""
    frames = []
    for frame in columns.metrics:
        kept = frame.offsets >= cut
        if kept.any():
            frames.append(
                wire.metrics_frame(
                    offsets=(frame.offsets[kept] - cut).tolist(),
                    keys=frame.keys,
                    steps=_ints(frame.steps[kept]),
                    times=_ints(frame.times_us[kept]),
                    values=[_floats(column[kept]) for column in frame.values],
                )
            )
    events = [item for item in columns.events if item.offset >= cut]
    if events:
        offsets = [item.offset - cut for item in events]
        frames.append(wire.events_frame(offsets=offsets, events=[e.event for e in events]))
    for lost in columns.dropped:
        start, end = max(lost.offset, cut), lost.offset + lost.width
        if start < end:
            frames.append(
                wire.dropped_frame(
                    offset=start - cut,
                    width=end - start,
                    time_us=lost.time_us,
                    reason=lost.reason,
                )
            )
    return frames


def _ints(column: Int64s) -> array[int]:
    result = array("q")
    result.frombytes(np.ascontiguousarray(column).tobytes())
    return result


def _floats(column: Float64s) -> array[float]:
    result = array("d")
    result.frombytes(np.ascontiguousarray(column).tobytes())
    return result
