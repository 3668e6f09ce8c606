"""The search language: texts become syntax trees, or an InvalidQuery that says where.

Grammar (keywords in any case, names of fields and keys exactly as written):

    filter     = [ or ] END
    or         = and { "OR" and }
    and        = unary { "AND" unary }
    unary      = "NOT" unary | "(" or ")" | predicate
    predicate  = field comparison value
               | field [ "NOT" ] "IN" "(" value { "," value } ")"
               | field [ "NOT" ] ( "LIKE" | "ILIKE" | "RLIKE" | "MATCHES" ) text
               | field "IS" [ "NOT" ] ( "NULL" | "NAN" )
               | flag
    field      = prefix "." key [ "." summary ] | attribute
    prefix     = "metrics" | "params" | "tags" | "attributes" | "datasets" | MLflow's aliases
    key        = word | "`…`" | '"…"'
    summary    = "last" | "first" | "min" | "max" | "count"            (metrics only)
    attribute  = word | "`…`" | '"…"'                                  (see `fields`)
    comparison = "=" | "!=" | "<" | "<=" | ">" | ">="     ("==" and "<>" are read too)
    value      = "'…'" | '"…"' | number | "inf" | duration | "now" [ ("+"|"-") duration ]
    order      = field [ "ASC" | "DESC" ]

MLflow's grammar is the part of it without OR, NOT and parentheses, and its rules hold:
texts are quoted and numbers are not, LIKE minds case and ILIKE does not, a run without the
key matches nothing. Beyond it:

- A param compared with a bare number is compared as a number: `params.lr < 0.01`. Params
  whose text is no number do not match. With a quoted text it is compared as text.
- `metrics.loss.min` is the summary of the metric `loss`. A key may itself end in `.min`:
  in backticks the whole of it is the key, `` metrics.`loss.min` ``, and a summary may
  follow: `` metrics.`loss.min`.max ``.
- Bare numbers beside a time are milliseconds since 1970, as in MLflow; times may also be
  ISO 8601 in quotes, or relative: `start_time > now-7d`. The clock is the searcher's: the
  tree keeps the offset. `duration > 1h30m` counts until now for a run that has not ended.
- RLIKE and MATCHES search for an RE2 expression anywhere in the text (`^` and `$` anchor).

The tree is typed here, by the catalog of the entity searched, so that a mistake is found
at its column and a compiler meets only what makes sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from projections.search import ast
from projections.search.ast import Comparison, Matching
from projections.search.errors import InvalidQuery
from projections.search.fields import Catalog, FieldType
from projections.search.left_sides import parse_field, type_of
from projections.search.limits import (
    DEPTH_MAX,
    IN_ITEMS_MAX,
    ORDER_TERMS_MAX,
    PATTERN_CHARACTERS_MAX,
    PREDICATES_MAX,
)
from projections.search.patterns import check_regex
from projections.search.right_sides import check_comparison, check_null, parse_value
from projections.search.stream import TokenStream
from projections.search.tokens import TokenKind

_COMPARISONS: Final = {"==": Comparison.EQ, "<>": Comparison.NE} | {c.value: c for c in Comparison}
_MATCHINGS: Final = {
    "LIKE": Matching.LIKE,
    "ILIKE": Matching.ILIKE,
    "RLIKE": Matching.RLIKE,
    "MATCHES": Matching.RLIKE,
}
_OPERATORS_HINT: Final = "=, !=, <, <=, >, >=, [NOT] IN, [NOT] LIKE, ILIKE, RLIKE or IS [NOT] NULL"


def parse_filter(text: str | ast.Expression, catalog: Catalog) -> ast.Expression | None:
    """The tree of `text`, or None when it is empty and everything matches.

    A tree that was made elsewhere, of another language, is taken as it is.
    """
    if not isinstance(text, str):
        return text
    tokens = TokenStream(text)
    if tokens.peek().kind is TokenKind.END:
        return None
    expression = _Parser(tokens, catalog).disjunction(depth=0)
    if tokens.peek().kind is not TokenKind.END:
        raise tokens.unexpected("AND, OR or the end of the filter")
    return expression


def parse_order(
    texts: Sequence[str | ast.OrderTerm], catalog: Catalog
) -> tuple[ast.OrderTerm, ...]:
    """One term per text. Columns in errors count within the text at fault."""
    if len(texts) > ORDER_TERMS_MAX:
        raise InvalidQuery(
            f"order_by has {len(texts)} terms; at most {ORDER_TERMS_MAX} are allowed "
            "(order_terms_max)"
        )
    terms: list[ast.OrderTerm] = []
    for text in texts:
        try:
            term = text if isinstance(text, ast.OrderTerm) else _parse_order_term(text, catalog)
        except InvalidQuery as error:
            message = f"order_by {str(text)[:60]!r}: {error.message}"
            raise InvalidQuery(message, position=error.position) from None
        if all(term.field != earlier.field for earlier in terms):
            terms.append(term)
    return tuple(terms)


def _parse_order_term(text: str, catalog: Catalog) -> ast.OrderTerm:
    tokens = TokenStream(text)
    field = parse_field(tokens, catalog)
    is_descending = tokens.take_keyword("DESC")
    if not is_descending:
        tokens.take_keyword("ASC")
    if tokens.peek().kind is not TokenKind.END:
        raise tokens.unexpected("ASC, DESC or the end of the order")
    if isinstance(field, ast.Dataset):
        raise InvalidQuery("runs cannot be ordered by their datasets", position=1)
    return ast.OrderTerm(field, is_descending)


class _Parser:
    """Recursive descent over one filter."""

    def __init__(self, tokens: TokenStream, catalog: Catalog) -> None:
        self._tokens = tokens
        self._catalog = catalog
        self._predicates = 0

    def disjunction(self, *, depth: int) -> ast.Expression:
        items = [self._conjunction(depth=depth)]
        while self._tokens.take_keyword("OR"):
            items.append(self._conjunction(depth=depth))
        return ast.disjunction(items)

    def _conjunction(self, *, depth: int) -> ast.Expression:
        items = [self._unary(depth=depth)]
        while self._tokens.take_keyword("AND"):
            items.append(self._unary(depth=depth))
        return ast.conjunction(items)

    def _unary(self, *, depth: int) -> ast.Expression:
        token = self._tokens.peek()
        if depth > DEPTH_MAX:
            raise InvalidQuery(
                f"nested deeper than {DEPTH_MAX} levels (depth_max)", position=token.column
            )
        if self._tokens.take_keyword("NOT"):
            return ast.Not(self._unary(depth=depth + 1))
        if token.kind is TokenKind.OPEN:
            self._tokens.take()
            inner = self.disjunction(depth=depth + 1)
            self._tokens.expect(TokenKind.CLOSE, "AND, OR or ')'")
            return inner
        return self._predicate()

    def _predicate(self) -> ast.Expression:
        token = self._tokens.peek()
        self._predicates += 1
        if self._predicates > PREDICATES_MAX:
            raise InvalidQuery(
                f"more than {PREDICATES_MAX} conditions (predicates_max)",
                position=token.column,
                hint="use IN for lists",
            )
        field = parse_field(self._tokens, self._catalog)
        operator = self._tokens.peek()
        if operator.kind is TokenKind.COMPARISON:
            return self._compare(field)
        if self._tokens.take_keyword("IS"):
            return self._is_null(field)
        is_negated = self._tokens.take_keyword("NOT")
        if self._tokens.take_keyword("IN"):
            return self._one_of(field, is_negated=is_negated)
        for keyword, matching in _MATCHINGS.items():
            if self._tokens.take_keyword(keyword):
                return self._match(field, matching, is_negated=is_negated)
        if not is_negated and type_of(field, self._catalog) is FieldType.FLAG:
            return ast.Compare(field, Comparison.EQ, ast.Flag(True))
        raise self._tokens.unexpected(_OPERATORS_HINT)

    def _compare(self, field: ast.Field) -> ast.Expression:
        operator = self._tokens.take()
        comparison = _COMPARISONS[operator.text]
        column = self._tokens.peek().column
        value = parse_value(self._tokens, field, self._catalog)
        check_comparison(field, comparison, value, self._catalog, operator, column)
        return ast.Compare(field, comparison, value)

    def _is_null(self, field: ast.Field) -> ast.Expression:
        is_negated = self._tokens.take_keyword("NOT")
        token = self._tokens.peek()
        if self._tokens.take_keyword("NULL"):
            check_null(field, self._catalog, token.column)
            return ast.IsNull(field, is_negated)
        if self._tokens.take_keyword("NAN"):
            if not isinstance(field, ast.Metric):
                raise InvalidQuery("only a metric can be NaN", position=token.column)
            return ast.IsNan(field, is_negated)
        raise self._tokens.unexpected("NULL, NAN or NOT")

    def _one_of(self, field: ast.Field, *, is_negated: bool) -> ast.Expression:
        self._tokens.expect(TokenKind.OPEN, "'(' and a list of values")
        values: list[ast.Text | ast.Number] = []
        while True:
            column = self._tokens.peek().column
            value = parse_value(self._tokens, field, self._catalog)
            if not isinstance(value, ast.Text | ast.Number):
                raise InvalidQuery("IN compares texts and numbers", position=column)
            if values and type(value) is not type(values[0]):
                raise InvalidQuery(
                    "the list has both texts and numbers", position=column, hint="use one of them"
                )
            values.append(value)
            if len(values) > IN_ITEMS_MAX:
                raise InvalidQuery(
                    f"more than {IN_ITEMS_MAX} values in a list (in_items_max)", position=column
                )
            if self._tokens.peek().kind is not TokenKind.COMMA:
                break
            self._tokens.take()
        self._tokens.expect(TokenKind.CLOSE, "',' or ')'")
        return ast.OneOf(field, tuple(values), is_negated)

    def _match(self, field: ast.Field, matching: Matching, *, is_negated: bool) -> ast.Expression:
        token = self._tokens.peek()
        if type_of(field, self._catalog) is not FieldType.TEXT:
            raise InvalidQuery(
                f"{matching} works on texts, and this field is {type_of(field, self._catalog)}",
                position=token.column,
            )
        if token.kind not in (TokenKind.TEXT, TokenKind.QUOTED):
            raise self._tokens.unexpected("a pattern in quotes")
        self._tokens.take()
        if len(token.text) > PATTERN_CHARACTERS_MAX:
            raise InvalidQuery(
                f"the pattern has {len(token.text)} characters; at most "
                f"{PATTERN_CHARACTERS_MAX} are allowed (pattern_characters_max)",
                position=token.column,
            )
        if matching is Matching.RLIKE:
            check_regex(token.text, position=token.column)
        return ast.Match(field, matching, token.text, is_negated)
