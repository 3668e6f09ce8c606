"""SQLite's form of one test on one value: a comparison, a list, a pattern.

A test may come out NULL where the value is NULL; whoever uses it makes that false.
"""

from __future__ import annotations

import json
import math
from typing import Final, assert_never

from projections.search import ast
from projections.search.ast import Comparison, Matching
from projections.search.limits import MICROSECONDS_MAX
from projections.search.patterns import like_glob
from projections.search.sql_text import Sql

# Functions that the reader's connection provides, see `sqlite_functions`.
REGEX_FUNCTION: Final = "search_regex"
ILIKE_FUNCTION: Final = "search_ilike"


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


def one_of(value: Sql, values: tuple[ast.Text | ast.Number, ...], *, is_negated: bool) -> Sql:
    """Texts travel as one JSON parameter; numbers do not, as JSON may round them."""
    operator = "NOT IN" if is_negated else "IN"
    if isinstance(values[0], ast.Text):
        listed = json.dumps([item.value for item in values], ensure_ascii=False)
        test = f"{value.text} {operator} (SELECT value FROM json_each(?))"
        return Sql(test, (*value.params, listed))
    marks = ",".join("?" * len(values))
    params = tuple(item.value for item in values)
    return Sql(f"{value.text} {operator} ({marks})", (*value.params, *params))


def matches(value: Sql, matching: Matching, pattern: str, *, is_negated: bool) -> Sql:
    test = _matches(value, matching, pattern)
    return Sql(f"NOT ({test.text})", test.params) if is_negated else test


def _matches(value: Sql, matching: Matching, pattern: str) -> Sql:
    match matching:
        case Matching.LIKE:
            return Sql(f"{value.text} GLOB ?", (*value.params, like_glob(pattern)))
        case Matching.ILIKE if pattern.isascii():
            return Sql(f"{value.text} LIKE ?", (*value.params, pattern))
        case Matching.ILIKE:
            # SQLite folds the case of ASCII letters only.
            return Sql(f"{ILIKE_FUNCTION}(?, {value.text})", (pattern, *value.params))
        case Matching.RLIKE:
            return Sql(f"{REGEX_FUNCTION}(?, {value.text})", (pattern, *value.params))
        case _:
            assert_never(matching)


def is_flag(value: Sql, comparison: Comparison, flag: bool) -> Sql:
    wanted = flag if comparison is Comparison.EQ else not flag
    return Sql(f"{value.text} = {1 if wanted else 0}", value.params)
