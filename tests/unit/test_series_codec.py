"""The codecs of sealed columns: exact for every pattern of bits, and small."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.columns import Float64s
from projections.series_codec import (
    CONSTANT,
    DECIMAL,
    FLOAT32,
    XOR,
    decode_values,
    encode_values,
)
from projections.series_ints import decode_ints, encode_ints
from tracker.events.errors import CorruptPayload

PATTERNS = st.integers(0, 2**64 - 1).map(
    lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0]
)
SPECIAL = st.sampled_from(
    [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, -5e-324, 2.2e-308, 1e308, 0.1, 1e-45]
)
VALUES = st.lists(st.one_of(PATTERNS, SPECIAL, st.floats(width=32), st.integers(-9, 9).map(float)))


def bits_of(values: Float64s) -> list[int]:
    return [int(bits) for bits in values.view(np.uint64)]


@given(VALUES.filter(bool), st.integers(1, 40))
def test_values_come_back_bit_for_bit(values: list[float], times: int) -> None:
    column = np.array(values * times, np.float64)

    decoded = decode_values(encode_values(column), len(column))

    assert bits_of(decoded) == bits_of(column)


@pytest.mark.parametrize("bits", [0x7FF0000000000001, 0xFFF8DEADBEEF0001, 0x7FF8000000000000])
def test_nan_payloads_survive_among_float32_values(bits: int) -> None:
    column = np.array([0.5, 1.5, 2.5, 3.5] * 300, np.float64)
    column.view(np.uint64)[700] = bits

    assert bits_of(decode_values(encode_values(column), 1200)) == bits_of(column)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=300), st.booleans())
def test_integers_come_back_exactly(numbers: list[int], is_sorted: bool) -> None:
    column = np.array(sorted(numbers) if is_sorted else numbers, np.int64)

    assert decode_ints(encode_ints(column), len(column)).tolist() == column.tolist()


RNG = np.random.default_rng(7)
STEPS = np.arange(4096)
NOISE = RNG.standard_normal(4096)
CURVES = {
    "constant": (np.full(4096, 0.1), CONSTANT, 9 / 4096),
    "float32 loss": ((2 * np.exp(-STEPS / 2000) + 0.05 * NOISE).astype("f4"), FLOAT32, 3.1),
    "rounded loss": (np.round(2 + NOISE, 4), DECIMAL, 2.2),
    "whole numbers": (STEPS * 32.0, DECIMAL, 0.01),
    "cosine schedule": (1e-3 * (1 + np.cos(STEPS / 4096 * np.pi)), XOR, 6.0),
    "accuracy of k/256": (RNG.integers(0, 257, 4096) / 256, None, 1.3),
    "bfloat16 loss": (
        (((0.5 + 0.1 * NOISE).astype("f4").view("u4") & 0xFFFF0000).view("f4")),
        FLOAT32,
        1.2,
    ),
    "true float64 noise": (NOISE, None, 7.2),
}


@pytest.mark.parametrize("name", CURVES)
def test_each_kind_of_curve_gets_a_small_form(name: str) -> None:
    curve, form, bytes_per_point = CURVES[name]
    column = curve.astype(np.float64)

    encoded = encode_values(column)

    assert bits_of(decode_values(encoded, 4096)) == bits_of(column)
    assert len(encoded) / 4096 <= bytes_per_point
    assert form is None or encoded[0] == form


def test_a_column_that_stops_being_decimal_after_the_sample_is_exact() -> None:
    column = np.concatenate([np.arange(600) / 10, NOISE])

    assert bits_of(decode_values(encode_values(column), len(column))) == bits_of(column)


@pytest.mark.parametrize("damage", [b"", b"\x09", b"\x00abc", b"\x02abc", b"\x04", b"\x04\x01\x07"])
def test_damaged_bytes_are_refused_and_not_guessed(damage: bytes) -> None:
    with pytest.raises(CorruptPayload):
        decode_values(damage, 100)
