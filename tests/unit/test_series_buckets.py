"""Bins and buckets, against counting one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.series_buckets import bucket_numbers, reduce_to_buckets
from projections.series_rollup import (
    CHUNK_POINTS,
    COARSE,
    FINE,
    axis_rollup,
    bins_of_points,
    bins_of_rollups,
    joined,
    value_rollup,
)
from tests.support.series_model import ModelPoint, bits_of, check_exact_buckets
from tracker.events.errors import CorruptPayload

VALUES = st.sampled_from([math.nan, 0.0, -0.0, 1.0, -2.5, math.inf, 1e300])
PARTS = st.lists(
    st.lists(st.tuples(st.integers(-5, 40), VALUES), min_size=1, max_size=30),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(parts=PARTS, buckets_max=st.integers(1, 20), width=st.integers(1, 6))
def test_bins_of_any_width_sum_up_to_what_their_points_are(
    parts: list[list[tuple[int, float]]], buckets_max: int, width: int
) -> None:
    """Points are summed up in bins of `width`; the bins' grid is that of their first steps."""
    bins, owners, arrived = [], [], 0
    for part in parts:
        rows = sorted(part, key=lambda row: row[0])
        for start in range(0, len(rows), width):
            members = rows[start : start + width]
            points = [
                ModelPoint(step, arrived + i, bits_of(value))
                for i, (step, value) in enumerate(members)
            ]
            arrived += len(members)
            steps = np.array([p.step for p in points], np.int64)
            times = np.array([p.time_us for p in points], np.int64)
            values = np.array([p.value for p in points])
            values.view(np.uint64)[:] = [p.bits for p in points]
            alone = bins_of_points(steps, times, values)
            whole = reduce_to_buckets(alone, buckets_max=1, start_step=None, end_step=None)
            bins.append(
                type(alone)(
                    whole.first_step,
                    whole.last_step,
                    whole.first_time_us,
                    whole.last_time_us,
                    whole.count,
                    whole.nan_count,
                    whole.min,
                    whole.max,
                    whole.first,
                    whole.last,
                )
            )
            owners.append(points)
    low = min(points[0].step for points in owners)
    high = max(points[-1].step for points in owners)

    buckets = reduce_to_buckets(
        joined(bins), buckets_max=buckets_max, start_step=None, end_step=None
    )

    grid: dict[int, list[ModelPoint]] = {}
    for points in owners:
        number = (points[0].step - low) * buckets_max // (high - low + 1)
        grid.setdefault(number, []).extend(points)
    assert len(buckets.count) == len(grid)
    for i, (_, members_of) in enumerate(sorted(grid.items())):
        ordered = sorted(members_of, key=lambda point: point.step)  # stable: arrival
        numbers = [p.value for p in ordered if not math.isnan(p.value)]
        assert int(buckets.count[i]) == len(ordered)
        assert int(buckets.nan_count[i]) == len(ordered) - len(numbers)
        assert int(buckets.first_time_us[i]) == ordered[0].time_us
        assert int(buckets.last_time_us[i]) == ordered[-1].time_us
        assert int(buckets.first.view("u8")[i]) == ordered[0].bits
        assert int(buckets.last.view("u8")[i]) == ordered[-1].bits
        if numbers:
            assert (buckets.min[i], buckets.max[i]) == (min(numbers), max(numbers))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30), st.integers(1, 1000))
def test_the_grid_is_exact_for_any_span_of_steps(steps: list[int], buckets_max: int) -> None:
    low, high = min(steps), max(steps)

    numbers = bucket_numbers(np.array(steps, np.int64), low=low, high=high, buckets_max=buckets_max)

    assert numbers.tolist() == [(s - low) * buckets_max // (high - low + 1) for s in steps]


@pytest.mark.parametrize("bins", [COARSE, FINE])
@pytest.mark.parametrize("kind", ["float32", "float64", "with nan", "all nan"])
def test_roll_ups_say_the_truth_of_each_bin(bins: int, kind: str) -> None:
    dice = np.random.default_rng(3)
    values = dice.standard_normal(CHUNK_POINTS)
    if kind == "float32":
        values = values.astype("f4").astype("f8")
    if kind == "with nan":
        values[dice.integers(0, CHUNK_POINTS, 900)] = np.nan
    if kind == "all nan":
        values[: CHUNK_POINTS // 2] = np.nan
    steps = np.cumsum(dice.integers(0, 9, CHUNK_POINTS))
    times = dice.integers(0, 10**15, CHUNK_POINTS)
    other = np.full(CHUNK_POINTS, 0.5)

    found = bins_of_rollups(
        [axis_rollup(steps, times, bins=bins)] * 2,
        [value_rollup(values, bins=bins), value_rollup(other, bins=bins)],
        bins=bins,
    )

    assert found.min[bins:].tolist() == found.max[bins:].tolist() == [0.5] * bins
    for i, at in enumerate(range(0, CHUNK_POINTS, CHUNK_POINTS // bins)):
        part = slice(at, at + CHUNK_POINTS // bins)
        numbers = values[part][~np.isnan(values[part])]
        assert found.count[i] == CHUNK_POINTS // bins
        assert found.nan_count[i] == CHUNK_POINTS // bins - len(numbers)
        assert (found.first_step[i], found.last_step[i]) == (steps[part][0], steps[part][-1])
        assert (found.first_time_us[i], found.last_time_us[i]) == (
            times[part][0],
            times[part][-1],
        )
        np.testing.assert_equal(found.first[i], values[part][0])
        np.testing.assert_equal(found.last[i], values[part][-1])
        np.testing.assert_equal(found.min[i], numbers.min() if len(numbers) else np.nan)
        np.testing.assert_equal(found.max[i], numbers.max() if len(numbers) else np.nan)


def test_roll_ups_of_a_wrong_length_are_refused() -> None:
    steps = np.arange(CHUNK_POINTS)
    axis = axis_rollup(steps, steps, bins=FINE)
    values = value_rollup(steps.astype(np.float64), bins=FINE)

    with pytest.raises(CorruptPayload):
        bins_of_rollups([axis[:-8]], [values], bins=FINE)
    with pytest.raises(CorruptPayload):
        bins_of_rollups([axis], [values[:-4]], bins=FINE)


def test_several_series_of_one_range_share_their_grid() -> None:
    long = np.arange(0, 1000, dtype=np.int64)
    short = np.arange(333, 400, dtype=np.int64)

    grids = []
    for steps in (long, short):
        bins = bins_of_points(steps, steps, steps.astype(np.float64))
        buckets = reduce_to_buckets(bins, buckets_max=10, start_step=0, end_step=999)
        points = [ModelPoint(int(s), int(s), bits_of(float(s))) for s in steps]
        check_exact_buckets(buckets, points, buckets_max=10, low=0, high=999)
        grids.append({(int(f) // 100) for f in buckets.first_step})

    assert grids == [set(range(10)), {3}]
