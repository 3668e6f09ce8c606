"""Reads the right side of a predicate and holds it against the type of the left."""

from __future__ import annotations

from typing import Final, assert_never

from projections.search import ast, literals
from projections.search.ast import Comparison
from projections.search.errors import InvalidQuery
from projections.search.fields import Catalog, FieldType
from projections.search.left_sides import type_of
from projections.search.stream import TokenStream
from projections.search.tokens import Token, TokenKind

_EQUALITY: Final = (Comparison.EQ, Comparison.NE)
_TEXTS: Final = (TokenKind.TEXT, TokenKind.QUOTED)


def parse_value(tokens: TokenStream, field: ast.Field, catalog: Catalog) -> ast.Value:
    """The next value, of a kind that `field` can be compared with."""
    kind = type_of(field, catalog)
    match kind:
        case FieldType.TEXT:
            return _text(tokens, accepts_number=isinstance(field, ast.Param))
        case FieldType.NUMBER:
            return _number(tokens)
        case FieldType.TIME:
            return _time(tokens)
        case FieldType.DURATION:
            return _duration(tokens)
        case FieldType.FLAG:
            return _flag(tokens)
        case _:
            assert_never(kind)


def check_comparison(
    field: ast.Field,
    comparison: Comparison,
    value: ast.Value,
    catalog: Catalog,
    operator: Token,
    value_column: int,
) -> None:
    """Texts have no order here, and neither has true or false."""
    if comparison in _EQUALITY:
        return
    if isinstance(value, ast.Text):
        hint = "use =, !=, IN, LIKE, ILIKE or RLIKE"
        if isinstance(field, ast.Param):
            hint = "write the number without quotes to compare numbers"
        raise InvalidQuery(
            f"'{comparison}' does not compare texts", position=operator.column, hint=hint
        )
    if isinstance(value, ast.Flag):
        raise InvalidQuery("true and false have no order", position=value_column)


def check_null(field: ast.Field, catalog: Catalog, column: int) -> None:
    if type_of(field, catalog) is FieldType.FLAG:
        raise InvalidQuery("this field is true or false, never null", position=column)


def _text(tokens: TokenStream, *, accepts_number: bool) -> ast.Value:
    token = tokens.peek()
    if token.kind in _TEXTS:
        return ast.Text(tokens.take().text)
    if accepts_number and token.kind is TokenKind.NUMBER:
        return _number(tokens)
    raise tokens.unexpected("a text in quotes" + (" or a number" if accepts_number else ""))


def _number(tokens: TokenStream) -> ast.Number:
    token = tokens.peek()
    if token.kind is not TokenKind.NUMBER:
        raise tokens.unexpected("a number without quotes")
    return ast.Number(literals.number(tokens.take().text))


def _time(tokens: TokenStream) -> ast.Value:
    token = tokens.peek()
    if token.kind is TokenKind.NUMBER:
        return _number(tokens)
    if token.kind in _TEXTS:
        return literals.moment(tokens.take().text, column=token.column)
    found = literals.from_now(token.text, column=token.column)
    if token.kind is not TokenKind.WORD or found is None:
        raise tokens.unexpected("milliseconds since 1970, a quoted ISO 8601 time or now-7d")
    tokens.take()
    if found.microseconds != 0:
        return found
    return ast.FromNow(_offset(tokens))


def _offset(tokens: TokenStream) -> int:
    """The offset that follows a `now` and a space, in microseconds."""
    token = tokens.peek()
    sign = ""
    if token.kind in (TokenKind.PLUS, TokenKind.MINUS):
        sign = tokens.take().text
        token = tokens.peek()
    elif token.kind is not TokenKind.DURATION or token.text[0] not in "+-":
        return 0
    if token.kind is not TokenKind.DURATION or (sign and token.text[0] in "+-"):
        raise tokens.unexpected("a duration such as 7d")
    tokens.take()
    return literals.duration_us(sign + token.text, column=token.column)


def _duration(tokens: TokenStream) -> ast.Duration:
    token = tokens.peek()
    if token.kind is not TokenKind.DURATION:
        raise tokens.unexpected("a duration with its unit, such as 90s or 1h30m")
    return ast.Duration(literals.duration_us(tokens.take().text, column=token.column))


def _flag(tokens: TokenStream) -> ast.Flag:
    word = tokens.peek().upper
    if word not in ("TRUE", "FALSE"):
        raise tokens.unexpected("true or false")
    tokens.take()
    return ast.Flag(word == "TRUE")
