"""The sweep that merges overlapping chunks, against sorting everything."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections import series_history
from projections.series_history import Sweep
from projections.series_points import NO_POINTS, Points, merged
from projections.series_snapshot import Chunk, StepRange

# A few steps, so that there are ties everywhere; the ends of int64 among them.
STEPS = st.sampled_from([-(2**63), -3, 0, 1, 2, 3, 4, 5, 6, 7, 100, 2**63 - 1])
PARTS = st.lists(st.lists(STEPS, min_size=1, max_size=40), max_size=40)


def chunks_of(parts: list[list[int]]) -> list[Chunk]:
    """Chunks by number; a value says where its point arrived."""
    chunks, arrived = [], 0
    for number, part in enumerate(parts):
        steps = np.array(sorted(part), np.int64)
        values = np.arange(arrived, arrived + len(part), dtype=np.float64)
        arrived += len(part)
        points = Points(steps, steps, values)
        chunks.append(Chunk(0, number, 0, len(part), int(steps[0]), int(steps[-1]), points=points))
    return chunks


def swept(sweep: Sweep) -> tuple[list[Points], Points]:
    connection = sqlite3.connect(":memory:")
    windows = []
    while (window := sweep.window(connection)) is not None:
        windows.append(window)
    connection.close()
    if not windows:
        return windows, NO_POINTS
    steps, times, values = (
        np.concatenate([getattr(window, name) for window in windows])
        for name in ("steps", "times_us", "values")
    )
    return windows, Points(steps, times, values)


@pytest.mark.parametrize(("window", "held"), [(8, 16), (8, 10**6), (65_536, 10**6)])
@settings(max_examples=150, deadline=None)
@given(parts=PARTS, tail=st.lists(STEPS, max_size=40))
def test_points_come_in_order_of_step_then_of_chunk(
    window: int, held: int, parts: list[list[int]], tail: list[int]
) -> None:
    all_chunks = chunks_of([*parts, tail] if tail else parts)
    tail_points = all_chunks[-1].points or NO_POINTS if tail else NO_POINTS
    chunks = all_chunks[: len(parts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series_history, "WINDOW_POINTS", window)
        patch.setattr(series_history, "DEEP_WINDOW_POINTS", 2 * window)
        patch.setattr(series_history, "HELD_POINTS_MAX", held)
        patch.setattr(series_history, "_SAMPLE_EVERY", 4)
        patch.setattr(series_history, "_LOAD_AT_ONCE", 2)
        _, found = swept(Sweep(chunks, tail_points, StepRange(None, None)))

    expected = merged([chunk.points for chunk in all_chunks if chunk.points is not None])
    assert found.steps.tolist() == expected.steps.tolist()
    assert found.values.tolist() == expected.values.tolist()


def test_a_million_points_of_one_step_come_in_windows() -> None:
    chunks = chunks_of([[7] * 4096] * 256)

    windows, found = swept(Sweep(chunks, NO_POINTS, StepRange(None, None)))

    assert max(map(len, windows)) <= 2 * series_history.WINDOW_POINTS
    assert found.values.tolist() == list(range(256 * 4096))
