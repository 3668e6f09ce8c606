"""One test on one value as SQL: a comparison, a list, a pattern.

A test may come out NULL where the value is NULL; whoever uses it makes that false.
"""

from __future__ import annotations

import math
from typing import assert_never

from projections.search import ast
from projections.search.ast import Comparison, Matching
from projections.search.dialect import Dialect
from projections.search.limits import MICROSECONDS_MAX, ORDER_CHARACTERS_MAX
from projections.search.patterns import like_prefix
from projections.search.sql_text import FALSE, TRUE, Sql


def compare_text(value: Sql, comparison: Comparison, text: str) -> Sql:
    return Sql(f"{value.text} {comparison} ?", (*value.params, text))


def compare_number(value: Sql, comparison: Comparison, number: int | float) -> Sql:
    return Sql(f"{value.text} {comparison} ?", (*value.params, number))


def compare_time(value: Sql, comparison: Comparison, time: ast.Value, *, now_us: int) -> Sql:
    """`value` is microseconds. Milliseconds compare with it rounded down to milliseconds."""
    match time:
        case ast.Moment(microseconds):
            return compare_number(value, comparison, _bounded(microseconds))
        case ast.FromNow(microseconds):
            return compare_number(value, comparison, _bounded(now_us + microseconds))
        case ast.Number(milliseconds):
            return _compare_milliseconds(value, comparison, milliseconds)
        case _:
            raise AssertionError(f"the parser lets no {time!r} stand beside a time")


def _compare_milliseconds(value: Sql, comparison: Comparison, milliseconds: int | float) -> Sql:
    # floor(us / 1000) against a number, said of us itself so that an index can be used.
    at = _microseconds(milliseconds, rounded_up=True)
    after = _microseconds(milliseconds, rounded_up=False) + 1000
    match comparison:
        case Comparison.LT:
            return compare_number(value, Comparison.LT, _bounded(at))
        case Comparison.GE:
            return compare_number(value, Comparison.GE, _bounded(at))
        case Comparison.LE:
            return compare_number(value, Comparison.LT, _bounded(after))
        case Comparison.GT:
            return compare_number(value, Comparison.GE, _bounded(after))
        case Comparison.EQ:
            test = f"{value.text} >= ? AND {value.text} < ?"
            return Sql(f"({test})", (*value.params, _bounded(at), *value.params, _bounded(after)))
        case Comparison.NE:
            test = f"{value.text} < ? OR {value.text} >= ?"
            return Sql(f"({test})", (*value.params, _bounded(at), *value.params, _bounded(after)))
        case _:
            assert_never(comparison)


def _microseconds(milliseconds: int | float, *, rounded_up: bool) -> int:
    if math.isinf(milliseconds):
        return MICROSECONDS_MAX if milliseconds > 0 else -MICROSECONDS_MAX
    whole = math.ceil(milliseconds) if rounded_up else math.floor(milliseconds)
    return whole * 1000


def _bounded(microseconds: int) -> int:
    return max(-MICROSECONDS_MAX, min(MICROSECONDS_MAX, microseconds))


def one_of(
    value: Sql,
    values: tuple[ast.Text | ast.Number, ...],
    *,
    is_negated: bool,
    dialect: Dialect,
) -> Sql:
    numbers = [item.value for item in values if isinstance(item, ast.Number)]
    if numbers:
        return dialect.is_one_of_numbers(value, numbers, is_negated=is_negated)
    texts = [item.value for item in values if isinstance(item, ast.Text)]
    return dialect.is_one_of(value, texts, is_negated=is_negated)


def matches(
    value: Sql, matching: Matching, pattern: str, *, is_negated: bool, dialect: Dialect
) -> Sql:
    test = dialect.matches(value, matching, pattern)
    return Sql(f"NOT ({test.text})", test.params) if is_negated else test


def soonest(test: ast.Predicate, column: str, dialect: Dialect) -> str:
    """Of a column that is read with its row's key, as much as the test needs.

    Not where a database may choose another index by it: what PostgreSQL expects of a value under a
    key is a guess, and an EXISTS was then run over all that have the value, for each run.
    """
    is_text = isinstance(test.field, ast.Param | ast.Tag)
    return dialect.beginning(column) if is_text and is_told_by_beginning(test, dialect) else column


def is_told_by_beginning(test: ast.Predicate, dialect: Dialect) -> bool:
    """Whether the first ORDER_CHARACTERS_MAX characters of a text tell if it passes."""
    match test:
        case ast.IsNull():
            return True
        case ast.Compare(_, _, ast.Text(text)):
            return _is_short(text, dialect)
        case ast.OneOf(_, values, _):
            return all(
                isinstance(item, ast.Text) and _is_short(item.value, dialect) for item in values
            )
        case ast.Match(_, Matching.LIKE, pattern, _):
            prefix = like_prefix(pattern)
            fits = len(prefix) <= ORDER_CHARACTERS_MAX and dialect.stores_as_is(prefix)
            return fits and pattern == prefix + "%"
        case _:
            return False


def _is_short(text: str, dialect: Dialect) -> bool:
    """Whether a text of which this is the beginning can only be this one."""
    return len(text) < ORDER_CHARACTERS_MAX and dialect.stores_as_is(text)


def is_flag(value: Sql, comparison: Comparison, flag: bool) -> Sql:
    wanted = flag if comparison is Comparison.EQ else not flag
    return value + Sql(" = ") + (TRUE if wanted else FALSE)
