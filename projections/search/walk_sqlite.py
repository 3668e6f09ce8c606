"""The strata of an ordered walk over runs.

A search may walk an index in the order asked for and stop when its page is full, instead
of collecting and sorting every match. Index order covers one kind of row at a time, so a
walk has strata, one behind the other: runs whose first order term has a value, runs where
it is NaN, runs that lack it. Within a stratum the rank of the first term is fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from projections.search import ast
from projections.search.ast import Summary
from projections.search.compile_sqlite import keyed_test
from projections.search.dialect import Dialect
from projections.search.entities_sqlite import RunEntity
from projections.search.order_sqlite import (
    Order,
    Rank,
    SortColumn,
    alias_of,
    has_whole,
    missing_columns,
    order_of,
    value_column,
    whole_column,
)
from projections.search.sql_text import NOTHING, TRUE, Sql, all_of
from projections.search.value_tests import soonest

_FIRST: Final = alias_of(0)
_INDEXES: Final = {
    "run_metric": "run_metric_last",
    "run_param": "run_param_value",
    "run_tag": "run_tag_value",
}


@dataclass(frozen=True, slots=True)
class Stratum:
    """One query of a walk, in the order of `order`.

    FROM `outermost`, whose `run_no` finds what is checked before the run's own row, then
    `run_join` and the order's joins, WHERE `condition`.
    """

    rank: Rank
    outermost: Sql
    condition: Sql
    order: Order
    run_no: str = "r.run_no"
    run_join: Sql = NOTHING
    # Conditions of the filter that `condition` includes already.
    covered: frozenset[ast.Expression] = frozenset()
    # What of `condition` is not of the filter.
    visited: Sql = TRUE

    @property
    def is_keyed(self) -> bool:
        """Whether it goes along keys and values, and looks up each run; else along runs."""
        return self.run_join != NOTHING


@dataclass(frozen=True, slots=True)
class Walk:
    """The strata in order. The first visits only runs that fulfil all of `population`."""

    strata: Sequence[Stratum]
    population: tuple[ast.Expression, ...]

    @property
    def ends_there(self) -> bool:
        """True if no stratum follows that has runs without a value."""
        return self.strata[-1].rank is not Rank.MISSING


def walk_of(
    terms: Sequence[ast.OrderTerm],
    conditions: Sequence[ast.Expression],
    entity: RunEntity,
    experiment_ids: Sequence[str],
) -> Walk | None:
    """The walk in the order of `terms`, or None when no index has that order."""
    if not terms or _is_start_time(terms[0].field):
        source = _runs_by_start(experiment_ids, entity.dialect)
        order = order_of(terms, entity)
        stratum = Stratum(Rank.VALUE, source, TRUE, order)
        inside = [
            ast.Compare(ast.Attribute("experiment_id"), ast.Comparison.EQ, ast.Text(experiment_id))
            for experiment_id in experiment_ids
        ]
        return Walk([stratum], tuple(inside) if len(inside) == 1 else ())
    field = terms[0].field
    if isinstance(field, ast.Attribute) or _is_unindexed_summary(field):
        return None
    row = entity.row_of(field, _FIRST)
    if row is None:
        return None
    strata = [_by_value(terms, conditions, entity, row)]
    if isinstance(field, ast.Metric):
        strata.append(_where_nan(terms, entity, row))
    if not any(_needs(condition, field) for condition in conditions):
        strata.append(_where_missing(terms, entity, row, experiment_ids))
    return Walk(strata, (ast.IsNull(field, is_negated=True), *strata[0].covered))


def _is_start_time(field: ast.Field) -> bool:
    return field == ast.Attribute("start_time")


def _is_unindexed_summary(field: ast.Field) -> bool:
    return isinstance(field, ast.Metric) and field.summary is not Summary.LAST


def _needs(condition: ast.Expression, field: ast.Field) -> bool:
    """True if only runs that have `field` fulfil the condition."""
    if isinstance(condition, ast.And | ast.Or | ast.Not):
        return False
    is_absence = isinstance(condition, ast.IsNull) and not condition.is_negated
    return condition.field == field and not is_absence


def _runs_by_start(experiment_ids: Sequence[str], dialect: Dialect) -> Sql:
    # With one experiment its own index has the order; with several the common one has.
    index = "run_experiment_start" if len(experiment_ids) == 1 else "run_start"
    return Sql("run r" + dialect.by_index(index))


def _by_value(
    terms: Sequence[ast.OrderTerm],
    conditions: Sequence[ast.Expression],
    entity: RunEntity,
    row: Sql,
) -> Stratum:
    field = terms[0].field
    column = entity.value_of(field, _FIRST)
    first: tuple[SortColumn, ...] = (
        SortColumn(Sql("0"), fixed=int(Rank.VALUE), is_fixed=True),
        value_column(terms[0], _FIRST, entity),
    )
    if has_whole(terms[0]):
        first = (*first, whole_column(terms[0], _FIRST, entity))
    tests = {
        condition: test
        for condition in conditions
        if _needs(condition, field)
        and not isinstance(condition, ast.And | ast.Or | ast.Not)
        and (test := _test_of(condition, column, entity.dialect)) is not None
    }
    # A param always has a value; to ask for it would be a look at its row.
    is_there = TRUE if isinstance(field, ast.Param) else Sql(f"{column} IS NOT NULL")
    visited = all_of([_key_of(row), is_there])
    stratum = _keyed_stratum(Rank.VALUE, terms, first, row, visited, entity)
    condition = all_of([visited, *tests.values()])
    return replace(stratum, condition=condition, covered=frozenset(tests))


def _test_of(condition: ast.Predicate, column: str, dialect: Dialect) -> Sql | None:
    return keyed_test(condition, _FIRST, soonest(condition, column, dialect), dialect)


def _where_nan(terms: Sequence[ast.OrderTerm], entity: RunEntity, row: Sql) -> Stratum:
    first = (
        SortColumn(Sql("1"), fixed=int(Rank.NAN), is_fixed=True),
        SortColumn(Sql("NULL"), is_fixed=True),
    )
    column = entity.value_of(terms[0].field, _FIRST)
    condition = all_of([_key_of(row), Sql(f"{column} IS NULL")])
    return _keyed_stratum(Rank.NAN, terms, first, row, condition, entity)


def _where_missing(
    terms: Sequence[ast.OrderTerm], entity: RunEntity, row: Sql, experiment_ids: Sequence[str]
) -> Stratum:
    table, _, condition = row.text.partition(" ON ")
    value = entity.value_of(terms[0].field, _FIRST)
    is_there = f"{value} IS NOT NULL" if not isinstance(terms[0].field, ast.Metric) else "TRUE"
    absent = Sql(f"NOT EXISTS (SELECT 1 FROM {table} WHERE {condition} AND {is_there})", row.params)
    rest = order_of(terms, entity, skip=1)
    order = Order(rest.joins, (*missing_columns(terms[0]), *rest.columns))
    source = Sql("run r")
    if len(terms) == 1:
        source = _runs_by_start(experiment_ids, entity.dialect)
    return Stratum(Rank.MISSING, source, absent, order)


def _keyed_stratum(
    rank: Rank,
    terms: Sequence[ast.OrderTerm],
    first: tuple[SortColumn, ...],
    row: Sql,
    visited: Sql,
    entity: RunEntity,
) -> Stratum:
    table = row.text.partition(" ")[0]
    rest = order_of(terms, entity, skip=1)
    order = Order(rest.joins, (*first, *rest.columns))
    return Stratum(
        rank,
        Sql(f"{table} {_FIRST}{entity.dialect.by_index(_INDEXES[table])}"),
        visited,
        order,
        run_no=f"{_FIRST}.run_no",
        # The walked table stays outermost, however few runs a planner expects to fulfil the rest.
        run_join=Sql(entity.dialect.run_join(f"{_FIRST}.run_no", is_of_run=False)),
        visited=visited,
    )


def _key_of(row: Sql) -> Sql:
    return Sql(f"{_FIRST}.key_id = ?", row.params)
