"""The wire codec, decoding half: a payload becomes columns, or is refused whole.

`decode_payload` is the one door: the ingest server decodes every batch before it is
appended, and the folds decode it again from the log. Whatever it returns is consistent:
every column has its frame's length, the frames cover 0 … n-1 exactly once, keys and
events are valid. It raises CorruptPayload or InvalidEvent and nothing else.

The formats are described in `tracker.events.wire` and docs/formats.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final
from zlib import crc32

import msgpack
import numpy as np
from numpy.typing import NDArray

from projections.frame_checks import check_int_column, check_json, check_metrics
from tracker.events import ids, limits, wire
from tracker.events.compression import decompress
from tracker.events.errors import CorruptPayload, PayloadTooLarge
from tracker.events.types import Event, EventType, validate

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MetricFrame:
    """n records that logged the same keys. `values` has a float64 column of n per key."""

    offsets: Int64s
    keys: tuple[str, ...]
    steps: Int64s
    times_us: Int64s
    values: tuple[Float64s, ...]


@dataclass(frozen=True, slots=True)
class OffsetEvent:
    offset: int
    event: Event


@dataclass(frozen=True, slots=True)
class DroppedRange:
    """`width` sequence numbers from `offset` on, whose records the client lost."""

    offset: int
    width: int
    time_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """A decoded payload. `events` are in order of offset."""

    n: int
    metrics: tuple[MetricFrame, ...]
    events: tuple[OffsetEvent, ...]
    dropped: tuple[DroppedRange, ...]

    @property
    def points(self) -> int:
        return sum(len(frame.steps) * len(frame.keys) for frame in self.metrics)


_METRICS_FRAME_ITEMS: Final = 7
_EVENTS_FRAME_ITEMS: Final = 3
_DROPPED_FRAME_ITEMS: Final = 5
# Offsets 0, 1, 2 …: what a frame that is alone in its payload must have, and nearly all are.
_ALL_OFFSETS: Final = [wire.REGULAR, 0, 1]
_offset_of = attrgetter("offset")
_INT64: Final = np.dtype("<i8")
_FLOAT32: Final = np.dtype("<f4")
_FLOAT64: Final = np.dtype("<f8")


def decode_batch(body: bytes) -> tuple[wire.BatchHeader, bytes]:
    """Split a batch into header and payload; check the header's fields and the payload's crc."""
    fields = _unpack(body)
    if not isinstance(fields, dict):
        raise CorruptPayload("a batch must be a msgpack map")
    if fields.get("v") != wire.WIRE_VERSION:
        raise CorruptPayload(
            f"batch version {fields.get('v')!r} is not supported; "
            f"this server speaks version {wire.WIRE_VERSION}"
        )
    payload = fields.get("payload")
    if not isinstance(payload, bytes):
        raise CorruptPayload("field 'payload' must be bytes")
    header = wire.BatchHeader(
        run_id=_text(fields, "run_id"),
        writer_id=_text(fields, "writer_id"),
        epoch=_number(fields, "epoch", least=1, most=2**31 - 1),
        first_seq=_number(fields, "first_seq", least=1, most=limits.INT64_MAX),
        n=_number(fields, "n", least=1, most=limits.DROPPED_RANGE_MAX),
        records_crc=_number(fields, "records_crc", least=0, most=2**32 - 1),
    )
    if header.run_id and not ids.is_run_id(header.run_id):
        raise CorruptPayload("field 'run_id' must be letters, digits, - and _, at most 256")
    if not ids.is_writer_id(header.writer_id):
        raise CorruptPayload("field 'writer_id' must be letters, digits, - and _, at most 64")
    if fields.get("crc") != crc32(payload):
        raise CorruptPayload("field 'crc' is not the crc32 of the payload; send it again")
    return header, payload


def decode_payload(payload: bytes, *, n: int, is_trusted: bool = False) -> Columns:
    """Decode a payload that must cover exactly n sequence numbers.

    `is_trusted` leaves out holding every event against the vocabulary, half of the cost:
    for payloads from the log whose digest is right, as they were held against it before.
    """
    frames = _unpack(decompress(payload, bytes_max=limits.BATCH_UNPACKED_BYTES_MAX))
    return _columns_of(frames, n=n, is_trusted=is_trusted)


def _columns_of(frames: Any, *, n: int, is_trusted: bool) -> Columns:
    if not isinstance(frames, list) or not frames:
        raise CorruptPayload("a payload must be a non-empty list of frames")
    if len(frames) > limits.BATCH_FRAMES_MAX:
        raise PayloadTooLarge(f"more than {limits.BATCH_FRAMES_MAX} frames (batch_frames_max)")
    metrics: list[MetricFrame] = []
    events: list[OffsetEvent] = []
    dropped: list[DroppedRange] = []
    points = 0
    for frame in frames:
        kind, length = _kind_of(frame)
        if kind == wire.METRICS_FRAME and length == _METRICS_FRAME_ITEMS:
            # Counted before it is unpacked: constant columns cost nothing to send.
            points += _points_of(frame)
            if points > limits.BATCH_POINTS_MAX:
                raise PayloadTooLarge(
                    f"more than {limits.BATCH_POINTS_MAX} points (batch_points_max)"
                )
            metrics.append(_decode_metrics(frame))
        elif kind == wire.EVENTS_FRAME and length == _EVENTS_FRAME_ITEMS:
            events.extend(_decode_events(frame, is_trusted=is_trusted))
        elif kind == wire.DROPPED_FRAME and length == _DROPPED_FRAME_ITEMS:
            dropped.append(_decode_dropped(frame))
        else:
            raise CorruptPayload("a frame has an unknown kind or length")
    events.sort(key=_offset_of)
    columns = Columns(n, tuple(metrics), tuple(events), tuple(dropped))
    is_one_frame = len(frames) == 1 and len(metrics) == 1
    if not (is_one_frame and frames[0][1] == n and frames[0][2] == _ALL_OFFSETS):
        _check_cover(columns)
    return columns


def check_payload(payload: bytes, *, n: int) -> int:
    """The number of points of a payload that decode_payload would take; refuses all others.

    A payload of one frame of metrics, as nearly all are, is held against its header without
    making its columns: any bytes of the right length are numbers.
    """
    frames = _unpack(decompress(payload, bytes_max=limits.BATCH_UNPACKED_BYTES_MAX))
    if type(frames) is list and len(frames) == 1:
        frame = frames[0]
        is_metrics = _kind_of(frame) == (wire.METRICS_FRAME, _METRICS_FRAME_ITEMS)
        if is_metrics and frame[2] == _ALL_OFFSETS:
            points = _points_of(frame)
            if points <= limits.BATCH_POINTS_MAX and frame[1] == n:
                check_metrics(frame)
                return points
    return _columns_of(frames, n=n, is_trusted=False).points


def decode_without_metrics(payload: bytes, *, n: int) -> Columns:
    """Events and dropped ranges of a payload from the log, and one record of its metrics.

    The record, of the first frame's first metric, tells that there were any and when; what
    costs the time, the columns, stays packed. For who folds runs and leaves series alone.
    """
    frames = _unpack(decompress(payload, bytes_max=limits.BATCH_UNPACKED_BYTES_MAX))
    metrics: list[MetricFrame] = []
    events: list[OffsetEvent] = []
    dropped: list[DroppedRange] = []
    for frame in frames:
        if frame[0] == wire.EVENTS_FRAME:
            events.extend(_decode_events(frame, is_trusted=True))
        elif frame[0] == wire.DROPPED_FRAME:
            dropped.append(_decode_dropped(frame))
        elif not metrics:
            metrics.append(_first_record(frame))
    events.sort(key=_offset_of)
    return Columns(n, tuple(metrics), tuple(events), tuple(dropped))


def _first_record(frame: list[Any]) -> MetricFrame:
    _, n, offsets, keys, steps, times, values = frame
    codec, data = values[0]
    width = {wire.CONSTANT: 8, wire.FLOAT32: 4, wire.FLOAT64: 8}[codec]
    raw = data if codec == wire.CONSTANT else bytes(data[i * n] for i in range(width))
    value = np.frombuffer(raw, _FLOAT32 if codec == wire.FLOAT32 else _FLOAT64)
    return MetricFrame(
        offsets=_first_int(offsets, n),
        keys=(keys[0],),
        steps=_first_int(steps, n),
        times_us=_first_int(times, n),
        values=(value.astype(np.float64),),
    )


def _first_int(column: list[Any], n: int) -> Int64s:
    if column[0] == wire.DELTAS:
        return np.frombuffer(bytes(column[1][i * n] for i in range(8)), _INT64)
    return np.array([column[1]], np.int64)


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """A metric frame whose value columns stay packed: for who wants one metric of many."""

    n: int
    keys: tuple[str, ...]
    _columns: tuple[Any, Any, Any, list[Any]]

    def unpack(self, index: int) -> MetricFrame:
        """The frame with the metric `keys[index]` alone."""
        offsets, steps, times, values = self._columns
        return MetricFrame(
            offsets=_int_column(offsets, self.n),
            keys=(self.keys[index],),
            steps=_int_column(steps, self.n),
            times_us=_int_column(times, self.n),
            values=(_value_column(values[index], self.n),),
        )


def unpack_frames(payload: bytes) -> list[PackedFrame]:
    """The metric frames of a payload from the log, which was held against the format before."""
    frames = _unpack(decompress(payload, bytes_max=limits.BATCH_UNPACKED_BYTES_MAX))
    return [
        PackedFrame(n, tuple(keys), (offsets, steps, times, values))
        for kind, n, offsets, keys, steps, times, values in (
            frame for frame in frames if frame[0] == wire.METRICS_FRAME
        )
    ]


def _kind_of(frame: Any) -> tuple[int, int]:
    if type(frame) is not list or not frame or type(frame[0]) is not int:
        raise CorruptPayload("a frame must be a list that begins with its kind")
    return frame[0], len(frame)


def _points_of(frame: list[Any]) -> int:
    """How many points a metrics frame claims to hold; nonsense is found when it is decoded."""
    n, keys = frame[1], frame[3]
    return n * len(keys) if type(n) is int and type(keys) is list else 0


def _decode_metrics(frame: list[Any]) -> MetricFrame:
    check_metrics(frame)
    _, n, offsets, keys, steps, times, values = frame
    return MetricFrame(
        offsets=_int_column(offsets, n),
        keys=tuple(keys),
        steps=_int_column(steps, n),
        times_us=_int_column(times, n),
        values=tuple([_value_column(column, n) for column in values]),
    )


def _decode_events(frame: list[Any], *, is_trusted: bool) -> list[OffsetEvent]:
    _, offsets, rows = frame
    if not isinstance(rows, list) or not 0 < len(rows) <= limits.BATCH_RECORDS_MAX:
        raise CorruptPayload("an events frame needs 1 or more rows")
    events = []
    check_int_column(offsets, len(rows))
    for offset, row in zip(_int_column(offsets, len(rows)).tolist(), rows, strict=True):
        if not isinstance(row, list) or len(row) != 4 or type(row[1]) is not int:
            raise CorruptPayload("an event must be [type, version, time_us, data]")
        event = Event(row[0], row[2], row[3], row[1])
        if not is_trusted:
            validate(event)
            check_json(event)
            if event.type == EventType.METRICS_LOGGED:
                raise CorruptPayload("metrics travel in a metrics frame, not as a plain event")
        events.append(OffsetEvent(offset, event))
    return events


def _decode_dropped(frame: list[Any]) -> DroppedRange:
    _, offset, width, time_us, reason = frame
    if type(offset) is not int or type(width) is not int or offset < 0 or width < 1:
        raise CorruptPayload("a dropped frame needs an offset and a width")
    validate(Event(EventType.EVENTS_DROPPED, time_us, {"reason": reason, "count": width}))
    return DroppedRange(offset, width, time_us, reason)


def _int_column(column: list[Any], n: int) -> Int64s:
    """The numbers of a column that check_int_column has let through."""
    result: Int64s
    if column[0] == wire.DELTAS:
        result = _from_planes(column[1], n, _INT64)
        # Deltas wrap around in 64 bits, and so does their sum.
        np.cumsum(result, out=result)
        return result
    _, start, stride = column
    result = np.arange(n, dtype=np.int64)
    if stride != 1:
        result *= stride
    if start != 0:
        result += start
    return result


def _value_column(column: list[Any], n: int) -> Float64s:
    """The numbers of a column that check_metrics has let through."""
    codec, data = column
    if codec == wire.CONSTANT:
        return np.frombuffer(data, _FLOAT64).repeat(n)
    if codec == wire.FLOAT32:
        return _from_planes(data, n, _FLOAT32).astype(np.float64)
    return _from_planes(data, n, _FLOAT64)


def _from_planes(planes: bytes, n: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    transposed = np.frombuffer(planes, np.uint8).reshape(dtype.itemsize, n)
    return transposed.T.copy().view(dtype).reshape(n)


def _check_cover(columns: Columns) -> None:
    """Every offset 0 … n-1 once: what a frame may not claim, no later frame can be given."""
    count = sum(len(frame.offsets) for frame in columns.metrics) + len(columns.events)
    width = sum(dropped.width for dropped in columns.dropped)
    if count + width != columns.n:
        raise CorruptPayload(f"frames cover {count + width} records, the header says {columns.n}")
    parts = [frame.offsets for frame in columns.metrics]
    parts.append(np.fromiter((e.offset for e in columns.events), np.int64, len(columns.events)))
    starts = np.concatenate([*parts, np.array([d.offset for d in columns.dropped], np.int64)])
    widths = np.ones(len(starts), np.int64)
    if columns.dropped:
        widths[count:] = [dropped.width for dropped in columns.dropped]
    order = np.argsort(starts, kind="stable")
    ends = np.cumsum(widths[order])
    if starts[order[0]] != 0 or not np.array_equal(starts[order][1:], ends[:-1]):
        raise CorruptPayload("frames leave a gap or overlap in the batch's sequence")


def _unpack(data: bytes) -> Any:
    try:
        # Lengths inside msgpack cannot exceed the input, so nothing is allocated beyond it.
        return msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=True)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise CorruptPayload(f"not msgpack: {error}") from None


def _text(fields: dict[Any, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise CorruptPayload(f"field {name!r} must be a string")
    return value


def _number(fields: dict[Any, Any], name: str, *, least: int, most: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not least <= value <= most:
        raise CorruptPayload(f"field {name!r} must be an integer from {least} to {most}")
    return value
