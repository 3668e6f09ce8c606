"""Writes a syntax tree as text that parses back into the same tree."""

from __future__ import annotations

import math
from typing import assert_never

from projections.search import ast
from projections.search.literals import moment_text


def print_filter(expression: ast.Expression | None) -> str:
    """The canonical text: keys in backticks, texts in single quotes, keywords in capitals."""
    match expression:
        case None:
            return ""
        case ast.And(items):
            return " AND ".join(_enclosed(item) for item in items)
        case ast.Or(items):
            return " OR ".join(_enclosed(item) for item in items)
        case ast.Not(item):
            return f"NOT {_enclosed(item)}"
        case ast.Compare(field, comparison, value):
            return f"{print_field(field)} {comparison} {_value(value)}"
        case ast.Match(field, matching, pattern, is_negated):
            return f"{print_field(field)} {_not(is_negated)}{matching} {_quote(pattern)}"
        case ast.OneOf(field, values, is_negated):
            listed = ", ".join(_value(value) for value in values)
            return f"{print_field(field)} {_not(is_negated)}IN ({listed})"
        case ast.IsNull(field, is_negated):
            return f"{print_field(field)} IS {_not(is_negated)}NULL"
        case ast.IsNan(field, is_negated):
            return f"{print_field(field)} IS {_not(is_negated)}NAN"
        case _:
            assert_never(expression)


def print_order(term: ast.OrderTerm) -> str:
    return f"{print_field(term.field)} {'DESC' if term.is_descending else 'ASC'}"


def print_field(field: ast.Field) -> str:
    match field:
        case ast.Attribute(name):
            return name
        case ast.Metric(key, summary):
            suffix = "" if summary is ast.Summary.LAST else f".{summary}"
            return f"metrics.{_backtick(key)}{suffix}"
        case ast.Param(key):
            return f"params.{_backtick(key)}"
        case ast.Tag(key):
            return f"tags.{_backtick(key)}"
        case ast.Dataset(name):
            return f"datasets.{name}"
        case _:
            assert_never(field)


def _enclosed(item: ast.Expression) -> str:
    text = print_filter(item)
    return f"({text})" if isinstance(item, ast.And | ast.Or) else text


def _value(value: ast.Value) -> str:
    match value:
        case ast.Text(text):
            return _quote(text)
        case ast.Number(number):
            if isinstance(number, float) and math.isinf(number):
                return "inf" if number > 0 else "-inf"
            return repr(number)
        case ast.Flag(flag):
            return "true" if flag else "false"
        case ast.Duration(microseconds):
            return f"{microseconds}us"
        case ast.Moment():
            return _quote(moment_text(value))
        case ast.FromNow(microseconds):
            return f"now{microseconds:+d}us" if microseconds else "now"
        case _:
            assert_never(value)


def _not(is_negated: bool) -> str:
    return "NOT " if is_negated else ""


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _backtick(key: str) -> str:
    return "`" + key.replace("`", "``") + "`"
