"""What the plan of a search asks of the data: how many rows a way visits, or yields."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from projections.connection import Connection
from projections.search.access_sqlite import Access
from projections.search.compile_sqlite import compile_filter
from projections.search.fields import RUNS
from projections.search.order_sqlite import Rank, order_list, order_of, select_list
from projections.search.run_selection import RunSelection
from projections.search.sql_text import TRUE, Sql, all_of, enclosed
from projections.search.walk_sqlite import Walk

# Runs that the whole filter is tried on to estimate the share that matches.
_SAMPLE: Final = 128
# The multiples of the golden ratio spread any number of samples evenly.
_GOLDEN: Final = 0.6180339887498949
_ALL_ROWS: Final = 2**62
# Knuth's multiplicative hash, of which the middle bits are taken.
_HASH: Final = 2_654_435_761


def all_runs(connection: Connection) -> int:
    """About how many there are."""
    return connection.execute("SELECT max(run_no) FROM run").fetchone()[0] or 0


def rows_walked(
    connection: Connection, selection: RunSelection, walk: Walk, *, page: int, runs: int
) -> float:
    """About how many rows the walk visits until the page is full, or it ends."""
    numbers = {1 + int(runs * (i * _GOLDEN % 1.0)) for i in range(_SAMPLE)}
    few = replace(selection.entity, dialect=selection.entity.dialect.for_few)
    entity = replace(few, run_no="s.value")
    visited = all_of(compile_filter(c, entity, RUNS) for c in walk.population)
    condition = replace(selection, entity=few).condition(run_no="s.value")
    if runs == 0 or (visited == TRUE and condition == TRUE):
        return float(page)
    dialect = entity.dialect
    sample = dialect.numbers_table(sorted(numbers), "s")
    # The OFFSET keeps the subquery from being flattened and everything tested twice.
    in_first, matching, matching_in_first = connection.execute(
        "SELECT count(*) FILTER (WHERE v), count(*) FILTER (WHERE m), "
        f"count(*) FILTER (WHERE v AND m) FROM (SELECT ({visited.text}) AS v, "
        f"({condition.text}) AS m FROM {sample.text}{dialect.ordered_join}"
        f"run r ON r.run_no = s.value LIMIT {_ALL_ROWS} OFFSET 0) sampled",
        (*visited.params, *condition.params, *sample.params),
    ).fetchone()
    share = (matching + 0.5) / (len(numbers) + 1)
    # What a small sample of the first stratum does not show, all runs are asked for.
    share_in_first = (matching_in_first + share) / (in_first + 1)
    scale = runs / len(numbers)
    first_rows = max(in_first, 0.5) * scale
    first_matches = first_rows * share_in_first
    if first_matches >= page or walk.ends_there:
        return float(min(first_rows, page / share_in_first))
    # The page is not full when the first stratum ends, and the others have all other runs.
    other_matches = max(matching - matching_in_first, 0.5) * scale
    other_rows = runs - min(first_rows, runs)
    rest = (page - first_matches) * other_rows / other_matches
    return float(first_rows + min(other_rows, rest))


@dataclass(frozen=True, slots=True)
class WalkEnd:
    """`walked` selects the rows of the index that a walk visits until its page is full; of the runs
    in the access about `matches` fulfil all."""

    walked: Sql
    matches: int


def end_of_walk(
    connection: Connection,
    selection: RunSelection,
    walk: Walk,
    access: Access,
    rows: int,
    *,
    page: int,
) -> WalkEnd | None:
    """Where a walk along keys and values is likely to have found a page of an access's runs.

    None if that is behind the last of the values. `rows`: how many the access has; some of them
    are asked for all that is searched, and for their place in the order.
    """
    # By hashes of their numbers: experiments may take turns, so that each has every so many runs.
    every = max(1, rows // _SAMPLE)
    dialect = selection.entity.dialect.for_few
    few = replace(selection, entity=replace(selection.entity, dialect=dialect))
    condition, order = few.condition(run_no="r.run_no"), order_of(few.terms[:1], few.entity)
    rank, value = order.columns[:2]
    sampled = (
        Sql("SELECT a.run_no FROM ")
        + enclosed(access.rows)
        + Sql(f" a WHERE (a.run_no * {_HASH} / 65536) % ? = 0", (every,))
    )
    asked = (
        Sql("SELECT ")
        + select_list([rank, value])
        + Sql(" FROM ")
        + enclosed(sampled)
        + Sql(" d" + dialect.run_join("d.run_no", is_of_run=False))
        + order.joins
        + Sql(" WHERE ")
        + condition
        + Sql(" ORDER BY ")
        + order_list([rank, value])
    )
    matching = connection.execute(asked.text, asked.params).fetchall()
    last = math.ceil(page / every)
    if last > len(matching) or matching[last - 1][0] != Rank.VALUE:
        return None
    first, column = walk.strata[0], walk.strata[0].order.columns[1]
    operator = ">=" if column.is_descending else "<="
    until = column.value + Sql(f" {operator} {column.given}", (matching[last - 1][1],))
    walked = (
        Sql("SELECT 1 FROM ")
        + first.outermost
        + Sql(" WHERE ")
        + all_of([first.visited, until])
        # Nothing but its index gives the rows in this order.
        + Sql(" ORDER BY ")
        + column.value
        + Sql(" DESC" if column.is_descending else "")
    )
    return WalkEnd(walked, len(matching) * every)


def yield_of(connection: Connection, access: Access, *, rows_max: int) -> int | None:
    """How many rows an access yields, or None for more than `rows_max`."""
    return counted(connection, access.bound, rows_max=rows_max)


def counted(connection: Connection, select: Sql, *, rows_max: int) -> int | None:
    """How many rows a SELECT gives, or None for more than `rows_max`."""
    sql = f"SELECT count(*) FROM ({select.text} LIMIT ?) counted"
    limit = max(0, rows_max) + 1
    rows = int(connection.execute(sql, (*select.params, limit)).fetchone()[0])
    return rows if rows <= rows_max else None
