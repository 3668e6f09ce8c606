"""The search language a second time, the slow and obvious way: over views, in Python.

It shares the syntax tree with the compiler and nothing else. What it says is what the
language means; the compiled SQL must say the same of every run.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from projections.read_models import RunView
from projections.search import ast

_NUMBER = re.compile(
    r"[ \t\n\v\f\r]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t\n\v\f\r]*"
)
_OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MISSING = object()


@dataclass(frozen=True)
class World:
    """What a run alone does not know."""

    now_us: int
    experiment_names: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, int] = field(default_factory=dict)


def holds(expression: ast.Expression | None, run: RunView, world: World) -> bool:
    match expression:
        case None:
            return True
        case ast.And(items):
            return all(holds(item, run, world) for item in items)
        case ast.Or(items):
            return any(holds(item, run, world) for item in items)
        case ast.Not(item):
            return not holds(item, run, world)
    if isinstance(expression.field, ast.Dataset):
        found = _datasets(expression.field, run)
        if isinstance(expression, ast.IsNull):
            return (not found) != expression.is_negated
        return any(_fulfils(expression, value, world) for value in found)
    return _fulfils(expression, value_of(expression.field, run, world), world)


def _datasets(field: ast.Dataset, run: RunView) -> list[str]:
    """Of each of the run's datasets, where it has one."""
    match field.name:
        case "context":
            said = [each.tags.get("mlflow.data.context") for each in run.inputs]
            return [text for text in said if text is not None]
        case _:
            return [getattr(each, field.name) for each in run.inputs]


def _fulfils(expression: ast.Predicate, value: Any, world: World) -> bool:
    if isinstance(expression, ast.IsNull):
        return (value is MISSING) != expression.is_negated
    if value is MISSING:
        return False
    match expression:
        case ast.IsNan(_, is_negated):
            return math.isnan(value) != is_negated
        case ast.OneOf(_, values, is_negated):
            found = _comparable(value, values[0])
            if found is MISSING:
                return False
            return (found in [v.value for v in values]) != is_negated
        case ast.Match(_, matching, pattern, is_negated):
            return matches(matching, pattern, value) != is_negated
        case ast.Compare(_, comparison, right):
            return _compare(expression.field, value, comparison.value, right, world)
    raise AssertionError(expression)


def value_of(field: ast.Field, run: RunView, world: World) -> Any:
    match field:
        case ast.Param(key):
            return run.params.get(key, MISSING)
        case ast.Tag(key):
            return run.tags.get(key, MISSING)
        case ast.Metric(key, summary):
            if key not in run.metrics:
                return MISSING
            metric = run.metrics[key]
            found = {
                "last": metric.last.value,
                "first": metric.first.value,
                "min": metric.min_value,
                "max": metric.max_value,
                "count": metric.count,
            }[summary.value]
            return MISSING if found is None else found
        case ast.Attribute(name):
            found = _attributes(run, world)[name]
            return MISSING if found is None else found


def _attributes(run: RunView, world: World) -> dict[str, Any]:
    end_us = run.end_time_us
    if end_us is None and run.status in ("RUNNING", "SCHEDULED"):
        end_us = world.now_us
    return {
        "run_id": run.run_id,
        "run_name": run.name,
        "experiment_id": run.experiment_id,
        "experiment_name": world.experiment_names.get(run.experiment_id),
        "user_id": run.user_id,
        "status": run.status,
        "liveness": run.liveness.value,
        "lifecycle_stage": run.lifecycle_stage,
        "artifact_uri": f"mlflow-artifacts:/{run.experiment_id}/{run.run_id}/artifacts",
        "parent_run_id": run.parent_run_id,
        "end_reason": run.end_reason,
        "end_detail": run.end_detail,
        "start_time": run.start_time_us,
        "end_time": run.end_time_us,
        "duration": None if end_us is None else end_us - run.start_time_us,
        "children": world.children.get(run.run_id, 0),
        "dropped": run.dropped,
        "is_child": run.parent_run_id is not None,
    }


def _comparable(value: Any, right: ast.Value) -> Any:
    """A param beside a number is a number, or nothing."""
    if isinstance(right, ast.Number) and isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else MISSING
    return value


def _compare(field: ast.Field, value: Any, comparison: str, right: ast.Value, world: World) -> bool:
    compare = _OPERATORS[comparison]
    match right:
        case ast.Moment(microseconds) | ast.Duration(microseconds):
            return bool(compare(value, microseconds))
        case ast.FromNow(microseconds):
            return bool(compare(value, world.now_us + microseconds))
        case ast.Number(number) if field in (
            ast.Attribute("start_time"),
            ast.Attribute("end_time"),
        ):
            return bool(compare(value // 1000, number))
        case _:
            left = _comparable(value, right)
            return left is not MISSING and bool(compare(left, right.value))


def matches(matching: ast.Matching, pattern: str, text: str) -> bool:
    if matching is ast.Matching.RLIKE:
        return re.search(pattern, text) is not None
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern]
    flags = re.DOTALL | (re.IGNORECASE if matching is ast.Matching.ILIKE else 0)
    return re.fullmatch("".join(parts), text, flags) is not None


def in_order(
    runs: Sequence[RunView], terms: Sequence[ast.OrderTerm], world: World
) -> list[RunView]:
    """Sorted term by term from the least significant: sorting is stable."""
    found = sorted(runs, key=lambda run: run.run_id)
    found.sort(key=lambda run: -run.start_time_us)
    for term in reversed(terms):
        found = _sorted_by(found, term, world)
    return found


def _sorted_by(runs: list[RunView], term: ast.OrderTerm, world: World) -> list[RunView]:
    def clipped(run: RunView) -> Any:
        value = value_of(term.field, run, world)
        return value[:128] if isinstance(value, str) and _is_keyed(term.field) else value

    values = [(clipped(run), run) for run in runs]
    numbers = [pair for pair in values if pair[0] is not MISSING and not _is_nan(pair[0])]
    nans = [run for value, run in values if value is not MISSING and _is_nan(value)]
    missing = [run for value, run in values if value is MISSING]
    numbers.sort(key=lambda pair: pair[0], reverse=term.is_descending)
    return [run for _, run in numbers] + nans + missing


def _is_keyed(field: ast.Field) -> bool:
    return not isinstance(field, ast.Attribute)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
