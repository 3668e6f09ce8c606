"""What a decoded frame must be before its columns are made: lengths, ranges, keys, JSON.

Any bytes of the right length are numbers, so a metrics frame is held against its header
without unpacking a single one. Raises CorruptPayload, PayloadTooLarge and InvalidEvent.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

from tracker.events import limits, wire
from tracker.events.errors import CorruptPayload, InvalidEvent, PayloadTooLarge
from tracker.events.types import FIELDS, Event, check_key


def check_metrics(frame: list[Any]) -> None:
    _, n, offsets, keys, steps, times, values = frame
    if type(n) is not int or not 0 < n <= limits.BATCH_RECORDS_MAX:
        raise PayloadTooLarge(
            f"a frame has n = {n!r}; 1 to {limits.BATCH_RECORDS_MAX} are allowed "
            "(batch_records_max)"
        )
    if not isinstance(keys, list) or not isinstance(values, list) or len(keys) != len(values):
        raise CorruptPayload("a metrics frame needs one value column per key")
    if not 0 < len(keys) <= limits.METRICS_PER_RECORD_MAX:
        raise PayloadTooLarge(
            f"a record has {len(keys)} metrics; 1 to {limits.METRICS_PER_RECORD_MAX} are "
            "allowed (metrics_per_record_max)"
        )
    if not all(type(key) is str for key in keys):
        raise CorruptPayload("metric keys must be strings")
    _checked_keys(tuple(keys))
    for column in (offsets, steps, times):
        check_int_column(column, n)
    for column in values:
        _check_value_column(column, n)


def check_int_column(column: Any, n: int) -> None:
    match column:
        case [wire.REGULAR, int(start), int(stride)]:
            last = start + stride * (n - 1)
            if not (
                limits.INT64_MIN <= start <= limits.INT64_MAX
                and limits.INT64_MIN <= stride <= limits.INT64_MAX
                and limits.INT64_MIN <= last <= limits.INT64_MAX
            ):
                raise CorruptPayload("a regular column leaves 64 bits")
        case [wire.DELTAS, bytes(planes)] if len(planes) == 8 * n:
            pass
        case _:
            raise CorruptPayload("an integer column does not fit its frame")


_VALUE_BYTES: Final = {wire.FLOAT32: 4, wire.FLOAT64: 8}


def _check_value_column(column: Any, n: int) -> None:
    if type(column) is list and len(column) == 2 and type(column[1]) is bytes:
        codec, size = column[0], len(column[1])
        if type(codec) is int and size == (
            8 if codec == wire.CONSTANT else _VALUE_BYTES.get(codec, -1) * n
        ):
            return
    raise CorruptPayload("a value column does not fit its frame")


@lru_cache(maxsize=4096)
def _checked_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    for key in keys:
        check_key(key, what="metric")
    if len(set(keys)) != len(keys):
        raise CorruptPayload("a metrics frame names a key twice")
    return keys


def check_json(event: Event) -> None:
    """msgpack carries what JSON cannot: bytes, NaN, other keys than text. Known fields are
    checked by their kind already."""
    fields = FIELDS.get(event.type)
    if fields is not None and event.data.keys() <= fields.keys():
        return
    try:
        json.dumps(event.data, allow_nan=False)
        depth = _depth(event.data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"{event.type[:64]}: data must be JSON: {error}") from None
    if depth > limits.DATA_DEPTH_MAX:
        raise InvalidEvent(
            f"{event.type}: data is nested more than {limits.DATA_DEPTH_MAX} deep (data_depth_max)"
        )


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
