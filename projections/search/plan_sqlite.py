"""Chooses how a search of runs begins: from the narrowest index, or along the order.

Two ways lead to a page. Driving: take every run that the most selective condition yields,
check the rest, sort. Walking: go along the index of the order, check everything, stop when
the page is full. Driving costs the rows the condition yields; walking costs the page
divided by the share of visited runs that match. Both are estimated from the data itself:
the share by checking the whole filter on a few runs spread evenly over the store, the
yield by counting index entries, but never further than the walk would go. So the estimate
costs a millisecond and a part of what it saves; the worst mistake is one scan of the runs.

What is left to check of each run is a look at a row of it, for each condition. Where an index
lists all runs that fulfil a condition, and they are not many more than the runs to be checked,
they become a set first, and the look is one into that.

So there is a third way: to walk, and look up only what is in a set of the runs that would be
driven to. To pass a run costs a part of looking it up. How many are passed depends on where in
the order the runs of the set stand; the runs of one experiment may be the worst of all. So some
of them are asked for their values, which tell where a walk would end.

SQLite's own planner cannot do this: it plans before it sees the parameters, and a filter's
conditions stand in subqueries, whose selectivity it does not estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from projections.connection import Connection
from projections.search import ast
from projections.search.access_sqlite import (
    Access,
    access_for,
    experiments_access,
)
from projections.search.choices import Choice
from projections.search.estimates_sqlite import (
    all_runs,
    counted,
    end_of_walk,
    rows_walked,
    yield_of,
)
from projections.search.order_sqlite import Order, order_of
from projections.search.run_selection import RunSelection
from projections.search.sql_text import NOTHING, TRUE, Sql, all_of, enclosed
from projections.search.walk_sqlite import Stratum, Walk, walk_of

# A yield is counted up to this many index entries: some milliseconds.
_YIELD_CAP: Final = 10_000
# For a set they are counted further, where it is certain to spare looks at more runs still. A set
# of so many takes some MB while the statement runs.
_SET_CAP: Final = 100_000
# A walk this short is not worth a look for something shorter.
_WALK_AT_ONCE: Final = 500
# Nor are so few looks at rows worth a set.
_LOOK_AT_ONCE: Final = 500
# A run that is driven to is collected and sorted, too.
_DRIVE_COST: Final = 1.5


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT of run numbers in order; `condition` is everything but the page.

    `has_one_plan`: it is best run the same way whatever the values in it are.
    """

    source: Sql
    condition: Sql
    order: Order
    has_one_plan: bool = False


def plan(selection: RunSelection, choice: Choice) -> list[Query]:
    """The queries whose rows, one after the other, are the answer in order."""
    walk = _walk_of(selection) if choice.walks else None
    if walk is not None:
        return [_walked(stratum, selection, choice) for stratum in walk.strata]
    return [_driven(selection, choice)]


def choose(connection: Connection, selection: RunSelection, *, page: int) -> Choice:
    """How to begin, for a first page of so many runs."""
    walk = _walk_of(selection)
    if walk is None:
        found = _narrowest(connection, selection, rows_max=_YIELD_CAP)
        return _with_sets(connection, selection, *(found or (Choice(), all_runs(connection))))
    runs = all_runs(connection)
    walk_rows = rows_walked(connection, selection, walk, page=page, runs=runs)
    # Counting further than the walk would go cannot change the choice, and what the walk
    # visits anyway it visits in order.
    rows_max = min(_YIELD_CAP, int(walk_rows / _DRIVE_COST))
    found = None
    if walk_rows > _WALK_AT_ONCE:
        found = _narrowest(
            connection, selection, rows_max=rows_max, without=frozenset(walk.population)
        )
    covered = frozenset(walk.population)
    if found is not None:
        driven = _with_sets(connection, selection, *found)
        within = _walk_within(connection, selection, walk, *found, page=page, runs=runs)
        if within is None:
            return driven
        walks, rows = within
        return _with_sets(connection, selection, replace(walks, driven=driven), rows, covered)
    if runs * _DRIVE_COST > walk_rows:
        return _with_sets(connection, selection, Choice(walks=True), walk_rows, covered)
    return _with_sets(connection, selection, Choice(), runs)


def _with_sets(
    connection: Connection,
    selection: RunSelection,
    choice: Choice,
    rows: float,
    covered: frozenset[ast.Expression] = frozenset(),
) -> Choice:
    """The choice, with what is tested by a set. About so many rows are to be tested.

    Only of what an index tells by itself: else each row of the set is a look, too.
    """
    if rows <= _LOOK_AT_ONCE:
        return choice
    dialect, sets = selection.entity.dialect, set()
    # A walk may end long before it has made up for a large set.
    cap = _YIELD_CAP if choice.walks else _SET_CAP
    for condition in selection.conditions:
        if condition in covered or condition == choice.by:
            continue
        access = access_for(condition, selection.entity)
        if access is None or not access.is_of_index:
            continue
        rows_max = min(cap, int(rows * dialect.rows_of_set_per_look))
        if yield_of(connection, access, rows_max=rows_max) is not None:
            sets.add(condition)
    return replace(choice, sets=choice.sets.union(sets))


