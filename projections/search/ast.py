"""The syntax tree of the search language: frozen, free of any database.

Truth has two values. A comparison is false for a run that lacks the field, `!=` and
`NOT LIKE` included (MLflow's rule), so `NOT metrics.a = 1` finds more than
`metrics.a != 1`. A NaN is a value that equals nothing and is ordered with nothing: of the
comparisons only `!=` is true of it. `conjunction` and `disjunction` keep the tree normal:
no And inside And, no Or inside Or, none with a single item.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Comparison(StrEnum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Summary(StrEnum):
    """Which number stands for a metric's series."""

    LAST = "last"
    FIRST = "first"
    MIN = "min"
    MAX = "max"
    COUNT = "count"


class Matching(StrEnum):
    LIKE = "LIKE"
    ILIKE = "ILIKE"
    RLIKE = "RLIKE"


# -- left sides -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field of the run or experiment itself, by its canonical name in `fields`."""

    name: str


@dataclass(frozen=True, slots=True)
class Metric:
    key: str
    summary: Summary = Summary.LAST


@dataclass(frozen=True, slots=True)
class Param:
    key: str


@dataclass(frozen=True, slots=True)
class Tag:
    key: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A field of a run's datasets: name, digest or context."""

    name: str


Field: TypeAlias = Attribute | Metric | Param | Tag | Dataset


# -- right sides ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    value: str


@dataclass(frozen=True, slots=True)
class Number:
    """A number. Compared with a time it means milliseconds since 1970, as in MLflow."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Flag:
    value: bool


@dataclass(frozen=True, slots=True)
class Duration:
    microseconds: int


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant in microseconds since 1970 UTC."""

    microseconds: int


@dataclass(frozen=True, slots=True)
class FromNow:
    """The searcher's clock plus an offset."""

    microseconds: int


Value: TypeAlias = Text | Number | Flag | Duration | Moment | FromNow


# -- predicates -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compare:
    field: Field
    comparison: Comparison
    value: Value


@dataclass(frozen=True, slots=True)
class Match:
    field: Field
    matching: Matching
    pattern: str
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """`IN`: all values are texts, or all are numbers."""

    field: Field
    values: tuple[Text | Number, ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNull:
    field: Field
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNan:
    """True of a metric whose summary is NaN; negated: of one that has another value."""

    field: Field
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    item: Expression


@dataclass(frozen=True, slots=True)
class And:
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    items: tuple[Expression, ...]


Predicate: TypeAlias = Compare | Match | OneOf | IsNull | IsNan
Expression: TypeAlias = Predicate | Not | And | Or


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """`is_whole`: long texts are ordered by all of their characters, not by the first ones."""

    field: Field
    is_descending: bool = False
    is_whole: bool = False


def conjunction(items: Iterable[Expression]) -> Expression:
    """The items joined by AND, with nested Ands taken apart."""
    flat: list[Expression] = []
    for item in items:
        flat.extend(item.items if isinstance(item, And) else (item,))
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def disjunction(items: Iterable[Expression]) -> Expression:
    """The items joined by OR, with nested Ors taken apart."""
    flat: list[Expression] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Or) else (item,))
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def conjuncts(expression: Expression | None) -> tuple[Expression, ...]:
    """What must all be true for `expression` to be true."""
    if expression is None:
        return ()
    return expression.items if isinstance(expression, And) else (expression,)


def fields_of(expression: Expression | None) -> Iterable[Field]:
    """Every left side in the tree."""
    match expression:
        case None:
            return
        case And(items) | Or(items):
            for item in items:
                yield from fields_of(item)
        case Not(item):
            yield from fields_of(item)
        case _:
            yield expression.field
