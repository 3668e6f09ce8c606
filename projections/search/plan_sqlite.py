"""Chooses how a search of runs begins: from the narrowest index, or along the order.

Two ways lead to a page. Driving: take every run that the most selective condition yields,
check the rest, sort. Walking: go along the index of the order, check everything, stop when
the page is full. Driving costs the rows the condition yields; walking costs the page
divided by the share of runs that match. Both are estimated from the data itself: the yield
by counting index entries up to a cap, the share by checking the whole filter on a few
runs spread evenly over the store. The estimate costs about a millisecond and the worst
mistake is one scan of the runs.

SQLite's own planner cannot do this: it plans before it sees the parameters, and a filter's
conditions stand in subqueries, whose selectivity it does not estimate.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from projections.search import ast
from projections.search.access_sqlite import Access, access_for, experiments_access
from projections.search.compile_sqlite import compile_filter
from projections.search.entities_sqlite import RunEntity
from projections.search.fields import RUNS
from projections.search.order_sqlite import Order, order_of
from projections.search.sql_text import TRUE, Sql, all_of
from projections.search.walk_sqlite import Stratum, strata_of

# A yield is counted up to this many index entries: half a millisecond.
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

    def condition(self, *, without: frozenset[ast.Expression] = frozenset()) -> Sql:
        kept = [c for c in self.conditions if c not in without]
        return all_of([self.scope, *(compile_filter(c, self.entity, RUNS) for c in kept)])


def plan(connection: sqlite3.Connection, selection: RunSelection, *, page: int) -> list[Query]:
    """The queries whose rows, one after the other, are the answer in order."""
    runs = connection.execute("SELECT max(run_no) FROM run").fetchone()[0] or 0
    drive, drive_rows = _narrowest(connection, selection, runs)
    strata = strata_of(
        selection.terms, selection.conditions, selection.entity, selection.experiment_ids
    )
    if strata is None or drive_rows <= page:
        return [drive]
    share = _matching_share(connection, selection, runs)
    walk_rows = min(runs, page / share)
    if drive_rows * _DRIVE_COST <= walk_rows:
        return [drive]
    return [_walked(stratum, selection) for stratum in strata]


def _narrowest(
    connection: sqlite3.Connection, selection: RunSelection, runs: int
) -> tuple[Query, int]:
    """The cheapest driving query, and about how many rows it visits."""
    best: Access | None = None
    best_rows, covered = runs, frozenset[ast.Expression]()
    if selection.experiment_ids:
        access = experiments_access(selection.experiment_ids)
        rows = _yield_of(connection, access, runs)
        if rows < best_rows:
            best, best_rows = access, rows
    for condition in selection.conditions:
        found = access_for(condition, selection.entity)
        if found is not None and (rows := _yield_of(connection, found, runs)) < best_rows:
            best, best_rows = found, rows
            covered = frozenset({condition} if found.is_exact else ())
    order = order_of(selection.terms, selection.entity)
    source = Sql("run r")
    if best is not None:
        source = Sql(f"({best.rows.text}) d CROSS JOIN run r ON r.run_no = d.run_no")
        source = Sql(source.text, best.rows.params)
    condition_sql = selection.condition(without=covered)
    return Query(source + order.joins, condition_sql, order), best_rows


def _yield_of(connection: sqlite3.Connection, access: Access, runs: int) -> int:
    """How many rows an access yields; `runs` when they are too many to count."""
    counted = f"SELECT count(*) FROM ({access.bound.text} LIMIT {_YIELD_CAP + 1})"
    rows = int(connection.execute(counted, access.bound.params).fetchone()[0])
    return rows if rows <= _YIELD_CAP else runs


def _matching_share(connection: sqlite3.Connection, selection: RunSelection, runs: int) -> float:
    """About which share of all runs matches, never nothing."""
    numbers = {1 + int(runs * (i * _GOLDEN % 1.0)) for i in range(_SAMPLE)}
    condition = selection.condition()
    if condition == TRUE:
        return 1.0
    matching = connection.execute(
        "SELECT count(*) FROM json_each(?) s CROSS JOIN run r ON r.run_no = s.value "
        f"WHERE {condition.text}",
        (json.dumps(sorted(numbers)), *condition.params),
    ).fetchone()[0]
    return float(max(matching, 0.5) / len(numbers))


def _walked(stratum: Stratum, selection: RunSelection) -> Query:
    condition = all_of([stratum.condition, selection.condition(without=stratum.covered)])
    return Query(stratum.source, condition, stratum.order)