def _walk_within(
    connection: Connection,
    selection: RunSelection,
    walk: Walk,
    drive: Choice,
    rows: int,
    *,
    page: int,
    runs: int,
) -> tuple[Choice, float] | None:
    """To walk past all runs but those that would be driven to, and how many of them it looks up, if
    so few have to be passed that it is less work than to look all of those up.

    `rows`: how many would be driven to, of so many `runs`.
    """
    access = _access(selection, drive)
    assert access is not None, "it was counted"
    is_of_index = access.is_of_index or drive.by_experiments
    if rows <= _LOOK_AT_ONCE or not is_of_index or not walk.strata[0].is_keyed:
        return None
    passed_per_look = selection.entity.dialect.rows_passed_per_look(selection.terms[0].field)

    def rows_max(matches: int) -> int:
        spared = matches * _DRIVE_COST - page
        return min(_YIELD_CAP, int(spared * passed_per_look))

    if page * runs / rows > rows_max(rows):  # hardly, wherever they stand
        return None
    ends = end_of_walk(connection, selection, walk, access, rows, page=page)
    if ends is None or counted(connection, ends.walked, rows_max=rows_max(ends.matches)) is None:
        return None
    return replace(drive, walks=True), page * rows / ends.matches


def _walk_of(selection: RunSelection) -> Walk | None:
    return walk_of(
        selection.terms, selection.conditions, selection.entity, selection.experiment_ids
    )


def _narrowest(
    connection: Connection,
    selection: RunSelection,
    *,
    rows_max: int,
    without: frozenset[ast.Expression] = frozenset(),
) -> tuple[Choice, int] | None:
    """To drive by what yields the fewest rows, and how many, if that is at most `rows_max`."""
    accesses: list[tuple[Access, Choice]] = []
    # Nothing is counted further than the best so far, so what is likely best comes first.
    for condition in sorted(selection.conditions, key=_is_wide):
        if condition in without:
            continue
        found = access_for(condition, selection.entity)
        if found is not None:
            accesses.append((found, Choice(by=condition)))
    if selection.experiment_ids:
        access = experiments_access(selection.experiment_ids, selection.entity.dialect)
        accesses.append((access, Choice(by_experiments=True)))
    best = None
    for access, choice in accesses:
        rows = yield_of(connection, access, rows_max=rows_max)
        if rows is not None:
            best, rows_max = (choice, rows), rows - 1
    return best


def _is_wide(condition: ast.Expression) -> bool:
    """Whether it names no values, so that it mostly holds for more runs than one that does."""
    match condition:
        case ast.Compare(_, ast.Comparison.EQ) | ast.OneOf(_, _, False):
            return False
    return True


def _access(selection: RunSelection, choice: Choice) -> Access | None:
    if choice.by is not None:
        return access_for(choice.by, selection.entity)
    if choice.by_experiments:
        return experiments_access(selection.experiment_ids, selection.entity.dialect)
    return None


def _told_by(access: Access, choice: Choice) -> frozenset[ast.Expression]:
    """What all rows of the choice's access fulfil."""
    return frozenset({choice.by} if access.is_exact and choice.by is not None else ())


def _driven(selection: RunSelection, choice: Choice) -> Query:
    access, dialect = _access(selection, choice), selection.entity.dialect
    if access is None:
        driving, run_join, has_one_plan = Sql("run r"), NOTHING, False
        checks = selection.checks(choice, run_no="r.run_no", without=frozenset())
    else:
        driving = enclosed(access.rows) + Sql(" d")
        without = _told_by(access, choice)
        checks = selection.checks(choice, run_no="d.run_no", without=without)
        has_one_plan = access.has_one_plan and checks.has_one_plan
        run_join = Sql(dialect.run_join("d.run_no", is_of_run=access.is_of_runs))
    order = order_of(selection.terms, selection.entity, aliases=checks.aliases)
    source = driving + checks.joins + run_join + order.joins
    condition = all_of([selection.scope, checks.condition, checks.patterns])
    return Query(source, condition, order, has_one_plan)


def _walked(stratum: Stratum, selection: RunSelection, choice: Choice) -> Query:
    within, dialect = _access(selection, choice), selection.entity.dialect
    without, in_set = stratum.covered, TRUE
    if within is not None:
        if not stratum.is_keyed:
            driven = _driven(selection, choice)
            condition = all_of([stratum.condition, driven.condition])
            return replace(driven, condition=condition, has_one_plan=False)
        without |= _told_by(within, choice)
        in_set = dialect.is_in_set(stratum.run_no, within.rows)
    checks = selection.checks(choice, run_no=stratum.run_no, without=without)
    source = stratum.outermost + checks.joins + stratum.run_join + stratum.order.joins
    # That the walk is worth it was found out by trying them.
    patterns = dialect.unestimated(checks.patterns)
    condition = all_of([stratum.condition, in_set, selection.scope, checks.condition, patterns])
    # Where a walk along runs begins depends on the values, and so does one within a pattern or a
    # list; else keys and values are gone along in any case, and an index tells the set.
    is_ranged = any(isinstance(c, ast.Match | ast.OneOf) for c in stratum.covered)
    has_one_plan = stratum.is_keyed and checks.has_one_plan and not is_ranged
    return Query(source, condition, stratum.order, has_one_plan)
