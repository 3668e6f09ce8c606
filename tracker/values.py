"""What a logged value may be, and how it becomes what is recorded.

A metric is a number: bool, int, float, Decimal, or anything with one element that turns
into a float (numpy, torch, jax, tensorflow scalars). Text is never a number, not even
"0.5". Params and tags are anything with str(). Times from callers are milliseconds, as
MLflow has them; they are recorded in microseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from operator import index
from typing import Any, Final

from tracker.errors import InvalidStep, MetricTypeError
from tracker.events import limits
from tracker.events.errors import InvalidEvent
from tracker.events.types import check_key, check_text

# What packing raises for a key, value, step or time that needs a closer look. A Warning is
# what numpy raises, where warnings are errors, for float() of an array of one element.
UNPACKABLE: Final = (
    struct.error, TypeError, ValueError, OverflowError, AttributeError, Warning
)  # fmt: skip
# Types that packing converts by itself, exactly as metric_value does.
PLAIN: Final = frozenset({float, int, bool})

# Chunks of a wide call stay far below a record's and a batch's limits.
_CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024


def metric_value(key: str, value: Any) -> float:
    """`value` as a float64. Raises MetricTypeError, naming key and type."""
    if isinstance(value, (float, int)):
        try:
            return float(value)
        except OverflowError:
            raise MetricTypeError(key, value, hint="beyond the range of float64") from None
    if isinstance(value, (str, bytes, bytearray)) or value is None:
        raise MetricTypeError(key, value)
    elements = _element_count(value)
    if elements != 1:
        raise MetricTypeError(key, value, hint=f"it has {elements} elements; log one of them")
    try:
        # Arrays of one element, of any shape and on any device, have item().
        element = value.item() if hasattr(value, "item") else value
        # A foreign type may turn text or a complex number into a float; we do not.
        if isinstance(element, (complex, str, bytes)):
            raise MetricTypeError(key, value)
        return float(element)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, MetricTypeError):
            raise
        raise MetricTypeError(key, value, hint=str(error)) from None


def metric_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The same with every value as a float64. Raises MetricTypeError."""
    return {key: metric_value(key, value) for key, value in metrics.items()}


def _element_count(value: Any) -> int:
    """1 unless `value` says otherwise: numpy has `size`, torch has `numel()`."""
    numel = getattr(value, "numel", None)
    count = numel() if callable(numel) else getattr(value, "size", 1)
    return count if isinstance(count, int) else 1


def step_value(step: Any) -> int:
    """`step` as an int64; None is 0, as in MLflow. Raises InvalidStep."""
    if step is None:
        return 0
    try:
        number = index(step)
    except TypeError:
        if not (isinstance(step, float) and step.is_integer()):
            raise InvalidStep(
                f"a step must be an integer, not {type(step).__name__}: {step!r}"
            ) from None
        number = int(step)
    if not limits.INT64_MIN <= number <= limits.INT64_MAX:
        raise InvalidStep(f"step {number} does not fit into 64 bits (int64_min, int64_max)")
    return number


def time_us_of(timestamp: Any) -> int:
    """Milliseconds since 1970 UTC, whole or not, in microseconds."""
    try:
        time_us = int(timestamp) * 1000 if _is_whole(timestamp) else round(timestamp * 1000)
    except (TypeError, ValueError, OverflowError):
        raise InvalidEvent(
            f"timestamp must be milliseconds since 1970, not {type(timestamp).__name__}"
        ) from None
    if not limits.INT64_MIN <= time_us <= limits.INT64_MAX:
        raise InvalidEvent(f"timestamp {timestamp} in microseconds does not fit into 64 bits")
    return time_us


def _is_whole(number: Any) -> bool:
    return not isinstance(number, float)


def key_bytes(key: str, *, what: str = "metric") -> bytes:
    """`key` as it is recorded. Raises InvalidEvent for what no key may be."""
    check_key(key, what=what)
    return key.encode()


def param_text(key: str, value: Any) -> str:
    return _text(
        "param", key, value, limits.PARAM_VALUE_BYTES_MAX, limit_name="param_value_bytes_max"
    )


def tag_text(key: str, value: Any) -> str:
    return _text("tag", key, value, limits.TAG_VALUE_BYTES_MAX, limit_name="tag_value_bytes_max")


def _text(what: str, key: str, value: Any, bytes_max: int, *, limit_name: str) -> str:
    check_key(key, what=what)
    text = value if type(value) is str else str(value)
    # Paths from the file system may hold undecodable bytes as lone surrogates, which no
    # encoding takes; they are shown escaped rather than refused.
    if not text.isascii():
        text = text.encode(errors="backslashreplace").decode()
    check_text(text, what=f"{what} {key!r}", bytes_max=bytes_max, limit_name=limit_name)
    return text


def chunks(entries: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """`entries` in pieces that fit into one event each."""
    piece: dict[str, str] = {}
    size = 0
    for key, text in entries.items():
        if piece and (
            len(piece) == limits.ENTRIES_PER_EVENT_MAX or size + len(text) > _CHUNK_BYTES_MAX
        ):
            yield piece
            piece, size = {}, 0
        piece[key] = text
        # Six bytes is what one character can grow to as JSON.
        size += len(key) + 6 * len(text)
    if piece:
        yield piece
