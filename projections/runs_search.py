"""One search of runs on one connection: parse, plan, and the states of the page's runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from projections.connection import Connection, ask_before_search, build_of
from projections.read_models import RunSearch, ViewType
from projections.runs_kept import RunState
from projections.runs_views import SQL
from projections.search import ast
from projections.search.choices import Choice, Choices
from projections.search.dialect import SQLITE, Dialect
from projections.search.entities_sqlite import IS_ACTIVE, IS_DELETED, RunEntity
from projections.search.errors import InvalidQuery
from projections.search.fields import RUNS
from projections.search.key_ids import KeyIds
from projections.search.limits import PAGE_RUNS_MAX
from projections.search.order_sqlite import after, order_list, select_list, width_of
from projections.search.paging import Cursor, SortValue, decode_token, encode_token, fingerprint
from projections.search.parser import parse_filter, parse_order
from projections.search.plan_sqlite import Query, choose, plan
from projections.search.run_selection import RunSelection
from projections.search.sql_text import ONE_PLAN, TRUE, Sql, all_of, join

_LIFECYCLES: Final = {
    ViewType.ACTIVE_ONLY: Sql(IS_ACTIVE),
    ViewType.DELETED_ONLY: Sql(IS_DELETED),
    ViewType.ALL: TRUE,
}
# Whether a run of the view is deleted.
_DELETED: Final = {
    ViewType.ACTIVE_ONLY: "FALSE",
    ViewType.DELETED_ONLY: "TRUE",
    ViewType.ALL: IS_DELETED,
}
# More runs than any store holds: a plan that is to yield them all.
_ALL: Final = 2**40

Row: TypeAlias = tuple[int, int, bool, str, *tuple[SortValue, ...]]
_STATE_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True)
class Remembered:
    """What searches that were asked before have found out for those that come."""

    choices: Choices = field(default_factory=Choices)
    key_ids: KeyIds = field(default_factory=KeyIds)


@dataclass(frozen=True, slots=True)
class FoundRuns:
    """The rows of one page, in order: the state of each run, and its sort values."""

    rows: Sequence[Row]
    is_last: bool
    name: str  # the fingerprint of the search
    now_us: int

    @property
    def states(self) -> Sequence[RunState]:
        return [RunState(*row[:_STATE_COLUMNS]) for row in self.rows]

    def token_after(self, count: int) -> str | None:
        """The token of what follows the first `count` rows, or None if nothing does."""
        if self.is_last and count == len(self.rows):
            return None
        values = tuple(self.rows[count - 1][_STATE_COLUMNS:])
        return encode_token(Cursor(values, self.now_us), self.name)


def find_runs(
    connection: Connection, search: RunSearch, dialect: Dialect, remembered: Remembered
) -> FoundRuns:
    """The runs of one page, in order. Raises InvalidQuery."""
    expression = parse_filter(search.filter, RUNS)
    terms = parse_order(list(search.order_by), RUNS)
    check_page_size(search.max_results)
    check_texts(search.experiment_ids, "experiment id")
    name = fingerprint(
        "runs", search.filter, list(search.order_by), sorted(search.experiment_ids), search.view
    )
    now_us, cursor = search.now_us, None
    key_ids = _key_ids(connection, expression, terms, remembered.key_ids)
    entity = RunEntity(key_ids, now_us, search.live_run_ids, dialect=dialect)
    if search.page_token:
        columns = width_of(terms, entity)
        cursor = decode_token(search.page_token, name, columns=columns)
        now_us = cursor.now_us
        entity = RunEntity(key_ids, now_us, search.live_run_ids, dialect=dialect)
    expression = dialect.prepared(connection, expression, entity)
    selection = RunSelection(
        ast.conjuncts(expression),
        terms,
        tuple(dict.fromkeys(search.experiment_ids)),
        _LIFECYCLES[search.view],
        entity,
    )
    choice = _choice(connection, selection, remembered.choices, name, search.max_results)
    queries = plan(selection, choice if cursor is None else choice.behind_a_page)
    values = None if cursor is None else cursor.values
    state = Sql(f"r.run_no, r.last_position, {_DELETED[search.view]}, {dialect.build}, ")
    rows = _rows(connection, queries, state, values, limit=search.max_results + 1)
    is_last = len(rows) <= search.max_results
    return FoundRuns(rows[: search.max_results], is_last, name, now_us)


def matching_runs(connection: Connection, search: RunSearch, dialect: Dialect = SQLITE) -> Sql:
    """A SELECT of the numbers of all runs that match, in no order. Raises InvalidQuery."""
    expression = parse_filter(search.filter, RUNS)
    check_texts(search.experiment_ids, "experiment id")
    key_ids = _key_ids(connection, expression, (), KeyIds())
    entity = RunEntity(key_ids, search.now_us, search.live_run_ids, dialect=dialect)
    expression = dialect.prepared(connection, expression, entity)
    selection = RunSelection(
        ast.conjuncts(expression),
        (),
        tuple(dict.fromkeys(search.experiment_ids)),
        _LIFECYCLES[search.view],
        entity,
    )
    queries = plan(selection, choose(connection, selection, page=_ALL))
    return join(
        " UNION ALL ",
        [Sql("SELECT r.run_no FROM ") + q.source + Sql(" WHERE ") + q.condition for q in queries],
    )


def _choice(
    connection: Connection, selection: RunSelection, choices: Choices, name: str, max_results: int
) -> Choice:
    known = choices.known(name, max_results)
    # A list that stands for a regular expression holds the texts that there are by now.
    if known is not None and known.fits(selection.conditions):
        return known
    chosen = choose(connection, selection, page=max_results + 1)
    choices.keep(name, max_results, chosen)
    return chosen


def check_page_size(max_results: int) -> None:
    if not 1 <= max_results <= PAGE_RUNS_MAX:
        raise InvalidQuery(
            f"max_results is {max_results}; 1 to {PAGE_RUNS_MAX} are allowed (page_runs_max)"
        )


def check_texts(texts: Sequence[str], what: str) -> None:
    """SQLite and JSON take no lone surrogates; say so before they do."""
    for text in texts:
        if any(0xD800 <= ord(character) < 0xE000 for character in text):
            raise InvalidQuery(f"the {what} {text!r} is not text")


def _key_ids(
    connection: Connection,
    expression: ast.Expression | None,
    terms: Sequence[ast.OrderTerm],
    remembered: KeyIds,
) -> dict[str, int]:
    """Of the keys that are spoken of. Whoever asks for the position later mostly has it then."""
    fields = [*ast.fields_of(expression), *(term.field for term in terms)]
    keys = {f.key for f in fields if isinstance(f, ast.Metric | ast.Param | ast.Tag)}
    if not keys:
        ask_before_search(connection, (SQL["position"],), {})
        return {}
    build = build_of(connection)
    known = None if build is None else remembered.of(build, keys)
    if known is not None:
        return known
    asked = {"keys": json.dumps(sorted(keys))}
    ask_before_search(connection, (SQL["key_ids"], SQL["position"], SQL["build"]), asked)
    found = dict(connection.execute(SQL["key_ids"], asked).fetchall())
    ((build,),) = connection.execute(SQL["build"])  # another may serve by now
    remembered.keep(build, found)
    return found


def _rows(
    connection: Connection,
    queries: Sequence[Query],
    state: Sql,
    behind: Sequence[SortValue] | None,
    *,
    limit: int,
) -> list[Row]:
    rows: list[Row] = []
    for query in queries:
        for statement in _statement(query, state, behind, limit=limit - len(rows)):
            rows.extend(connection.execute(statement.text, statement.params))
        if len(rows) >= limit:
            break
    return rows


def _statement(
    query: Query, state: Sql, behind: Sequence[SortValue] | None, *, limit: int
) -> Iterator[Sql]:
    """The SELECT of a query's rows behind a row, or nothing if all of them stand before it."""
    columns = query.order.columns
    condition = query.condition
    if behind is not None:
        first, rank = columns[0], behind[0]
        if first.is_fixed and isinstance(rank, int) and isinstance(first.fixed, int):
            if first.fixed < rank:
                return
            if first.fixed == rank:
                condition = all_of([condition, after(columns, behind)])
        else:
            condition = all_of([condition, after(columns, behind)])
    yield (
        Sql(f"SELECT {ONE_PLAN} " if query.has_one_plan else "SELECT ")
        + state
        + select_list(columns)
        + Sql(" FROM ")
        + query.source
        + Sql(" WHERE ")
        + condition
        + Sql(" ORDER BY ")
        + order_list(columns)
        # Of any limit a plan for all values would expect a tenth of the rows.
        + (Sql(f" LIMIT {limit}") if query.has_one_plan else Sql(" LIMIT ?", (limit,)))
    )
