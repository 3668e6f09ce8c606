"""What may be logged, and what is refused at the call with the key, the type or the limit."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker import values
from tracker.errors import InvalidStep, MetricTypeError
from tracker.events import limits
from tracker.events.errors import InvalidEvent


class TensorLike:
    """What a torch tensor of one element offers; torch itself need not be installed."""

    def __init__(self, number: Any, count: int = 1) -> None:
        self._number = number
        self._count = count

    def numel(self) -> int:
        return self._count

    def item(self) -> Any:
        return self._number

    def __float__(self) -> float:
        return float(self._number)


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        (True, 1.0),
        (7, 7.0),
        (2**60 + 1, float(2**60)),
        (0.1, 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(-0.0), -0.0),
        (np.int8(-3), -3.0),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array([[2.5]]), 2.5),
        (TensorLike(3.5), 3.5),
        (Decimal("0.25"), 0.25),
        (Fraction(1, 4), 0.25),
    ],
)
def test_a_number_of_any_library_is_a_metric(given: object, recorded: float) -> None:
    number = values.metric_value("loss", given)

    assert type(number) is float
    assert struct.pack("<d", number) == struct.pack("<d", recorded)


@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf, 5e-324, -0.0])
def test_every_float_is_a_metric_bit_for_bit(given: float) -> None:
    assert struct.pack("<d", values.metric_value("x", given)) == struct.pack("<d", given)


@pytest.mark.parametrize(
    "given",
    ["0.5", b"0.5", None, 1j, [1.0], {}, object(), np.array([1.0, 2.0]), np.array([]),
     TensorLike(1.0, count=2), np.array("0.5"), 10**400],
)  # fmt: skip
def test_what_is_no_number_is_refused_with_key_and_type(given: object) -> None:
    with pytest.raises(MetricTypeError) as error:
        values.metric_value("train/loss", given)

    assert isinstance(error.value, TypeError)
    assert isinstance(error.value, ValueError)
    assert "'train/loss'" in str(error.value)
    assert type(given).__name__ in str(error.value)


@pytest.mark.parametrize(
    ("given", "step"),
    [(None, 0), (3, 3), (-3, -3), (True, 1), (np.int64(5), 5), (4.0, 4), (2**63 - 1, 2**63 - 1)],
)
def test_a_step_is_any_whole_number(given: Any, step: int) -> None:
    assert values.step_value(given) == step


@pytest.mark.parametrize("given", ["1", 1.5, math.nan, 2**63, -(2**63) - 1, object()])
def test_another_step_is_refused(given: Any) -> None:
    with pytest.raises(InvalidStep):
        values.step_value(given)


def test_a_timestamp_is_milliseconds() -> None:
    assert values.time_us_of(1_700_000_000_123) == 1_700_000_000_123_000
    assert values.time_us_of(1_700_000_000_123.456) == 1_700_000_000_123_456
    with pytest.raises(InvalidEvent, match="milliseconds"):
        values.time_us_of("now")


@pytest.mark.parametrize("given", [1, 0.1, None, True, [1, 2], {"a": 1}, Path("a/b"), "", "é✓"])
def test_a_param_is_what_str_says(given: object) -> None:
    assert values.param_text("p", given) == str(given)


def test_a_lone_surrogate_in_a_value_is_kept_escaped() -> None:
    assert values.param_text("p", "data/\udcff.csv") == "data/\\udcff.csv"


def test_a_value_over_its_limit_is_refused_with_the_limits_name() -> None:
    with pytest.raises(InvalidEvent, match="param_value_bytes_max"):
        values.param_text("p", "x" * 10_000_000)
    with pytest.raises(InvalidEvent, match="tag_value_bytes_max"):
        values.tag_text("t", "é" * limits.TAG_VALUE_BYTES_MAX)


@pytest.mark.parametrize("key", ["", "k" * 251, "a\0b", "a\nb", "\udcff", 3, None])
def test_a_key_that_is_none_is_refused(key: Any) -> None:
    with pytest.raises(InvalidEvent):
        values.key_bytes(key)


def test_wide_calls_are_cut_into_pieces_that_fit() -> None:
    entries = {f"key-{i}": "x" * 60_000 for i in range(200)}

    pieces = list(values.chunks(entries))

    assert {key: text for piece in pieces for key, text in piece.items()} == entries
    assert max(sum(map(len, piece.values())) for piece in pieces) < limits.RECORD_BYTES_MAX / 6
