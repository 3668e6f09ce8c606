"""The filters and orders of MLflow's search of logged models: comparisons joined by AND.

Models are few beside runs, so they are matched one by one, with MLflow's meanings: a metric
condition holds if any point for one of the datasets ever did; a param or tag that is missing
matches nothing, not even !=. Datasets without a metric condition ask for models that have a
point for one of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from ingest.mlflow.errors import invalid
from projections.models_queries import ModelMetric, ModelView
from tracker.events.limits import INT64_MAX

_NUMERIC: Final = ("<", "<=", ">", ">=", "=", "!=")
_TEXTUAL: Final = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
_KINDS: Final = ("attributes", "metrics", "params", "tags")
_ALIASES: Final = {
    "creation_time": "creation_timestamp",
    "creation_timestamp_ms": "creation_timestamp",
    "last_updated_timestamp_ms": "last_updated_timestamp",
}
_ATTRIBUTES: Final[Mapping[str, Callable[[ModelView], Any]]] = {
    "name": lambda model: model.name,
    "model_id": lambda model: model.model_id,
    "model_type": lambda model: model.model_type,
    "status": lambda model: model.status,
    "source_run_id": lambda model: model.source_run_id,
    "experiment_id": lambda model: model.experiment_id,
    "creation_timestamp": lambda model: model.created_time_us // 1000,
    "last_updated_timestamp": lambda model: model.updated_time_us // 1000,
}
# What is sorted otherwise than it is compared.
_SORTED: Final[Mapping[str, Callable[[ModelView], Any]]] = {
    **_ATTRIBUTES,
    "experiment_id": lambda model: _as_number(model.experiment_id),
}
_NUMBERS: Final = ("creation_timestamp", "last_updated_timestamp")
_COMPARISON: Final = re.compile(
    r"""\s*(?P<name>(?:[a-z]+\.)?(?:`[^`]+`|"[^"]+"|[^\s<>=!(]+))\s*
    (?P<op><=|>=|!=|<|>|=|(?i:NOT\s+IN|IN|ILIKE|LIKE)(?=[\s('"]))\s*
    (?P<value>'(?:[^']|'')*'|"[^"]*"|\([^)]*\)|[^\s]+)\s*""",
    re.VERBOSE,
)
_AND: Final = re.compile(r"\s*AND\b", re.IGNORECASE)
_FILTER_CHARACTERS_MAX: Final = 20_000

Datasets: TypeAlias = Sequence[tuple[str, str | None]]


class Clause(NamedTuple):
    kind: str
    key: str
    op: str
    value: Any


def parse_filter(text: str) -> list[Clause]:
    """Raises INVALID_PARAMETER_VALUE for what is no filter."""
    if len(text) > _FILTER_CHARACTERS_MAX:
        raise invalid(f"A filter has at most {_FILTER_CHARACTERS_MAX} characters.")
    clauses: list[Clause] = []
    at = 0
    while text[at:].strip():
        if clauses:
            joint = _AND.match(text, at)
            if joint is None:
                raise _invalid(text)
            at = joint.end()
        found = _COMPARISON.match(text, at)
        if found is None:
            raise _invalid(text)
        clauses.append(
            _clause(found["name"], re.sub(r"\s+", " ", found["op"].upper()), found["value"])
        )
        at = found.end()
    return clauses


def matches(model: ModelView, clauses: Sequence[Clause], datasets: Datasets) -> bool:
    if (
        datasets
        and not any(clause.kind == "metrics" for clause in clauses)
        and not any(_is_for(point, datasets) for point in model.points)
    ):
        return False
    return all(_holds(model, clause, datasets) for clause in clauses)


def in_order(models: Sequence[ModelView], orders: Sequence[Any]) -> list[ModelView]:
    """What has no value comes last both ways; equal ones by time of creation, latest first."""
    ordered = sorted(models, key=lambda model: (-model.created_time_us, model.model_id))
    for order in reversed(orders):
        value_of, is_ascending = sort_value(order)
        valued = [model for model in ordered if value_of(model) is not None]
        ordered = [
            *sorted(valued, key=value_of, reverse=not is_ascending),
            *(model for model in ordered if value_of(model) is None),
        ]
    return ordered


def sort_value(order: Any) -> tuple[Callable[[ModelView], Any], bool]:
    """(what a model is sorted by, or None; whether it ascends)."""
    name = order.get("field_name") if isinstance(order, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid("Each order_by must have a 'field_name'.")
    is_ascending = order.get("ascending", True) is not False
    dataset, digest = order.get("dataset_name"), order.get("dataset_digest")
    kind, dot, key = name.partition(".")
    if dot:
        if kind != "metrics":
            raise invalid(f"Invalid order by field name: {name[:500]}. Only metrics are supported.")
        return partial(_latest_value, key=key, dataset=dataset, digest=digest), is_ascending
    attribute = _SORTED.get(_ALIASES.get(name, name))
    if attribute is None:
        raise invalid(f"Invalid order by field name: {name[:500]}")
    if dataset:
        raise invalid("dataset_name may only be set when field_name is a metric.")
    return attribute, is_ascending


def _as_number(experiment_id: str) -> tuple[int, str]:
    """As MLflow orders its ids; those that are no numbers come last."""
    is_number = experiment_id.isdecimal() and experiment_id.isascii()
    return (int(experiment_id) if is_number else INT64_MAX, experiment_id)


def _latest_value(
    model: ModelView, *, key: str, dataset: str | None, digest: str | None
) -> float | None:
    """Of the latest point in time, then by step; of two runs' the one of the smaller run id."""
    points = [
        point
        for point in model.points
        if point.key == key
        and dataset in (None, "", point.dataset_name)
        and digest in (None, "", point.dataset_digest)
    ]
    if not points:
        return None
    latest = min(points, key=lambda point: (-point.time_us, -point.step, point.run_id))
    return latest.value if latest.value == latest.value else None


def _clause(name: str, op: str, text: str) -> Clause:
    kind, key = _entity(name)
    is_number = kind == "metrics" or (kind == "attributes" and key in _NUMBERS)
    allowed = _NUMERIC if is_number else _TEXTUAL
    if op not in allowed:
        raise invalid(
            f"Invalid comparison operator for {kind}.{key}: {op!r}. Expected one of {allowed}."
        )
    if is_number:
        try:
            return Clause(kind, key, op, float(text))
        except ValueError:
            raise invalid(f"could not convert string to float: {text!r}") from None
    if op in ("IN", "NOT IN"):
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise invalid(f"Invalid list {text!r} in the filter.") from None
        return Clause(kind, key, op, (values,) if isinstance(values, str) else tuple(values))
    return Clause(kind, key, op, text.strip("'\""))


def _entity(name: str) -> tuple[str, str]:
    kind, dot, key = name.partition(".")
    if not dot or not re.fullmatch(r"[a-z]+", kind):
        kind, key = "attributes", name
    if kind not in _KINDS:
        raise invalid(f"Invalid entity type: {kind!r}. Expected one of {list(_KINDS)}.")
    key = key.strip('`"')
    if kind == "attributes":
        key = _ALIASES.get(key, key)
        if key not in _ATTRIBUTES:
            raise invalid(f"Invalid attribute key {key[:100]!r}; expected {sorted(_ATTRIBUTES)}.")
    return kind, key


def _holds(model: ModelView, clause: Clause, datasets: Datasets) -> bool:
    if clause.kind == "metrics":
        return any(_compare(v, clause) for v in _points(model, clause.key, datasets))
    value = _value(model, clause.kind, clause.key)
    return value is not None and _compare(value, clause)


def _value(model: ModelView, kind: str, key: str) -> Any:
    if kind == "attributes":
        return _ATTRIBUTES[key](model)
    return (model.params if kind == "params" else model.tags).get(key)


def _points(model: ModelView, key: str, datasets: Datasets) -> Iterator[float]:
    for point in model.points:
        if point.key == key and (not datasets or _is_for(point, datasets)):
            yield point.value


def _is_for(point: ModelMetric, datasets: Datasets) -> bool:
    return any(
        point.dataset_name == name and digest in (None, point.dataset_digest)
        for name, digest in datasets
    )


def _compare(value: Any, clause: Clause) -> bool:
    match clause.op:
        case "=":
            return bool(value == clause.value)
        case "!=":
            return bool(value != clause.value)
        case "<":
            return bool(value < clause.value)
        case "<=":
            return bool(value <= clause.value)
        case ">":
            return bool(value > clause.value)
        case ">=":
            return bool(value >= clause.value)
        case "IN":
            return value in clause.value
        case "NOT IN":
            return value not in clause.value
    # SQLite, and so MLflow, knows of no case but that of ASCII letters.
    flags = re.DOTALL | (re.IGNORECASE | re.ASCII if clause.op == "ILIKE" else 0)
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in clause.value]
    return re.fullmatch("".join(parts), value, flags) is not None


def _invalid(text: str) -> Exception:
    return invalid(
        f"Invalid filter string: {text[:500]!r}. Expected a list of comparisons separated by "
        "'AND' (e.g. 'metrics.loss > 0.1 AND params.lr = 0.01')."
    )
