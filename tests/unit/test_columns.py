"""The decoding door: every bit comes back, and only two kinds of errors come out."""

from __future__ import annotations

import struct
from array import array
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from projections.columns import (
    Columns,
    check_payload,
    decode_payload,
    decode_without_metrics,
)
from tracker.events import limits, wire
from tracker.events.compression import compress
from tracker.events.errors import CorruptPayload, InvalidEvent, PayloadTooLarge
from tracker.events.types import Event

INT64 = st.integers(limits.INT64_MIN, limits.INT64_MAX)
SPECIAL_BITS = (
    0x0000000000000000,  # 0.0
    0x8000000000000000,  # -0.0
    0x7FF0000000000000,  # inf
    0xFFF0000000000000,  # -inf
    0x7FF8000000000000,  # the usual NaN
    0xFFF8000000000001,  # a NaN with sign and payload
    0x7FF0000000000001,  # a signalling NaN
    0x0000000000000001,  # the smallest denormal
    0x000FFFFFFFFFFFFF,  # the greatest denormal
    0x7FEFFFFFFFFFFFFF,  # the greatest float64
    0x36A0000000000000,  # float32's smallest denormal, as float64
)


def doubles(bits: list[int]) -> array[float]:
    values = array("d")
    values.frombytes(b"".join(struct.pack("<Q", pattern) for pattern in bits))
    return values


def frame_of(
    steps: list[int], times: list[int], columns: list[array[float]], first: int = 0
) -> list[Any]:
    return wire.metrics_frame(
        offsets=range(first, first + len(steps)),
        keys=[f"k{i}" for i in range(len(columns))],
        steps=array("q", steps),
        times=array("q", times),
        values=columns,
    )


def decode_both(frames: list[Any], n: int) -> Columns:
    """decode_payload's answer, after check_payload has agreed with it."""
    payload = wire.encode_payload(frames)
    columns = decode_payload(payload, n=n)
    assert check_payload(payload, n=n) == columns.points
    return columns


@pytest.mark.parametrize("bits", SPECIAL_BITS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_special_value_comes_back_bit_for_bit(bits: int, n: int) -> None:
    mixed = doubles(([bits, 0x3FB999999999999A] * n)[:n])

    for values in (doubles([bits] * n), mixed):
        (frame,) = decode_both([frame_of([0] * n, [0] * n, [values])], n).metrics
        assert frame.values[0].tobytes() == values.tobytes()


@given(
    st.lists(
        st.tuples(INT64, INT64, st.integers(0, 2**64 - 1) | st.sampled_from(SPECIAL_BITS)),
        min_size=1,
        max_size=40,
    )
)
@example([(limits.INT64_MIN, limits.INT64_MAX, 0), (limits.INT64_MAX, limits.INT64_MIN, 1)])
@example([(limits.INT64_MAX, 0, 0), (limits.INT64_MAX, 0, 0)])
def test_any_rows_come_back_as_they_were(rows: list[tuple[int, int, int]]) -> None:
    steps, times, bits = (list(column) for column in zip(*rows, strict=True))
    values = doubles(bits)

    (frame,) = decode_both([frame_of(steps, times, [values, values])], len(rows)).metrics

    assert frame.steps.tolist() == steps
    assert frame.times_us.tolist() == times
    assert [column.tobytes() for column in frame.values] == [values.tobytes()] * 2
    assert frame.offsets.tolist() == list(range(len(rows)))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_frames_in_any_order_cover_the_sequence(widths: list[int], chance: Any) -> None:
    frames: list[Any] = []
    offset = 0
    for index, width in enumerate(widths):
        kind = index % 3
        if kind == 0:
            frames.append(frame_of([1] * width, [1] * width, [doubles([0] * width)], offset))
        elif kind == 1:
            events = [Event("run.resumed", 1, {})] * width
            frames.append(wire.events_frame(offsets=range(offset, offset + width), events=events))
        else:
            frames.append(
                wire.dropped_frame(offset=offset, width=width, time_us=1, reason="disk full")
            )
        offset += width
    chance.shuffle(frames)

    columns = decode_both(frames, offset)

    assert [item.offset for item in columns.events] == sorted(i.offset for i in columns.events)
    for n in (offset - 1, offset + 1):
        with pytest.raises(CorruptPayload):
            decode_payload(wire.encode_payload(frames), n=n)


def test_a_decoded_column_may_be_written_to() -> None:
    """Folds sort and merge in place; a view of the payload would refuse."""
    values = [doubles([0] * 3), doubles([1, 2, 3]), doubles([0x3FE0000000000000, 0, 0])]
    (frame,) = decode_both([frame_of([5, 1, 9], [1, 2, 3], values)], 3).metrics

    for column in (frame.offsets, frame.steps, frame.times_us, *frame.values):
        column[0] = 7
        assert column[0] == 7


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 2**63)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=24)
)
NONSENSE = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=12,
)


