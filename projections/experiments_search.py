"""One search of experiments on one connection. They are few: all are tested and sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from projections.connection import Connection
from projections.read_models import Filter, Order, ViewType
from projections.runs_search import check_page_size
from projections.search.compile_sqlite import compile_filter
from projections.search.dialect import SQLITE, Dialect
from projections.search.entities_sqlite import ExperimentEntity
from projections.search.fields import EXPERIMENTS
from projections.search.order_sqlite import after, order_list, order_of, select_list
from projections.search.paging import Cursor, decode_token, encode_token, fingerprint
from projections.search.parser import parse_filter, parse_order
from projections.search.sql_text import TRUE, Sql, all_of

_LIFECYCLES: Final = {
    ViewType.ACTIVE_ONLY: Sql("e.lifecycle_stage = 'active'"),
    ViewType.DELETED_ONLY: Sql("e.lifecycle_stage = 'deleted'"),
    ViewType.ALL: TRUE,
}


@dataclass(frozen=True, slots=True)
class FoundExperiments:
    experiment_ids: Sequence[str]
    next_page_token: str | None


def find_experiments(
    connection: Connection,
    *,
    filter: Filter,
    order_by: Order,
    view: ViewType,
    max_results: int,
    page_token: str | None,
    now_us: int,
    dialect: Dialect = SQLITE,
) -> FoundExperiments:
    """The experiments of one page, in order. Raises InvalidQuery."""
    expression = parse_filter(filter, EXPERIMENTS)
    terms = parse_order(list(order_by), EXPERIMENTS)
    check_page_size(max_results)
    name = fingerprint("experiments", filter, list(order_by), view)
    cursor = None
    if page_token:
        width = len(order_of(terms, ExperimentEntity(now_us, dialect)).columns)
        cursor = decode_token(page_token, name, columns=width)
        now_us = cursor.now_us
    entity = ExperimentEntity(now_us, dialect)
    expression = dialect.prepared(connection, expression, entity)
    order = order_of(terms, entity)
    conditions = [_LIFECYCLES[view], compile_filter(expression, entity, EXPERIMENTS)]
    if cursor is not None:
        conditions.append(after(order.columns, cursor.values))
    statement = (
        Sql("SELECT e.experiment_id, ")
        + select_list(order.columns)
        + Sql(" FROM experiment e")
        + order.joins
        + Sql(" WHERE ")
        + all_of(conditions)
        + Sql(" ORDER BY ")
        + order_list(order.columns)
        + Sql(" LIMIT ?", (max_results + 1,))
    )
    rows = connection.execute(statement.text, statement.params).fetchall()
    page = rows[:max_results]
    token = None
    if len(rows) > len(page):
        token = encode_token(Cursor(tuple(page[-1][1:]), now_us), name)
    return FoundExperiments([row[0] for row in page], token)
