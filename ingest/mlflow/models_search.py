"""The filters and orders of MLflow's search of logged models: comparisons joined by AND.

Models are few beside runs, so they are matched one by one, with MLflow's meanings: a metric
condition holds if some point for one of the datasets does; a param or tag that is missing
matches nothing, not even !=.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from ingest.mlflow.errors import invalid
from projections.models_queries import ModelView

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
    return all(_holds(model, clause, datasets) for clause in clauses)


def sort_key(order: Any) -> tuple[Callable[[ModelView], tuple[Any, ...]], bool]:
    """(key, whether it ascends). A model without a value has (None,)."""
    name = order.get("field_name") if isinstance(order, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid("Each order_by must have a 'field_name'.")
    is_ascending = order.get("ascending", True) is not False
    kind, key = _entity(name)
    dataset, digest = order.get("dataset_name"), order.get("dataset_digest")
    if kind != "metrics" and dataset:
        raise invalid("dataset_name may only be set when field_name is a metric.")

    def of(model: ModelView) -> tuple[Any, ...]:
        if kind == "metrics":
            points = _points(model, key, [(dataset, digest)] if dataset else ())
            numbers = [value for value in points if value == value]
            return (numbers[-1],) if numbers else _LAST
        value = _value(model, kind, key)
        return _LAST if value is None else (value,)

    return of, is_ascending


class _Last(tuple[Any, ...]):
    """Compares equal to anything, so that sorting leaves it to the pass that puts it last."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return False


_LAST: Final = _Last((None,))


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


def _points(model: ModelView, key: str, datasets: Datasets) -> list[float]:
    return [
        metric.value
        for metric in model.metrics
        if metric.key == key
        and (
            not datasets
            or any(
                metric.dataset_name == name and digest in (None, metric.dataset_digest)
                for name, digest in datasets
            )
        )
    ]


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
    flags = re.DOTALL | (re.IGNORECASE if clause.op == "ILIKE" else 0)
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in clause.value]
    return re.fullmatch("".join(parts), value, flags) is not None


def _invalid(text: str) -> Exception:
    return invalid(
        f"Invalid filter string: {text[:500]!r}. Expected a list of comparisons separated by "
        "'AND' (e.g. 'metrics.loss > 0.1 AND params.lr = 0.01')."
    )