def outcome(decode: Any, payload: bytes, n: int) -> Any:
    """Its number of points, or the kind of its refusal; any other error fails the test."""
    try:
        result = decode(payload, n=n)
    except (CorruptPayload, InvalidEvent) as refusal:
        return type(refusal)
    return result.points if isinstance(result, Columns) else result


@given(NONSENSE)
def test_nonsense_is_refused_by_both_doors_alike(nonsense: Any) -> None:
    for frames in ([nonsense], [0, nonsense], nonsense):
        payload = compress(msgpack.packb(frames))
        assert outcome(check_payload, payload, 1) == outcome(decode_payload, payload, 1)


@pytest.mark.parametrize("at", range(7))
@given(nonsense=NONSENSE)
def test_a_metrics_frame_with_a_wrong_item_is_judged_alike(at: int, nonsense: Any) -> None:
    frame = frame_of([1, 2, 4], [3, 2, 1], [doubles([1, 2, 3]), doubles([0, 0, 0])])
    frame[at] = nonsense
    payload = compress(msgpack.packb([frame]))

    assert outcome(check_payload, payload, 3) == outcome(decode_payload, payload, 3)


@given(NONSENSE, st.sampled_from(["mine.own", "run.started", "params.logged", "tags.set"]))
def test_an_event_with_any_data_is_taken_or_refused(data: Any, type: str) -> None:
    payload = compress(msgpack.packb([[1, [0, 0, 1], [[type, 1, 1, data]]]]))

    result = outcome(decode_payload, payload, 1)

    assert result in (0, InvalidEvent)
    assert outcome(check_payload, payload, 1) == result


@given(st.binary(max_size=64))
def test_any_bytes_under_zstd_are_refused_or_decoded(data: bytes) -> None:
    outcome(decode_payload, compress(data), 1)


@pytest.mark.parametrize(
    "column",
    [
        [0, 0, 2**63],
        [0, 2**63, 0],
        [0, limits.INT64_MAX, 1],
        [0, limits.INT64_MIN, -1],
        [0, 2**62, 2**62],
        [1, bytes(23)],
        [1, bytes(25)],
        [1, "text"],
        [2, bytes(24)],
        [0, 0],
        [],
        7,
    ],
)
def test_an_integer_column_that_does_not_fit_is_refused(column: Any) -> None:
    for at in (2, 4, 5):
        frame = frame_of([1, 2, 3], [1, 2, 3], [doubles([1, 2, 3])])
        frame[at] = column
        payload = compress(msgpack.packb([frame]))
        assert outcome(decode_payload, payload, 3) is CorruptPayload
        assert outcome(check_payload, payload, 3) is CorruptPayload


@pytest.mark.parametrize(
    "column", [[0, bytes(7)], [0, bytes(9)], [1, bytes(11)], [2, bytes(23)], [3, bytes(24)], [0], 5]
)
def test_a_value_column_that_does_not_fit_is_refused(column: Any) -> None:
    frame = frame_of([1, 2, 3], [1, 2, 3], [doubles([1, 2, 3])])
    frame[6] = [column]
    payload = compress(msgpack.packb([frame]))

    assert outcome(decode_payload, payload, 3) is CorruptPayload
    assert outcome(check_payload, payload, 3) is CorruptPayload


def test_points_are_limited_before_they_are_unpacked() -> None:
    n = limits.BATCH_RECORDS_MAX
    per_frame = limits.BATCH_POINTS_MAX // n + 1
    frame = [0, n, [0, 0, 1], [f"k{i}" for i in range(per_frame)], [0, 0, 1], [0, 0, 1],
             [[0, bytes(8)]] * per_frame]  # fmt: skip
    payload = compress(msgpack.packb([frame]))

    for decode in (decode_payload, check_payload):
        with pytest.raises(PayloadTooLarge, match="batch_points_max"):
            decode(payload, n=n)


@given(batch=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats()), min_size=1))
def test_what_is_decoded_without_metrics_has_the_first_record_and_all_events(
    batch: list[tuple[int, float]],
) -> None:
    frame = wire.metrics_frame(
        offsets=range(1, len(batch) + 1),
        keys=["a"],
        steps=array("q", [step for step, _ in batch]),
        times=array("q", [7] * len(batch)),
        values=[array("d", [value for _, value in batch])],
    )
    event = Event("tags.set", 1, {"tags": {"a": "b"}})
    payload = wire.encode_payload([frame, wire.events_frame(offsets=[0], events=[event])])
    n = len(batch) + 1

    light, whole = decode_without_metrics(payload, n=n), decode_payload(payload, n=n)

    assert light.events == whole.events
    (first,), (all_of_it,) = light.metrics, whole.metrics
    for name in ("offsets", "steps", "times_us"):
        assert getattr(first, name).tolist() == getattr(all_of_it, name)[:1].tolist()
    assert first.values[0].tobytes() == all_of_it.values[0][:1].tobytes()
