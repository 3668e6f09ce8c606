"""When tails are sealed, and how chunks are taken up."""

from __future__ import annotations

import numpy as np
import pytest

from projections.columns import MetricFrame
from projections.series_fold import (
    TAIL_BATCHES_MAX,
    TAIL_BYTES_MAX,
    TAIL_POINTS_MAX,
    RunTail,
    cohorts,
    is_to_be_sealed,
    taken_up,
)


@pytest.mark.parametrize(
    ("tail", "is_full"),
    [
        (RunTail(1, "r", batches=1, points=TAIL_POINTS_MAX - 1), False),
        (RunTail(1, "r", batches=1, points=TAIL_POINTS_MAX), True),
        (RunTail(1, "r", batches=TAIL_BATCHES_MAX - 1, points=300), False),
        (RunTail(1, "r", batches=TAIL_BATCHES_MAX, points=300), True),
        (RunTail(1, "r", batches=1, points=1, bytes=TAIL_BYTES_MAX), True),
        # 50,000 keys: neither a few points each nor many batches are worth 50,000 rows.
        (RunTail(1, "r", batches=9, points=TAIL_POINTS_MAX, metrics=50_000), False),
        (RunTail(1, "r", batches=9, points=64 * 50_000, metrics=50_000), True),
        (RunTail(1, "r", batches=TAIL_BATCHES_MAX, points=50_000, metrics=50_000), False),
        (RunTail(1, "r", batches=TAIL_BATCHES_MAX, points=8 * 50_000, metrics=50_000), True),
    ],
)
def test_a_tail_is_sealed_by_what_it_costs_to_read(tail: RunTail, is_full: bool) -> None:
    assert is_to_be_sealed(tail) is is_full


def test_each_point_is_rewritten_a_few_times_however_small_the_seals() -> None:
    sizes: list[int] = []
    written = 0
    for _ in range(4096):
        count = taken_up(sizes, 1)
        whole = 1 + sum(sizes[len(sizes) - count :])
        sizes[len(sizes) - count :] = [whole]
        written += whole
        assert len(sizes) <= 13

    assert written <= 4096 * 13


def frame(offsets: list[int], steps: list[int], **values: list[float]) -> MetricFrame:
    column = np.array(steps, np.int64)
    return MetricFrame(
        np.array(offsets, np.int64),
        tuple(values),
        column,
        10 * column,
        tuple(np.array(v, np.float64) for v in values.values()),
    )


def test_metrics_of_the_same_records_are_one_cohort_in_order_of_arrival() -> None:
    frames = [
        (1, frame([0, 2], [5, 5], a=[1.0, 3.0], b=[1.5, 3.5])),
        (1, frame([1, 3], [5, 4], a=[2.0, 4.0])),
        (5, frame([0], [5], b=[9.0], a=[8.0])),
    ]

    found = {cohort.keys: cohort for cohort in cohorts(frames)}

    assert list(found) == [("a",), ("b",)]
    assert found["a",].values[0].tolist() == [4.0, 1.0, 2.0, 3.0, 8.0]
    assert found["a",].steps.tolist() == [4, 5, 5, 5, 5]
    assert found["b",].values[0].tolist() == [1.5, 3.5, 9.0]
    together = list(cohorts([frames[0], frames[2]]))
    assert [cohort.keys for cohort in together] == [("a", "b")]
