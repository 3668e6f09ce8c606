"""Reads the left side of a predicate or an order: a prefix and a key, or an attribute."""

from __future__ import annotations

import difflib
from typing import Final

from projections.search import ast
from projections.search.errors import InvalidQuery
from projections.search.fields import DATASET_FIELDS, PREFIXES, Catalog, FieldType, Kind
from projections.search.stream import TokenStream
from projections.search.tokens import Token, TokenKind

_SUMMARIES: Final = {summary.value: summary for summary in ast.Summary}
_QUOTED: Final = (TokenKind.QUOTED, TokenKind.BACKTICKED)


def parse_field(tokens: TokenStream, catalog: Catalog) -> ast.Field:
    """The next field, or InvalidQuery with the nearest name there is."""
    token = tokens.peek()
    if token.kind in _QUOTED:
        return _attribute(tokens.take().text, token, catalog)
    if token.kind is not TokenKind.WORD:
        raise tokens.unexpected("a field such as metrics.loss, params.lr or status")
    tokens.take()
    prefix, dot, rest = token.text.partition(".")
    if not dot:
        return _attribute(prefix, token, catalog)
    kind = PREFIXES.get(prefix)
    if kind is None or kind not in catalog.kinds:
        raise _unknown(prefix, token, [p for p, k in PREFIXES.items() if k in catalog.kinds])
    if rest:
        return _field(kind, rest, None, token, catalog)
    return _quoted_field(tokens, kind, token, catalog)


def type_of(field: ast.Field, catalog: Catalog) -> FieldType:
    """What the field's values are. A param is a text, though it may be read as a number."""
    match field:
        case ast.Attribute(name):
            return catalog.attributes[name]
        case ast.Metric():
            return FieldType.NUMBER
        case _:
            return FieldType.TEXT


def _quoted_field(tokens: TokenStream, kind: Kind, prefix: Token, catalog: Catalog) -> ast.Field:
    key = tokens.peek()
    if key.kind not in _QUOTED or key.column != prefix.end:
        raise InvalidQuery(
            f"the key after {prefix.text!r} is missing",
            position=prefix.end,
            hint="keys with odd characters go in backticks",
        )
    tokens.take()
    summary = ast.Summary.LAST
    dot = tokens.peek()
    if dot.kind is TokenKind.DOT and dot.column == key.end:
        tokens.take()
        word = tokens.take()
        found = _SUMMARIES.get(word.text)
        if kind is not Kind.METRIC or word.kind is not TokenKind.WORD or found is None:
            raise InvalidQuery(
                f"{word.text[:40]!r} is no summary of a metric",
                position=word.column,
                hint="write last, first, min, max or count",
            )
        summary = found
    return _field(kind, key.text, summary, key, catalog)


def _field(
    kind: Kind, key: str, summary: ast.Summary | None, token: Token, catalog: Catalog
) -> ast.Field:
    """`summary` None: the key was not quoted, so its last part may be one."""
    if not key:
        raise InvalidQuery("the key is empty", position=token.column)
    match kind:
        case Kind.ATTRIBUTE:
            return _attribute(key, token, catalog)
        case Kind.METRIC:
            if summary is None:
                return _metric(key)
            return ast.Metric(key, summary)
        case Kind.PARAM:
            return ast.Param(key)
        case Kind.TAG:
            return ast.Tag(key)
        case Kind.DATASET:
            if key not in DATASET_FIELDS:
                raise _unknown(key, token, sorted(DATASET_FIELDS))
            return ast.Dataset(key)


def _metric(text: str) -> ast.Metric:
    head, _, last = text.rpartition(".")
    if head and last in _SUMMARIES:
        return ast.Metric(head, _SUMMARIES[last])
    return ast.Metric(text)


def _attribute(name: str, token: Token, catalog: Catalog) -> ast.Attribute:
    canonical = catalog.attribute(name)
    if canonical is None:
        raise _unknown(name, token, catalog.names())
    return ast.Attribute(canonical)


def _unknown(name: str, token: Token, known: list[str]) -> InvalidQuery:
    near = difflib.get_close_matches(name[:60], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return InvalidQuery(f"{name[:60]!r} is unknown", position=token.column, hint=hint)
