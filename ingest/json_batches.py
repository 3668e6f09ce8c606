"""The JSON form of a batch becomes the binary one: frames, payload, header."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

import msgpack

from ingest.event_stores.base import BatchToAppend
from ingest.schemas import AppendEvent, AppendRequest
from tracker.events import limits, wire
from tracker.events.compression import compress
from tracker.events.errors import InvalidEvent
from tracker.events.types import Event, EventType, validate

_TEXT_FLOATS: Final[Mapping[str, float]] = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}


def batch_of_request(request: AppendRequest) -> BatchToAppend:
    """Raises InvalidEvent. Consecutive or not, records of the same keys share a frame."""
    frames = _frames(request.events)
    try:
        packed: bytes = msgpack.packb(frames, use_bin_type=True)
    except (OverflowError, ValueError, TypeError, RecursionError) as error:
        raise InvalidEvent(f"an event's data cannot be stored: {error}") from None
    header = wire.BatchHeader(
        run_id=request.run_id,
        writer_id=request.writer_id,
        epoch=request.epoch,
        first_seq=request.first_seq,
        n=len(request.events),
        records_crc=crc32(packed),
    )
    return BatchToAppend(header, compress(packed))


def _frames(sent: list[AppendEvent]) -> list[list[Any]]:
    rows: dict[tuple[str, ...], list[tuple[int, int, int, list[float]]]] = {}
    offsets: list[int] = []
    events: list[Event] = []
    for offset, item in enumerate(sent):
        event = Event(item.type, item.time_us, item.data, item.version)
        validate(event)
        if event.type == EventType.METRICS_LOGGED:
            step, values = _metrics(event.data)
            row = (offset, step, event.time_us, list(values.values()))
            rows.setdefault(tuple(values), []).append(row)
        else:
            offsets.append(offset)
            events.append(event)
    frames = [_metrics_frame(keys, group) for keys, group in rows.items()]
    if events:
        frames.append(wire.events_frame(offsets=offsets, events=events))
    return frames


def _metrics_frame(
    keys: tuple[str, ...], rows: list[tuple[int, int, int, list[float]]]
) -> list[Any]:
    return wire.metrics_frame(
        offsets=[row[0] for row in rows],
        keys=keys,
        steps=array("q", [row[1] for row in rows]),
        times=array("q", [row[2] for row in rows]),
        values=[array("d", [row[3][i] for row in rows]) for i in range(len(keys))],
    )


def _metrics(data: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    metrics, step = data.get("metrics"), data.get("step", 0)
    if not isinstance(metrics, dict) or not metrics:
        raise InvalidEvent('metrics.logged: data must be {"metrics": {key: number}, "step": n}')
    if type(step) is not int or not limits.INT64_MIN <= step <= limits.INT64_MAX:
        raise InvalidEvent("metrics.logged: 'step' must be an integer of 64 bits")
    return step, {key: _number(key, value) for key, value in metrics.items()}


def _number(key: str, value: Any) -> float:
    if isinstance(value, str) and value in _TEXT_FLOATS:
        return _TEXT_FLOATS[value]
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InvalidEvent(
        f"metrics.logged: metric {key[:100]!r} must be a number that float64 holds, "
        'or one of "NaN", "Infinity", "-Infinity"'
    )
