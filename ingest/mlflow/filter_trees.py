"""What MLflow's clauses mean, said in the search language's own syntax tree.

The tree's rules are MLflow's already: a run without the key matches nothing, not even `!=`;
of the comparisons only `!=` is true of NaN; LIKE minds case; runs without a value come last.
Here is what differs from the native language:

- A run's name is its tag `mlflow.runName`, and its parent's id the tag `mlflow.parentRunId`,
  also where a native run said them in its own fields.
- ILIKE folds the case of ASCII letters only, as SQLite does.
- In comparisons an infinity is the largest float64, as MLflow's store keeps it and its
  clients see it. (In orders it stays beyond that one.)
- Params and tags are ordered by the whole of their texts.
- Ids of experiments are ordered as numbers, and decide in descending order between equals.

Comparators are checked here, because MLflow checks them when it makes its query.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ingest.mlflow.entities import LARGEST
from ingest.mlflow.errors import invalid
from ingest.mlflow.filter_grammar import (
    ATTRIBUTE,
    DATASET,
    METRIC,
    PARAM,
    TAG,
    Clause,
    Grammar,
    cut,
    parse_order,
    set_text,
)
from ingest.mlflow.filter_grammar import EXPERIMENTS as EXPERIMENT_GRAMMAR
from ingest.mlflow.filter_grammar import RUNS as RUN_GRAMMAR
from ingest.mlflow.names import experiment_id_of
from projections.search import ast
from projections.search.ast import Comparison, Matching
from projections.search.limits import ORDER_TERMS_MAX, PREDICATES_MAX
from tracker import tag_names

_ALIASES: Final = {
    "created": "start_time",
    "Created": "start_time",
    "run name": "run_name",
    "Run name": "run_name",
    "Run Name": "run_name",
}
_NUMERIC: Final = {"=", "!=", "<", "<=", ">", ">="}
_TEXTUAL: Final = {"=", "!=", "LIKE", "ILIKE"}
_LISTED: Final = _TEXTUAL | {"IN", "NOT IN"}
_KEYED: Final = _TEXTUAL | {"IS NULL", "IS NOT NULL"}
_TOO_LARGE: Final = float("inf")


def run_filter(clauses: Sequence[Clause]) -> ast.Expression | None:
    """The tree of a filter of runs; None matches all. Raises MlflowRefusal."""
    _check_count(clauses)
    return _all_of([_run_test(clause) for clause in clauses])


def experiment_filter(clauses: Sequence[Clause]) -> ast.Expression | None:
    _check_count(clauses)
    return _all_of([_experiment_test(clause) for clause in clauses])


def run_order(texts: Sequence[str]) -> tuple[ast.OrderTerm, ...]:
    """The terms of an order of runs, one per text. Raises MlflowRefusal."""
    terms: list[ast.OrderTerm] = []
    seen: set[tuple[str, str]] = set()
    for clause in (parse_order(text, RUN_GRAMMAR) for text in texts):
        if clause.kind == DATASET:
            raise invalid(f"Invalid identifier type '{clause.kind}'")
        field = _run_field(clause.kind, _ALIASES.get(clause.key, clause.key))
        name = (clause.kind, _ALIASES.get(clause.key, clause.key))
        if name in seen:
            raise invalid(f"`order_by` contains duplicate fields: {cut(list(texts))}")
        seen.add(name)
        if all(field != term.field for term in terms):  # the name is an attribute and a tag
            terms.append(ast.OrderTerm(field, clause.is_descending, is_whole=True))
    _check_terms(terms)
    return tuple(terms)


def experiment_order(texts: Sequence[str]) -> tuple[ast.OrderTerm, ...]:
    by_id = ast.Attribute("experiment_number")
    if not texts:
        return (ast.OrderTerm(ast.Attribute("creation_time"), True), ast.OrderTerm(by_id))
    terms: list[ast.OrderTerm] = []
    for clause in (parse_order(text, EXPERIMENT_GRAMMAR) for text in texts):
        if clause.kind != ATTRIBUTE:
            raise invalid(f"Invalid order_by entity: {clause.kind}")
        field = by_id if clause.key == "experiment_id" else ast.Attribute(clause.key)
        if all(field != term.field for term in terms):  # the first is the one that counts
            terms.append(ast.OrderTerm(field, clause.is_descending))
    if all(by_id != term.field for term in terms):
        terms.append(ast.OrderTerm(by_id, is_descending=True))
    _check_terms(terms)
    return tuple(terms)


def _check_count(clauses: Sequence[Clause]) -> None:
    if len(clauses) > PREDICATES_MAX:
        raise invalid(
            f"The filter has {len(clauses)} conditions; at most {PREDICATES_MAX} are allowed."
        )


def _check_terms(terms: Sequence[ast.OrderTerm]) -> None:
    if len(terms) > ORDER_TERMS_MAX:
        raise invalid(f"order_by has {len(terms)} terms; at most {ORDER_TERMS_MAX} are allowed.")


def _all_of(tests: Sequence[ast.Expression]) -> ast.Expression | None:
    return ast.conjunction(dict.fromkeys(tests)) if tests else None


def _run_field(kind: str, key: str) -> ast.Field:
    match kind:
        case _ if kind == METRIC:
            return ast.Metric(key)
        case _ if kind == PARAM:
            return ast.Param(key)
        case _ if kind == TAG:
            return ast.Attribute("run_name") if key == tag_names.RUN_NAME else ast.Tag(key)
        case _ if kind == DATASET:
            return ast.Dataset(key)
        case _:
            return ast.Attribute(key)


def _run_test(clause: Clause) -> ast.Expression:
    comparator = clause.comparator.upper()
    key = _ALIASES.get(clause.key, clause.key)
    _check_comparator(clause.kind, key, comparator, RUN_GRAMMAR)
    field = _run_field(clause.kind, key)
    if clause.kind == METRIC:
        return _metric_test(field, comparator, clause.value)
    if field == ast.Attribute("run_name"):
        return _name_test(field, comparator, clause)
    test = _test(field, comparator, clause)
    if field == ast.Tag(tag_names.PARENT_RUN_ID):
        return _parent_test(test, comparator, clause)
    return test


def _check_comparator(kind: str, key: str, comparator: str, grammar: Grammar) -> None:
    is_number = kind == METRIC or (kind == ATTRIBUTE and key in grammar.numeric_attributes)
    if is_number:
        allowed, shown = _NUMERIC, _NUMERIC if kind == METRIC else _LISTED
        end = ""
    elif kind in (PARAM, TAG):
        allowed = shown = _KEYED
        end = "'" if kind == PARAM else ""
    else:
        allowed = shown = _LISTED
        end = "'" if kind == ATTRIBUTE else ""
    if comparator not in allowed:
        # MLflow's sentences differ in their last quote, and name the wrong set for times.
        raise invalid(f"Invalid comparator '{cut(comparator)}' not one of '{set_text(shown)}{end}")


def _test(field: ast.Field, comparator: str, clause: Clause) -> ast.Expression:
    value = clause.value
    match comparator:
        case "IS NULL" | "IS NOT NULL":
            return ast.IsNull(field, comparator == "IS NOT NULL")
        case "IN" | "NOT IN":
            texts = value if isinstance(value, tuple) else tuple(str(value))
            listed = tuple(ast.Text(text) for text in texts)
            return ast.OneOf(field, listed, comparator == "NOT IN")
        case "LIKE" if isinstance(value, str):
            return ast.Match(field, Matching.LIKE, value)
        case "ILIKE" if isinstance(value, str):
            return _ilike(field, value)
    if isinstance(value, tuple):
        raise invalid(f"Invalid comparator '{comparator}' for a list of values; use IN or NOT IN.")
    right = ast.Text(value) if isinstance(value, str) else ast.Number(value or 0)
    return ast.Compare(field, Comparison(comparator), right)


def _ilike(field: ast.Field, pattern: str) -> ast.Expression:
    if pattern.isascii():
        return ast.Match(field, Matching.ILIKE, pattern)
    return ast.Match(field, Matching.RLIKE, "(?s)^" + "".join(map(_folded, pattern)) + r"\z")


def _folded(character: str) -> str:
    """One character of a LIKE pattern, the case of ASCII letters folded."""
    if character in "%_":
        return ".*" if character == "%" else "."
    if character.isascii() and character.isalpha():
        return f"[{character.lower()}{character.upper()}]"
    return re.escape(character)


def _metric_test(field: ast.Field, comparator: str, value: object) -> ast.Expression:
    number = float(value) if isinstance(value, int | float) else 0.0
    comparison = Comparison(comparator)
    if abs(number) < LARGEST:
        return ast.Compare(field, comparison, ast.Number(number))
    return _beyond(field, comparison, number)


def _beyond(field: ast.Field, comparison: Comparison, number: float) -> ast.Expression:
    """A comparison with the largest number, which an infinity is, or with an infinity."""
    sign = 1 if number > 0 else -1
    is_number = ast.IsNan(field, is_negated=True)
    is_infinite = abs(number) == _TOO_LARGE
    up, not_up = (Comparison.GE, Comparison.LT) if sign > 0 else (Comparison.LE, Comparison.GT)
    at_end = ast.Compare(field, up, ast.Number(sign * LARGEST))
    short_of_end = ast.Compare(field, not_up, ast.Number(sign * LARGEST))
    is_nan = ast.IsNan(field)
    never = ast.conjunction([is_nan, is_number])
    towards_end = (Comparison.GT, Comparison.GE) if sign > 0 else (Comparison.LT, Comparison.LE)
    match comparison:
        case Comparison.EQ:
            return never if is_infinite else at_end
        case Comparison.NE:
            if is_infinite:
                return ast.IsNull(field, is_negated=True)
            return ast.disjunction([short_of_end, is_nan])
        case _ if comparison in towards_end:
            is_strict = comparison in (Comparison.GT, Comparison.LT)
            return never if is_infinite or is_strict else at_end
        case _:
            is_strict = comparison in (Comparison.GT, Comparison.LT)
            return short_of_end if is_strict and not is_infinite else is_number


def _name_test(field: ast.Field, comparator: str, clause: Clause) -> ast.Expression:
    """A run without a name has no tag `mlflow.runName`."""
    has_name = ast.Compare(field, Comparison.NE, ast.Text(""))
    if comparator == "IS NULL":
        return ast.Compare(field, Comparison.EQ, ast.Text(""))
    if comparator == "IS NOT NULL":
        return has_name
    return ast.conjunction([_test(field, comparator, clause), has_name])


def _parent_test(tagged: ast.Expression, comparator: str, clause: Clause) -> ast.Expression:
    """The tag as it was set, or else the parent that the run began with."""
    no_tag = ast.IsNull(ast.Tag(tag_names.PARENT_RUN_ID))
    parent = _test(ast.Attribute("parent_run_id"), comparator, clause)
    if comparator == "IS NULL":
        return ast.conjunction([tagged, parent])
    return ast.disjunction([tagged, ast.conjunction([no_tag, parent])])


def _experiment_test(clause: Clause) -> ast.Expression:
    kind, key, comparator, value = clause
    if kind == TAG:
        if comparator not in _KEYED:
            raise invalid(f"Invalid comparator for tag: {cut(comparator)}")
        return _test(ast.Tag(key), comparator, clause)
    if kind != ATTRIBUTE:
        raise invalid(f"Invalid token type: {kind}")
    if key == "experiment_id":
        return _experiment_id_test(clause)
    _check_comparator(kind, key, comparator, EXPERIMENT_GRAMMAR)
    if key in EXPERIMENT_GRAMMAR.numeric_attributes:
        if isinstance(value, float):
            raise invalid(f"Invalid value for numeric attribute '{key}': '{value}'")
    elif comparator not in _TEXTUAL:
        raise invalid(f"Invalid comparator for string attribute: {cut(comparator)}")
    return _test(ast.Attribute(key), comparator, clause)


def _experiment_id_test(clause: Clause) -> ast.Expression:
    if clause.comparator not in ("=", "!=", "IN", "NOT IN"):
        raise invalid(f"Invalid comparator for experiment_id: {cut(clause.comparator)}")
    value: str | tuple[str, ...]
    if isinstance(clause.value, tuple):
        value = tuple(experiment_id_of(text or "?") for text in clause.value)
    else:
        value = experiment_id_of(str(clause.value) or "?")
    return _test(ast.Attribute("experiment_id"), clause.comparator, clause._replace(value=value))
