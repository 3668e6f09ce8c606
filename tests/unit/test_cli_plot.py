from __future__ import annotations

import itertools
import math
import re

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracker.cli.grid import cells_wide
from tracker.cli.plot import draw, is_drawable
from tracker.cli.ticks import linear_ticks, log_ticks, step_label, step_ticks
from tracker.history import MetricBuckets

BRAILLE = re.compile("[\u2801-\u28ff]")


def buckets_of(
    values: list[float], *, steps: list[int] | None = None, size: int = 1
) -> MetricBuckets:
    """The series as a server would give it, `size` points to a bucket."""
    steps = steps or list(range(len(values)))
    groups = [range(i, min(i + size, len(values))) for i in range(0, len(values), size)]
    finite = [[values[i] for i in group if not math.isnan(values[i])] for group in groups]
    nothing = [0 for _ in groups]
    return MetricBuckets(
        run_id="r",
        key="loss",
        is_reduced=size > 1,
        points=len(values),
        first_step=[steps[g[0]] for g in groups],
        last_step=[steps[g[-1]] for g in groups],
        first_time_us=nothing,
        last_time_us=nothing,
        count=[len(g) for g in groups],
        nan_count=[len(g) - len(kept) for g, kept in zip(groups, finite, strict=True)],
        min=[min(kept, default=math.nan) for kept in finite],
        max=[max(kept, default=math.nan) for kept in finite],
        first=[values[g[0]] for g in groups],
        last=[values[g[-1]] for g in groups],
    )


def plain(lines: list[str]) -> list[str]:
    return [click.unstyle(line) for line in lines]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    lines = plain(draw(buckets_of([0.0, 1.0, 2.0, 3.0]), width=40, height=10))

    rows = [BRAILLE.search(line) for line in lines[:7]]
    starts = [found.start() for found in rows if found]
    assert len(starts) == 7
    assert starts == sorted(starts, reverse=True)


def test_one_point_among_a_million_is_seen() -> None:
    values = [0.0] * 100_000
    values[70_123] = 50.0
    flat = plain(draw(buckets_of([0.0] * 100_000, size=500), width=80, height=12))
    lines = plain(draw(buckets_of(values, size=500), width=80, height=12))

    assert BRAILLE.search(lines[0]), "the spike reaches the top row"
    assert not BRAILLE.search(flat[0])


def test_a_dip_inside_a_bucket_is_seen() -> None:
    values = [1.0] * 1_000
    values[333] = -1.0

    lines = plain(draw(buckets_of(values, size=50), width=60, height=12))

    bottom = lines[next(i for i, line in enumerate(lines) if "└" in line) - 1]
    assert BRAILLE.search(bottom)


def test_the_axes_say_the_range() -> None:
    text = "\n".join(plain(draw(buckets_of([0.0, 100.0] * 50), width=60, height=14)))

    assert re.search(r"^ *100 ┤", text, re.M)
    assert re.search(r"^ *0 ┤", text, re.M)
    assert re.search(r"^ +0 .* 99$", text, re.M)


def test_nan_and_infinities_are_marked_where_they_are() -> None:
    values = [1.0] * 10
    values[4], values[6], values[8] = math.nan, math.inf, -math.inf

    lines = plain(draw(buckets_of(values), width=40, height=10))

    assert "▲" in lines[0]
    assert any("▼" in line for line in lines)
    assert lines[-1].strip().startswith("NaN")
    assert lines[-1].endswith("×")


def test_a_log_scale_gives_decades_equal_room() -> None:
    values = [10.0**-i for i in range(7)]

    lines = plain(draw(buckets_of(values), width=60, height=20, log=True))

    rows = [i for i, line in enumerate(lines) if "┤" in line]
    gaps = {b - a for a, b in itertools.pairwise(rows)}
    assert max(gaps) - min(gaps) <= 1


def test_values_without_a_place_on_the_axis_are_no_plot() -> None:
    assert not is_drawable(buckets_of([math.nan, math.inf]))
    assert not is_drawable(buckets_of([0.0, -1.0]), log=True)
    assert is_drawable(buckets_of([0.0, -1.0]))


@given(
    values=st.lists(st.floats(), min_size=1, max_size=60),
    first_step=st.integers(-(2**63), 2**62),
    gaps=st.lists(st.integers(1, 2**40), min_size=60, max_size=60),
    size=st.integers(1, 7),
    width=st.integers(20, 120),
    height=st.integers(6, 40),
    log=st.booleans(),
)
@example([0.0, 1e-322], 0, [1] * 60, 1, 60, 12, False)  # as narrow as numbers can be
@settings(max_examples=150, deadline=None)
def test_any_series_is_drawn_within_its_size(
    values: list[float],
    first_step: int,
    gaps: list[int],
    size: int,
    width: int,
    height: int,
    log: bool,
) -> None:
    steps = [first_step + sum(gaps[:i]) for i in range(len(values))]
    series = buckets_of(values, steps=steps, size=size)
    if not is_drawable(series, log=log):
        return

    lines = draw(series, width=width, height=height, log=log)

    assert len(lines) <= height
    labels = max(line.index("┤") for line in plain(lines) if "┤" in line)
    assert all(cells_wide(line) <= max(width, labels + 40) for line in lines)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.0, 1e-6, ["0", "2e-07", "4e-07", "6e-07", "8e-07", "1e-06"]),
        (-50.0, 50.0, ["-40", "-20", "0", "20", "40"]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in linear_ticks(low, high, count=5)] == labels


def test_log_ticks_are_decades_and_finer_when_there_are_few() -> None:
    assert [value for value, _ in log_ticks(0.001, 10.0, count=8)] == [0.001, 0.01, 0.1, 1.0, 10.0]
    assert [value for value, _ in log_ticks(1.5, 6.0, count=8)] == [2.0, 5.0]


def test_step_labels_are_short() -> None:
    assert [step_label(step) for step in (0, 12_345, 1_500_000, -3_000_000_000)] == [
        "0", "12,345", "1.5M", "-3G",
    ]  # fmt: skip
    assert step_ticks(0, 9_999, columns=80)[0] == 0
    assert step_ticks(0, 9_999, columns=80)[-1] == 9_999
