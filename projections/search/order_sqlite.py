"""Order and keyset paging.

Each order term is two columns: a rank (0 a value, 1 NaN, 2 none) that always rises, and
the value. So runs without a value come last both ways, NaN just before them. The entity's
ties follow, which makes the order total: a page goes on exactly behind the last row of the
one before, by comparing all columns with that row's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from projections.search import ast
from projections.search.entities_sqlite import NAN_COLUMNS, Entity, order_text, row_field
from projections.search.paging import SortValue
from projections.search.sql_text import FALSE, Sql, join

_NO_ALIASES: Final[Mapping[ast.Field, str]] = {}


class Rank(IntEnum):
    VALUE = 0
    NAN = 1
    MISSING = 2


@dataclass(frozen=True, slots=True)
class SortColumn:
    """`fixed` is set where every row of a query has this value; it is then not sorted by.

    A value to compare with stands in `given`.
    """

    value: Sql
    is_descending: bool = False
    fixed: SortValue = None
    is_fixed: bool = False
    given: str = "?"


@dataclass(frozen=True, slots=True)
class Order:
    """The joins that the columns need, and the columns, the most significant first."""

    joins: Sql
    columns: tuple[SortColumn, ...]


def order_of(
    terms: Sequence[ast.OrderTerm],
    entity: Entity,
    *,
    skip: int = 0,
    aliases: Mapping[ast.Field, str] = _NO_ALIASES,
) -> Order:
    """The general order: it works behind any FROM that has the entity's rows.

    `skip` leaves out the first terms, whose columns the caller has by other means; `aliases`
    are those of keyed rows that it has joined already, see `row_field`.
    """
    joins: list[Sql] = []
    columns: list[SortColumn] = []
    for index, term in enumerate(terms):
        if index < skip:
            continue
        if isinstance(term.field, ast.Attribute):
            columns.extend(_attribute_columns(term, term.field.name, entity))
            continue
        joined = aliases.get(row_field(term.field))
        alias = joined or alias_of(index)
        row = entity.row_of(term.field, alias)
        if row is None:
            columns.extend(missing_columns(term))
            continue
        if joined is None:
            joins.append(Sql(" LEFT JOIN ") + row)
        columns.extend(_keyed_columns(term, alias, entity))
    columns.extend(tie_columns(terms, entity))
    return Order(join("", joins), tuple(columns))


def alias_of(index: int) -> str:
    return f"o{index}"


def value_column(term: ast.OrderTerm, alias: str, entity: Entity) -> SortColumn:
    """What a keyed field is ordered by, given its row."""
    value = entity.value_of(term.field, alias)
    if isinstance(term.field, ast.Metric):
        return SortColumn(Sql(value), is_descending=term.is_descending)
    # PostgreSQL may have cut an escaped character in two, of which the token knows the first half.
    # Escaped again it is two, and cut again what it was.
    return SortColumn(
        Sql(order_text(value)), is_descending=term.is_descending, given=order_text("?")
    )


def missing_columns(term: ast.OrderTerm) -> tuple[SortColumn, ...]:
    rank = SortColumn(Sql("2"), fixed=int(Rank.MISSING), is_fixed=True)
    none = SortColumn(Sql("NULL"), is_fixed=True)
    return (rank, none, none) if has_whole(term) else (rank, none)


def has_whole(term: ast.OrderTerm) -> bool:
    """True if texts with the same ordered part are ordered by a further column."""
    return term.is_whole and isinstance(term.field, ast.Param | ast.Tag)


def whole_column(term: ast.OrderTerm, alias: str, entity: Entity) -> SortColumn:
    """The whole text. Only the rest of it would decide, but of a character that was cut in two,
    see `value_column`, a token would not know the second half."""
    text = entity.value_of(term.field, alias)
    return SortColumn(Sql(text), is_descending=term.is_descending)


def width_of(terms: Sequence[ast.OrderTerm], entity: Entity) -> int:
    """The number of columns that terms and ties are ordered by."""
    return sum(3 if has_whole(term) else 2 for term in terms) + len(tie_columns(terms, entity))


def tie_columns(terms: Sequence[ast.OrderTerm], entity: Entity) -> list[SortColumn]:
    named = {term.field.name for term in terms if isinstance(term.field, ast.Attribute)}
    return [
        SortColumn(value, is_descending=is_descending)
        for name, value, is_descending in entity.ties
        if name not in named
    ]


def _attribute_columns(
    term: ast.OrderTerm, name: str, entity: Entity
) -> tuple[SortColumn, SortColumn]:
    column = entity.attribute(name)
    value = SortColumn(column.value, is_descending=term.is_descending)
    if not column.is_nullable:
        return SortColumn(Sql("0"), fixed=int(Rank.VALUE), is_fixed=True), value
    rank = Sql("(CASE WHEN ") + column.value + Sql(" IS NULL THEN 2 ELSE 0 END)")
    return SortColumn(rank), value


def _keyed_columns(term: ast.OrderTerm, alias: str, entity: Entity) -> tuple[SortColumn, ...]:
    column = entity.value_of(term.field, alias)
    value = value_column(term, alias, entity)
    if column.partition(".")[2] in NAN_COLUMNS:
        has_none = f"{alias}.key_id IS NULL"
        rank = f"(CASE WHEN {has_none} THEN 2 WHEN {column} IS NULL THEN 1 ELSE 0 END)"
    else:
        rank = f"(CASE WHEN {column} IS NULL THEN 2 ELSE 0 END)"
    if has_whole(term):
        return SortColumn(Sql(rank)), value, whole_column(term, alias, entity)
    return SortColumn(Sql(rank)), value


def select_list(columns: Sequence[SortColumn]) -> Sql:
    return join(
        ", ",
        (
            Sql(f"{column.value.text} AS s{index}", column.value.params)
            for index, column in enumerate(columns)
        ),
    )


def order_list(columns: Sequence[SortColumn]) -> Sql:
    """ORDER BY's list, by the names of `select_list`."""
    return Sql(
        ", ".join(
            f"s{index}{' DESC' if column.is_descending else ''}"
            for index, column in enumerate(columns)
            if not column.is_fixed
        )
    )


