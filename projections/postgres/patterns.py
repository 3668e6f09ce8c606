"""Patterns that PostgreSQL would read differently: matched here, and handed over as lists.

A regular expression beyond what is certainly the same (`regexes`), or an ILIKE beyond ASCII,
is tried with RE2 on the different texts that the field has, which are fewer than its rows. The
predicate then asks for one of the texts that matched. So both stores answer the same, and no
pattern from outside runs in PostgreSQL's own engine, whose time is not bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from projections.connection import Connection
from projections.postgres.regexes import as_postgres_regex
from projections.search import ast
from projections.search.ast import Matching
from projections.search.entities_sqlite import Entity, ExperimentEntity
from projections.search.patterns import like_matches, regex_matches

_OF_ONE: Final = re.compile(r"\w+\.(?:run_no|experiment_id) = \S+")


def resolved(
    connection: Connection, expression: ast.Expression | None, entity: Entity
) -> ast.Expression | None:
    """The same filter without the patterns that PostgreSQL cannot be asked."""
    match expression:
        case None:
            return None
        case ast.And(items):
            return ast.And(tuple(_resolved(connection, item, entity) for item in items))
        case ast.Or(items):
            return ast.Or(tuple(_resolved(connection, item, entity) for item in items))
        case ast.Not(item):
            return ast.Not(_resolved(connection, item, entity))
        case ast.Match(field, matching, pattern, is_negated):
            test = _test_of(matching, pattern)
            if test is None:
                return expression
            texts = _texts_of(connection, field, entity)
            found = tuple(ast.Text(text) for text in texts if test(text))
            if is_negated and not found:
                return ast.IsNull(field, is_negated=True)
            return ast.OneOf(field, found, is_negated)
        case _:
            return expression


def _resolved(connection: Connection, item: ast.Expression, entity: Entity) -> ast.Expression:
    found = resolved(connection, item, entity)
    assert found is not None
    return found


def _test_of(matching: Matching, pattern: str) -> Callable[[str], bool] | None:
    if matching is Matching.RLIKE and as_postgres_regex(pattern) is None:
        return lambda text: regex_matches(pattern, text)
    if matching is Matching.ILIKE and not pattern.isascii():
        return lambda text: like_matches(pattern, text, minds_case=False)
    return None


def _texts_of(connection: Connection, field: ast.Field, entity: Entity) -> list[str]:
    """Every text the field has anywhere."""
    if isinstance(field, ast.Attribute):
        table = "experiment e" if isinstance(entity, ExperimentEntity) else "run r"
        value = entity.attribute(field.name).value
        sql, params = f"SELECT DISTINCT {value.text} FROM {table}", value.params
    else:
        row = entity.row_of(field, "k")
        if row is None:
            return []
        table, _, condition = row.text.partition(" ON ")
        where = _OF_ONE.sub("TRUE", condition, count=1)
        sql = f"SELECT DISTINCT {entity.value_of(field, 'k')} FROM {table} WHERE {where}"
        params = row.params
    return [text for (text,) in connection.execute(sql, params) if text is not None]
