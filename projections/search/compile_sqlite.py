"""Compiles a syntax tree to a parameterised SQL condition on one row of an entity.

Every predicate comes out true or false, never NULL, so that NOT means what the tree says: tests
on keyed rows stand inside EXISTS, tests on nullable columns inside coalesce. Nothing of a
search is spliced into the text: names come from tables in this package, the rest are
parameters.
"""

from __future__ import annotations

from typing import assert_never

from projections.search import ast, value_tests
from projections.search.ast import Comparison, Summary
from projections.search.dialect import Dialect
from projections.search.entities_sqlite import METRIC_COLUMNS, NAN_COLUMNS, Entity
from projections.search.fields import Catalog, FieldType
from projections.search.sql_text import FALSE, TRUE, Sql, all_of, any_of, enclosed


def compile_filter(expression: ast.Expression | None, entity: Entity, catalog: Catalog) -> Sql:
    """The condition of a whole filter."""
    return TRUE if expression is None else _Compiler(entity, catalog).expression(expression)


def keyed_test(predicate: ast.Predicate, alias: str, value: str, dialect: Dialect) -> Sql | None:
    """The test on the row of a keyed field, for a row that exists.

    None if the predicate asks for the row's absence.
    """
    match predicate:
        case ast.IsNull(ast.Metric(_, summary), True) if _holds_nan(summary):
            return TRUE
        case ast.IsNull(_, is_negated):
            return Sql(f"{value} IS NOT NULL") if is_negated else None
        case ast.IsNan(ast.Metric(_, summary), is_negated):
            if not _holds_nan(summary):
                return Sql(f"{value} IS NOT NULL") if is_negated else FALSE
            return Sql(f"{value} IS {'NOT ' if is_negated else ''}NULL")
        case ast.IsNan():
            return FALSE
        case ast.Match(_, matching, pattern, is_negated):
            return value_tests.matches(
                Sql(value), matching, pattern, is_negated=is_negated, dialect=dialect
            )
        case ast.Compare(ast.Metric(_, summary), comparison, ast.Number(number)):
            return _compare_metric(value, summary, comparison, float(number), dialect)
        case ast.OneOf(ast.Metric(_, summary), values, is_negated):
            numbers = tuple(ast.Number(float(item.value)) for item in values)
            test = value_tests.one_of(Sql(value), numbers, is_negated=is_negated, dialect=dialect)
            if is_negated and _holds_nan(summary):
                return any_of([Sql(f"{value} IS NULL"), test])
            return test
        case ast.Compare(ast.Param(), comparison, ast.Number(number)):
            test = value_tests.compare_number(_number(alias), comparison, float(number))
            return _param_number(alias, test, dialect)
        case ast.OneOf(ast.Param(), [ast.Number(), *_] as values, is_negated):
            numbers = tuple(ast.Number(float(item.value)) for item in values)
            test = value_tests.one_of(
                _number(alias), numbers, is_negated=is_negated, dialect=dialect
            )
            return _param_number(alias, test, dialect)
        case ast.Compare(_, comparison, ast.Text(text)):
            return value_tests.compare_text(Sql(value), comparison, text)
        case ast.OneOf(_, values, is_negated):
            return value_tests.one_of(Sql(value), values, is_negated=is_negated, dialect=dialect)
        case _:
            raise AssertionError(f"the parser lets no {predicate!r} through")


def _holds_nan(summary: Summary) -> bool:
    return METRIC_COLUMNS[summary] in NAN_COLUMNS


def _compare_metric(
    value: str, summary: Summary, comparison: Comparison, number: float, dialect: Dialect
) -> Sql:
    if comparison is Comparison.NE and _holds_nan(summary):
        # NaN, stored as NULL, differs from all.
        return Sql(f"({value} IS NULL OR {value} != ?)", (number,))
    if summary is Summary.COUNT:
        return dialect.compare_whole(Sql(value), comparison, number)
    return value_tests.compare_number(Sql(value), comparison, number)


def _number(alias: str) -> Sql:
    return Sql(f"{alias}.number")


def _param_number(alias: str, test: Sql, dialect: Dialect) -> Sql:
    return Sql(f"{dialect.is_read_as_number(f'{alias}.number')} AND {test.text}", test.params)


class _Compiler:
    def __init__(self, entity: Entity, catalog: Catalog) -> None:
        self._entity = entity
        self._catalog = catalog
        self._dialect = entity.dialect

    def expression(self, expression: ast.Expression) -> Sql:
        match expression:
            case ast.And(items):
                return all_of(self.expression(item) for item in items)
            case ast.Or(items):
                return any_of(self.expression(item) for item in items)
            case ast.Not(item):
                return Sql("NOT ") + enclosed(self.expression(item))
            case _:
                return self._predicate(expression)

    def _predicate(self, predicate: ast.Predicate) -> Sql:
        if isinstance(predicate.field, ast.Attribute):
            return self._attribute_test(predicate, predicate.field.name)
        is_absence = isinstance(predicate, ast.IsNull) and not predicate.is_negated
        row = self._entity.row_of(predicate.field, "k")
        if row is None:
            return TRUE if is_absence else FALSE
        value = self._entity.value_of(predicate.field, "k")
        if is_absence:
            present = ast.IsNull(predicate.field, is_negated=True)
            return Sql("NOT ") + self._exists(row, keyed_test(present, "k", value, self._dialect))
        return self._exists(row, keyed_test(predicate, "k", value, self._dialect))

    def _exists(self, row: Sql, test: Sql | None) -> Sql:
        table, _, condition = row.text.partition(" ON ")
        found = Sql(f"SELECT 1 FROM {table} WHERE {condition}", row.params)
        if test is not None and test != TRUE:
            found = found + Sql(" AND ") + enclosed(test)
        return self._dialect.exists(found)

    def _attribute_test(self, predicate: ast.Predicate, name: str) -> Sql:
        column = self._entity.attribute(name)
        test = self._value_test(predicate, column.value, self._catalog.attributes[name])
        if column.is_nullable and not isinstance(predicate, ast.IsNull):
            return Sql(f"coalesce({test.text}, FALSE)", test.params)
        return test

    def _value_test(self, predicate: ast.Predicate, value: Sql, kind: FieldType) -> Sql:
        match predicate:
            case ast.IsNull(_, is_negated):
                return value + Sql(f" IS {'NOT ' if is_negated else ''}NULL")
            case ast.Match(_, matching, pattern, is_negated):
                return value_tests.matches(
                    value, matching, pattern, is_negated=is_negated, dialect=self._dialect
                )
            case ast.OneOf(_, values, is_negated):
                return value_tests.one_of(
                    value, values, is_negated=is_negated, dialect=self._dialect
                )
            case ast.IsNan():
                return FALSE
            case ast.Compare(_, comparison, right):
                return self._compare(value, comparison, right, kind)
            case _:
                assert_never(predicate)

    def _compare(
        self, value: Sql, comparison: Comparison, right: ast.Value, kind: FieldType
    ) -> Sql:
        match right:
            case _ if kind is FieldType.TIME:
                return value_tests.compare_time(
                    value, comparison, right, now_us=self._entity.now_us
                )
            case ast.Text(text):
                return value_tests.compare_text(value, comparison, text)
            case ast.Number(number):
                return self._dialect.compare_whole(value, comparison, number)
            case ast.Duration(microseconds):
                return value_tests.compare_number(value, comparison, microseconds)
            case ast.Flag(flag):
                return value_tests.is_flag(value, comparison, flag)
            case _:
                raise AssertionError(f"the parser lets no {right!r} stand here")