def after(columns: Sequence[SortColumn], values: Sequence[SortValue]) -> Sql:
    """True of rows that come behind `values` in the order of `columns`."""
    pairs = [
        (column, value)
        for column, value in zip(columns, values, strict=True)
        # Equal ranks stand before it, so where a value is missing all are.
        if value is not None and not column.is_fixed
    ]
    if not pairs:
        return FALSE
    (first, value), rest = pairs[0], pairs[1:]
    condition = _behind(first, value)
    if rest:
        condition = _deeper(condition, first, value, rest)
        # Said once more for the index of the first column.
        condition = Sql("(") + _not_before(first, value) + Sql(") AND (") + condition + Sql(")")
    return condition


def _deeper(
    condition: Sql,
    column: SortColumn,
    value: SortValue,
    rest: Sequence[tuple[SortColumn, SortValue]],
) -> Sql:
    (following, following_value), others = rest[0], rest[1:]
    inner = _behind(following, following_value)
    if others:
        inner = _deeper(inner, following, following_value, others)
    equal = column.value + Sql(f" = {column.given}", (value,))
    return condition + Sql(" OR (") + equal + Sql(" AND (") + inner + Sql("))")


def _behind(column: SortColumn, value: SortValue) -> Sql:
    operator = "<" if column.is_descending else ">"
    return column.value + Sql(f" {operator} {column.given}", (value,))


def _not_before(column: SortColumn, value: SortValue) -> Sql:
    operator = "<=" if column.is_descending else ">="
    return column.value + Sql(f" {operator} {column.given}", (value,))
