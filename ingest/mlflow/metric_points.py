"""The metrics of one request: checked, without repetitions, and grouped into records.

A record is what one log call of the native SDK makes: values of several keys at one step
and time. MLflow's clients send a list of points; those of the same step and time make a
record again, so that a thousand metrics of one step cost one event and not a thousand.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NamedTuple

from ingest.mlflow.bodies import as_float, as_int64, shown, wrong_type, wrong_value
from ingest.mlflow.names import check_key, known_keys, missing_field
from tracker.events.limits import MODEL_METRICS_PER_EVENT_MAX
from tracker.events.types import Event, EventType

# Milliseconds that still fit 64 bits as microseconds: the year 294247.
TIMESTAMP_MS_MAX: Final = (2**63 - 1) // 1000
_NUMBERS: Final = frozenset({float, int})
_INTEGERS: Final = frozenset({int})


class Points(NamedTuple):
    """Columns of one length; times in milliseconds."""

    keys: list[str]
    values: array[float]
    times_ms: list[int]
    steps: list[int]


class Rows(NamedTuple):
    """Records that logged the same keys: one step and time each, a column per key."""

    keys: tuple[str, ...]
    steps: array[int]
    times_us: array[int]
    values: list[array[float]]


@dataclass(frozen=True, slots=True)
class MetricBatch:
    """What a request logs: rows of the run's metrics, and events about models' metrics."""

    rows: Sequence[Rows] = ()
    events: Sequence[Event] = field(default=())

    @property
    def records(self) -> int:
        return sum(len(rows.steps) for rows in self.rows) + len(self.events)

    @property
    def points(self) -> int:
        return sum(len(rows.steps) * len(rows.keys) for rows in self.rows)


def metric_batch(items: Sequence[Any], run_id: str, *, path: str = "metrics") -> MetricBatch:
    """Raises MlflowRefusal, naming the first metric that cannot be taken."""
    if not items:
        return MetricBatch()
    points = _plain(items)
    if points is not None:
        return MetricBatch(rows_of(points))
    points = _careful(items, path)
    return MetricBatch(rows_of(points), _model_events(items, points, run_id))


def _plain(items: Sequence[Any]) -> Points | None:
    """The points when all are in the usual form, at the cost of a few passes in C.

    Four fields and these four names: then there is no other field to look at.
    """
    try:
        if set(map(len, items)) != {4}:
            return None
        keys = [item["key"] for item in items]
        values = [item["value"] for item in items]
        times = [item["timestamp"] for item in items]
        steps = [item["step"] for item in items]
        is_plain = (
            _NUMBERS.issuperset(map(type, values))
            and _INTEGERS.issuperset(map(type, times))
            and _INTEGERS.issuperset(map(type, steps))
            and known_keys.issuperset(keys)
            and min(times) >= 0
            and max(times) <= TIMESTAMP_MS_MAX
            and min(steps) >= -(2**63)
            and max(steps) < 2**63
        )
        return Points(keys, array("d", values), times, steps) if is_plain else None
    except (KeyError, TypeError, OverflowError):
        return None


def _careful(items: Sequence[Any], path: str) -> Points:
    points = Points([], array("d"), [], [])
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise wrong_type("metrics", items)
        where = f"{path}[{index}]." if path else ""
        for name in ("key", "value", "timestamp"):
            if item.get(name) is None or item[name] == "":
                raise missing_field(f"{where}{name}")
        key, value, time_ms, step = _checked(item, where)
        points.keys.append(key)
        points.values.append(value)
        points.times_ms.append(time_ms)
        points.steps.append(step)
    return points


def _checked(item: Mapping[str, Any], where: str) -> tuple[str, float, int, int]:
    key, given, step = item["key"], item["value"], item.get("step")
    if not isinstance(key, str):
        raise wrong_type(f"{where}key", key)
    check_key(key, path=f"{where}name", what="Metric name")
    value = as_float(given)
    if value is None:
        raise wrong_value(
            f"{where}value",
            given,
            f"(timestamp={shown(item['timestamp'])}). "
            "Please specify value as a valid double (64-bit floating point)",
        )
    time_ms = as_int64(item["timestamp"])
    if time_ms is None or not 0 <= time_ms <= TIMESTAMP_MS_MAX:
        raise wrong_value(
            f"{where}timestamp",
            item["timestamp"],
            f"metric '{key}' (value={value}). Timestamp must be a nonnegative long "
            "(64-bit integer) ",
        )
    number = 0 if step is None else as_int64(step)
    if number is None:
        raise wrong_value(
            f"{where}step",
            step,
            f"metric '{key}' (value={value}). Step must be a valid long (64-bit integer).",
        )
    return key, value, time_ms, number


def rows_of(points: Points) -> list[Rows]:
    """The points as records. The same point twice is one point."""
    return _block(points) or _scattered(points)


def _block(points: Points) -> list[Rows] | None:
    """The usual batch: the same keys in the same order, step after step."""
    keys, values, times, steps = points
    n = len(keys)
    try:
        width = keys.index(keys[0], 1)
    except ValueError:
        width = n
    names = tuple(keys[:width])
    records = n // width
    if n % width or len(set(names)) != width or keys != [*names] * records:
        return None
    row_times, row_steps = times[::width], steps[::width]
    if len(set(zip(row_steps, row_times, strict=True))) != records:
        return None
    if width > 1 and (times != _each(row_times, width) or steps != _each(row_steps, width)):
        return None
    columns = [values[i::width] for i in range(width)] if records > 1 else _singles(values)
    times_us = array("q", [time_ms * 1000 for time_ms in row_times])
    return [Rows(names, array("q", row_steps), times_us, columns)]


def _each(column: Sequence[int], times: int) -> list[int]:
    return [number for number in column for _ in range(times)]


def _singles(values: array[float]) -> list[array[float]]:
    return [array("d", (value,)) for value in values]


def _scattered(points: Points) -> list[Rows]:
    """Points of one step and time go into one record, as far as their keys differ."""
    records: dict[tuple[int, int], list[dict[str, float]]] = {}
    for key, value, time_ms, step in zip(*points, strict=True):
        at = records.get((step, time_ms))
        if at is None:
            records[step, time_ms] = [{key: value}]
            continue
        for record in at:
            if key not in record:
                record[key] = value
                break
            if _comparable(record[key]) == _comparable(value):
                break
        else:
            at.append({key: value})
    grouped: dict[tuple[str, ...], Rows] = {}
    for (step, time_ms), at in records.items():
        for record in at:
            names = tuple(record)
            rows = grouped.get(names)
            if rows is None:
                columns = [array("d") for _ in names]
                rows = grouped[names] = Rows(names, array("q"), array("q"), columns)
            rows.steps.append(step)
            rows.times_us.append(time_ms * 1000)
            for column, value in zip(rows.values, record.values(), strict=True):
                column.append(value)
    return list(grouped.values())


def _comparable(value: float) -> float | str:
    """NaN is the same point as NaN; everything else compares as it is."""
    return value if value == value else "nan"


def _model_events(items: Sequence[Any], points: Points, run_id: str) -> list[Event]:
    """What the points say about logged models, in one event per model and thousand points."""
    if not any("model_id" in item for item in items):
        return []
    by_model: dict[str, list[list[Any]]] = {}
    for item, key, value, time_ms, step in zip(items, *points, strict=True):
        model_id = item.get("model_id")
        if not model_id:
            continue
        if not isinstance(model_id, str):
            raise wrong_type("model_id", model_id)
        said = value if isfinite(value) else _text_of(value)
        dataset = [_dataset_text(item, name) for name in ("dataset_name", "dataset_digest")]
        by_model.setdefault(model_id, []).append([key, said, step, time_ms * 1000, *dataset])
    return [
        Event(
            EventType.MODEL_METRICS_LOGGED,
            max(metric[3] for metric in metrics[start : start + MODEL_METRICS_PER_EVENT_MAX]),
            {
                "model_id": model_id,
                "run_id": run_id,
                "metrics": metrics[start : start + MODEL_METRICS_PER_EVENT_MAX],
            },
        )
        for model_id, metrics in by_model.items()
        for start in range(0, len(metrics), MODEL_METRICS_PER_EVENT_MAX)
    ]


def _dataset_text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(name, value)
    return value or None


def _text_of(value: float) -> str:
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
