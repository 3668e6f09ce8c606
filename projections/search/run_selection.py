"""What a search of runs selects, as conditions in SQL, wherever a run's number comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from projections.search import ast
from projections.search.access_sqlite import access_for, is_in_experiments
from projections.search.choices import Choice
from projections.search.compile_sqlite import compile_filter, keyed_test
from projections.search.entities_sqlite import RunEntity
from projections.search.fields import RUNS
from projections.search.sql_text import Sql, all_of, join

# SQLite joins 64 tables at most, of which 32 may be for the order.
_JOINS_MAX: Final = 16


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

    def checks(
        self, choice: Choice, *, run_no: str, without: frozenset[ast.Expression]
    ) -> tuple[Sql, Sql]:
        """(joins, condition) that keep the runs that fulfil everything but `without`.

        What needs a keyed row joins it: one row at most, and its cursor stays open, where
        an EXISTS would open one for every run.
        """
        entity = replace(self.entity, run_no=run_no)
        joins: list[Sql] = []
        tests = [self.scope]
        for condition in self.conditions:
            if condition in without:
                continue
            if condition in choice.sets:
                found = access_for(condition, self.entity)
                assert found is not None, "it was counted"
                tests.append(entity.dialect.is_in_set(run_no, found.rows))
                continue
            joined = None
            if len(joins) < _JOINS_MAX:
                joined = _joined(condition, entity, alias=f"c{len(joins)}")
            if joined is None:
                tests.append(compile_filter(condition, entity, RUNS))
            else:
                joins.append(joined[0])
                tests.append(joined[1])
        return join("", joins), all_of(tests)


def _joined(condition: ast.Expression, entity: RunEntity, *, alias: str) -> tuple[Sql, Sql] | None:
    """(join, test) for a condition on a keyed row that must be there, else None."""
    if isinstance(condition, ast.And | ast.Or | ast.Not):
        return None
    if isinstance(condition.field, ast.Dataset):  # of which a run may have several
        return None
    row = entity.row_of(condition.field, alias)
    if row is None:
        return None
    test = keyed_test(condition, alias, entity.value_of(condition.field, alias), entity.dialect)
    return None if test is None else entity.dialect.checked_join(row, alias, test)
