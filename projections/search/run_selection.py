"""What a search of runs selects, as conditions in SQL, wherever a run's number comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from projections.search import ast
from projections.search.access_sqlite import access_for, is_in_experiments
from projections.search.choices import Choice
from projections.search.compile_sqlite import compile_filter, keyed_test
from projections.search.entities_sqlite import RunEntity, row_field
from projections.search.fields import RUNS
from projections.search.sql_text import Sql, all_of, join
from projections.search.value_tests import soonest

# SQLite joins 64 tables at most, of which 32 may be for the order.
_JOINS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Checks:
    """`patterns` is the part of the condition of which no planner knows how many runs fulfil it.

    `aliases`: under which the row of a field is joined, see `row_field`. `has_one_plan`: they
    are best made the same way whatever the values in them are.
    """

    joins: Sql
    condition: Sql
    patterns: Sql
    aliases: Mapping[ast.Field, str]
    has_one_plan: bool


@dataclass(frozen=True, slots=True)
class RunSelection:
    """What is searched: a parsed filter in the scope of experiments and lifecycle."""

    conditions: Sequence[ast.Expression]
    terms: Sequence[ast.OrderTerm]
    experiment_ids: Sequence[str]
    lifecycle: Sql
    entity: RunEntity

    @property
    def scope(self) -> Sql:
        if not self.experiment_ids:
            return self.lifecycle
        inside = is_in_experiments(self.experiment_ids, self.entity.dialect)
        return all_of([inside, self.lifecycle])

    def condition(self, *, run_no: str) -> Sql:
        """All that is asked of a run whose number is read from `run_no`."""
        entity = replace(self.entity, run_no=run_no)
        return all_of([self.scope, *(compile_filter(c, entity, RUNS) for c in self.conditions)])

    def checks(self, choice: Choice, *, run_no: str, without: frozenset[ast.Expression]) -> Checks:
        """What keeps, of the runs in scope, those that fulfil everything but `without`.

        What needs a keyed row joins it: one row at most, and its cursor stays open, where
        an EXISTS would open one for every run. How an EXISTS is best run, and a list searched,
        PostgreSQL can only tell when it knows the values.
        """
        entity = replace(self.entity, run_no=run_no)
        rows = _KeyedRows(entity)
        tests, patterns = list[Sql](), list[Sql]()
        has_one_plan = len(self.experiment_ids) <= 1
        for condition in self.conditions:
            if condition in without:
                continue
            if condition in choice.sets:
                found = access_for(condition, self.entity)
                assert found is not None, "it was counted"
                tests.append(entity.dialect.is_in_set(run_no, found.rows))
            else:
                test = rows.tested(condition)
                is_looked_up = test is not None or _is_of_run(condition)
                has_one_plan &= is_looked_up and not isinstance(condition, ast.OneOf)
                if test is None:
                    test = compile_filter(condition, entity, RUNS)
                (patterns if _is_pattern(condition) else tests).append(test)
        return Checks(
            join("", rows.joins), all_of(tests), all_of(patterns), rows.aliases, has_one_plan
        )


def _is_pattern(condition: ast.Expression) -> bool:
    return isinstance(condition, ast.Match) and isinstance(condition.field, ast.Attribute)


def _is_of_run(condition: ast.Expression) -> bool:
    """Whether it is a test on the run's own row, without the list of who is alive."""
    if isinstance(condition, ast.And | ast.Or | ast.Not):
        return False
    return isinstance(condition.field, ast.Attribute) and condition.field.name != "liveness"


class _KeyedRows:
    """The keyed rows that conditions are tested on, each joined once."""

    def __init__(self, entity: RunEntity) -> None:
        self._entity = entity
        self.joins: list[Sql] = []
        self.aliases: dict[ast.Field, str] = {}

    def tested(self, condition: ast.Expression) -> Sql | None:
        """The test on a row that must be there, or None if that is not what is asked for."""
        if isinstance(condition, ast.And | ast.Or | ast.Not):
            return None
        if not isinstance(condition.field, ast.Metric | ast.Param | ast.Tag):
            return None  # of datasets a run may have several
        entity, field = self._entity, row_field(condition.field)
        is_joined = field in self.aliases
        if not is_joined and len(self.joins) == _JOINS_MAX:
            return None
        alias = self.aliases.get(field, f"c{len(self.joins)}")
        row = entity.row_of(condition.field, alias)
        if row is None:
            return None
        value = soonest(condition, entity.value_of(condition.field, alias), entity.dialect)
        test = keyed_test(condition, alias, value, entity.dialect)
        if test is None:
            return None
        joined, passes = entity.dialect.checked_join(row, alias, test)
        if not is_joined:
            self.joins.append(joined)
            self.aliases[field] = alias
        return passes
