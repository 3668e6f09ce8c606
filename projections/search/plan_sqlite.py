"""Chooses how a search of runs begins: from the narrowest index, or along the order.

Two ways lead to a page. Driving: take every run that the most selective condition yields,
check the rest, sort. Walking: go along the index of the order, check everything, stop when
the page is full. Driving costs the rows the condition yields; walking costs the page
divided by the share of visited runs that match. Both are estimated from the data itself:
the share by checking the whole filter on a few runs spread evenly over the store, the
yield by counting index entries, but never further than the walk would go. So the estimate
costs a millisecond and a part of what it saves; the worst mistake is one scan of the runs.

SQLite's own planner cannot do this: it plans before it sees the parameters, and a filter's
conditions stand in subqueries, whose selectivity it does not estimate.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from projections.search import ast
from projections.search.access_sqlite import Access, access_for, experiments_access
from projections.search.compile_sqlite import compile_filter
from projections.search.entities_sqlite import RunEntity
from projections.search.fields import RUNS
from projections.search.order_sqlite import Order, order_of
from projections.search.sql_text import TRUE, Sql, all_of
from projections.search.walk_sqlite import Stratum, Walk, walk_of

# A yield is counted up to this many index entries: some milliseconds.
_YIELD_CAP: Final = 10_000
# Runs that the whole filter is tried on to estimate the share that matches.
_SAMPLE: Final = 200
# A run that is driven to is collected and sorted too.
_DRIVE_COST: Final = 1.5
# The multiples of the golden ratio spread any number of samples evenly.
_GOLDEN: Final = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT of run numbers in order; `condition` is everything but the page."""

    source: Sql
    condition: Sql
    order: Order


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
        listed = json.dumps(list(self.experiment_ids))
        inside = Sql("r.experiment_id IN (SELECT value FROM json_each(?))", (listed,))
        if len(self.experiment_ids) == 1:
            inside = Sql("r.experiment_id = ?", (self.experiment_ids[0],))
        return all_of([inside, self.lifecycle])

    def condition(self, *, run_no: str, without: frozenset[ast.Expression] = frozenset()) -> Sql:
        """All that is asked of a run whose number is read from `run_no`."""
        entity = replace(self.entity, run_no=run_no)
        kept = [c for c in self.conditions if c not in without]
        return all_of([self.scope, *(compile_filter(c, entity, RUNS) for c in kept)])


def plan(connection: sqlite3.Connection, selection: RunSelection, *, page: int) -> list[Query]:
    """The queries whose rows, one after the other, are the answer in order."""
    runs = connection.execute("SELECT max(run_no) FROM run").fetchone()[0] or 0
    walk = walk_of(
        selection.terms, selection.conditions, selection.entity, selection.experiment_ids
    )
    if walk is None:
        return [_driven(selection, _narrowest(connection, selection, rows_max=_YIELD_CAP))]
    walk_rows = _rows_walked(connection, selection, walk, page=page, runs=runs)
    # Counting further than the walk would go cannot change the choice.
    rows_max = min(_YIELD_CAP, int(walk_rows / _DRIVE_COST))
    narrowest = _narrowest(connection, selection, rows_max=rows_max)
    if narrowest is not None or runs * _DRIVE_COST <= walk_rows:
        return [_driven(selection, narrowest)]
    return [_walked(stratum, selection) for stratum in walk.strata]


def _rows_walked(
    connection: sqlite3.Connection, selection: RunSelection, walk: Walk, *, page: int, runs: int
) -> float:
    """About how many rows the walk visits until the page is full."""
    numbers = {1 + int(runs * (i * _GOLDEN % 1.0)) for i in range(_SAMPLE)}
    entity = replace(selection.entity, run_no="s.value")
    visited = all_of(compile_filter(c, entity, RUNS) for c in walk.population)
    condition = selection.condition(run_no="s.value")
    if visited == TRUE and condition == TRUE:
        return float(page)
    tried, matching = connection.execute(
        f"SELECT count(*), coalesce(sum({condition.text}), 0) "
        f"FROM json_each(?) s CROSS JOIN run r ON r.run_no = s.value WHERE {visited.text}",
        (*condition.params, json.dumps(sorted(numbers)), *visited.params),
    ).fetchone()
    population = runs * max(tried, 0.5) / len(numbers)
    return float(min(population, page * tried / max(matching, 0.5)))


def _narrowest(
    connection: sqlite3.Connection, selection: RunSelection, *, rows_max: int
) -> tuple[Access, ast.Expression | None] | None:
    """The access that yields the fewest rows, at most `rows_max`, and its condition."""
    accesses: list[tuple[Access, ast.Expression | None]] = []
    if selection.experiment_ids:
        accesses.append((experiments_access(selection.experiment_ids), None))
    for condition in selection.conditions:
        access = access_for(condition, selection.entity)
        if access is not None:
            accesses.append((access, condition))
    best = None
    for access, covered in accesses:
        rows = _yield_of(connection, access, rows_max=rows_max)
        if rows is not None:
            best, rows_max = (access, covered), rows - 1
    return best


def _yield_of(connection: sqlite3.Connection, access: Access, *, rows_max: int) -> int | None:
    """How many rows an access yields, or None for more than `rows_max`."""
    counted = f"SELECT count(*) FROM ({access.bound.text} LIMIT ?)"
    limit = max(0, rows_max) + 1
    rows = int(connection.execute(counted, (*access.bound.params, limit)).fetchone()[0])
    return rows if rows <= rows_max else None


def _driven(
    selection: RunSelection, narrowest: tuple[Access, ast.Expression | None] | None
) -> Query:
    order = order_of(selection.terms, selection.entity)
    if narrowest is None:
        condition = selection.condition(run_no="r.run_no")
        return Query(Sql("run r") + order.joins, condition, order)
    access, covered = narrowest
    is_covered = access.is_exact and covered is not None
    source = Sql("(") + access.rows + Sql(") d CROSS JOIN run r ON r.run_no = d.run_no")
    without = frozenset({covered}) if is_covered and covered is not None else frozenset()
    condition = selection.condition(run_no="d.run_no", without=without)
    return Query(source + order.joins, condition, order)


def _walked(stratum: Stratum, selection: RunSelection) -> Query:
    rest = selection.condition(run_no=stratum.run_no, without=stratum.covered)
    return Query(stratum.source, all_of([stratum.condition, rest]), stratum.order)
