"""The wire codec: what goes in comes out, bit for bit, and nothing else gets in."""

from __future__ import annotations

import math
import struct
from array import array

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.columns import decode_batch, decode_payload
from tracker.events import limits, wire
from tracker.events.compression import compress
from tracker.events.errors import CorruptPayload, InvalidEvent, PayloadTooLarge
from tracker.events.types import Event

int64s = st.integers(limits.INT64_MIN, limits.INT64_MAX)
bit_patterns = st.integers(0, 2**64 - 1)


def float_of_bits(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


def frame_of(steps: list[int], values: array[float]) -> list[object]:
    n = len(steps)
    return wire.metrics_frame(
        offsets=range(n),
        keys=["loss"],
        steps=array("q", steps),
        times=array("q", steps),
        values=[values],
    )


@given(st.lists(st.tuples(int64s, bit_patterns), min_size=1, max_size=50))
def test_every_step_and_every_float64_bit_pattern_comes_back(rows: list[tuple[int, int]]) -> None:
    steps = [step for step, _ in rows]
    values = array("d")
    values.frombytes(b"".join(struct.pack("<Q", bits) for _, bits in rows))

    columns = decode_payload(wire.encode_payload([frame_of(steps, values)]), n=len(rows))

    (frame,) = columns.metrics
    assert frame.steps.tolist() == steps
    assert frame.values[0].tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("values", "codec"),
    [
        ([0.5, 0.25, math.inf], wire.FLOAT32),
        ([0.1, 0.2, 0.3], wire.FLOAT64),
        ([1e300, 1.0, 2.0], wire.FLOAT64),
        ([-0.0, -0.0, -0.0], wire.CONSTANT),
        ([0.0, -0.0, 0.0], wire.FLOAT32),
    ],
)
def test_the_smallest_exact_value_codec_is_chosen(values: list[float], codec: int) -> None:
    frame = frame_of([1, 2, 3], array("d", values))

    assert frame[6][0][0] == codec  # type: ignore[index]  # a frame is a list of mixed items


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=20),
        st.text(st.characters(codec="utf-8"), max_size=50),
        max_size=5,
    )
)
def test_events_come_back_as_they_were(tags: dict[str, str]) -> None:
    event = Event("tags.set", 1_700_000_000_000_000, {"tags": tags})

    columns = decode_payload(
        wire.encode_payload([wire.events_frame(offsets=[0], events=[event])]), n=1
    )

    assert columns.events[0].event == event


def test_frames_may_interleave_but_must_cover_the_sequence_exactly_once() -> None:
    even = wire.metrics_frame(
        offsets=[0, 2],
        keys=["a"],
        steps=array("q", [0, 1]),
        times=array("q", [5, 6]),
        values=[array("d", [1.0, 2.0])],
    )
    odd = wire.events_frame(offsets=[1], events=[Event("run.resumed", 1, {})])
    lost = wire.dropped_frame(offset=3, width=7, time_us=1, reason="disk full")

    columns = decode_payload(wire.encode_payload([lost, even, odd]), n=10)

    assert (columns.n, columns.dropped[0].width) == (10, 7)
    for broken, n in (([even], 2), ([even, odd, odd], 4), ([even, odd], 4), ([lost], 7)):
        with pytest.raises(CorruptPayload):
            decode_payload(wire.encode_payload(broken), n=n)


def test_a_decompression_bomb_is_refused_before_it_unpacks() -> None:
    bomb = compress(bytes(limits.BATCH_UNPACKED_BYTES_MAX + 1))

    with pytest.raises(PayloadTooLarge):
        decode_payload(bomb, n=1)


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_one_error_type(garbage: bytes) -> None:
    with pytest.raises(CorruptPayload):
        decode_batch(garbage)
    with pytest.raises(CorruptPayload):
        decode_payload(garbage, n=1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**63) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=20,
    )
)
def test_well_formed_nonsense_is_refused_with_our_errors_only(nonsense: object) -> None:
    payload = compress(msgpack.packb([nonsense, [0, nonsense], [1, nonsense, nonsense]]))

    with pytest.raises((CorruptPayload, InvalidEvent)):
        decode_payload(payload, n=1)


@pytest.mark.parametrize("position", range(7))
@given(
    nonsense=st.none()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=3)
    | st.lists(st.integers(0, 3) | st.binary(max_size=16) | st.text(max_size=2), max_size=4)
)
def test_a_frame_with_one_wrong_item_is_refused(position: int, nonsense: object) -> None:
    frame = frame_of([1, 2, 3], array("d", [0.1, 0.2, 0.3]))
    good = msgpack.packb(frame)
    frame[position] = nonsense

    payload = compress(msgpack.packb([frame]))
    if msgpack.packb(frame) == good:
        return
    try:
        decode_payload(payload, n=3)
    except (CorruptPayload, InvalidEvent):
        return
    # A different but valid column, such as other steps or another key, is fine.
    assert position in (2, 3, 4, 5, 6)
