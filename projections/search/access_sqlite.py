"""How a search of runs may begin: the indexes that a condition can be driven from.

An access yields the run numbers of the runs that may fulfil one top-level condition.
`rows` selects them; `bound` selects at least as many from the index alone, so that counting
it (up to a cap) is cheap and tells how selective the condition is. `is_exact` says that
`rows` fulfil the condition and it need not be checked again; `is_of_index`, that an index of
keys and values tells them, without a look at each row; `is_of_runs`, that they are read from
the runs' own rows; `has_one_plan`, that they are best read the same way whatever the values are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from projections.search import ast, value_tests
from projections.search.ast import Comparison, Matching, Summary
from projections.search.compile_sqlite import compile_filter, keyed_test
from projections.search.dialect import Dialect
from projections.search.entities_sqlite import RunEntity, order_text
from projections.search.fields import RUNS
from projections.search.limits import ORDER_CHARACTERS_MAX
from projections.search.patterns import like_prefix
from projections.search.sql_text import FALSE, TRUE, Sql

_INDEXES: Final = {"run_metric": "run_metric_last", "run_param": "run_param_value"}
_TAG_INDEX: Final = "run_tag_value"
_NUMBER_INDEX: Final = "run_param_number"
_ORDERED: Final = order_text("d.value")
_LOOKED_UP: Final = ("run_id", "parent_run_id", "experiment_id")
_RANGES: Final = (Comparison.LT, Comparison.LE, Comparison.GT, Comparison.GE)


@dataclass(frozen=True, slots=True)
class Access:
    rows: Sql
    bound: Sql
    is_exact: bool = True
    is_of_index: bool = False
    is_of_runs: bool = False
    has_one_plan: bool = False


def access_for(condition: ast.Expression, entity: RunEntity) -> Access | None:
    """The access that `condition` offers, or None if no index knows of it."""
    match condition:
        case ast.And() | ast.Or() | ast.Not():
            return None
        case ast.IsNull(ast.Metric() | ast.Param() | ast.Tag() | ast.Dataset(), False):
            return None
    match condition.field:
        case ast.Attribute(name):
            return _attribute_access(condition, name, entity)
        case ast.Dataset() as field:
            return _dataset_access(condition, field, entity)
        case field:
            return _keyed_access(condition, field, entity)


def experiments_access(experiment_ids: Sequence[str], dialect: Dialect) -> Access:
    """The runs of some experiments."""
    where = is_in_experiments(experiment_ids, dialect)
    index = dialect.by_index("run_experiment_start")
    rows = Sql(f"SELECT r.run_no FROM run r{index} WHERE ") + where
    return Access(rows, rows, is_of_runs=True)


def is_in_experiments(experiment_ids: Sequence[str], dialect: Dialect) -> Sql:
    if len(experiment_ids) == 1:
        return Sql("r.experiment_id = ?", (experiment_ids[0],))
    return dialect.is_one_of(Sql("r.experiment_id"), experiment_ids)


def _attribute_access(condition: ast.Predicate, name: str, entity: RunEntity) -> Access | None:
    match condition:
        case ast.Compare(_, Comparison.EQ, ast.Text("live")) if name == "liveness":
            where = entity.dialect.is_one_of(Sql("r.run_id"), sorted(entity.live_run_ids))
            return _of_runs(where, is_exact=False)
        case ast.Compare(_, Comparison.EQ) if name in _LOOKED_UP:
            return _run_access(condition, entity)
        case ast.OneOf(_, _, False) if name in _LOOKED_UP:
            return _run_access(condition, entity)
        case ast.Compare(_, Comparison.EQ, ast.Flag(True)) if name == "is_child":
            return _run_access(condition, entity)
        case ast.Compare(_, comparison) if name == "start_time" and comparison in _RANGES:
            return _run_access(condition, entity)
        case ast.Compare(_, Comparison.EQ) if name == "experiment_name":
            return _run_access(condition, entity)
    return None


def _run_access(condition: ast.Predicate, entity: RunEntity) -> Access:
    """Columns of `run` with an index of their own; the planner finds it."""
    match condition:
        case ast.Compare(ast.Attribute("experiment_name"), _, ast.Text(name)):
            where = Sql(
                "r.experiment_id IN (SELECT x.experiment_id FROM experiment x WHERE x.name = ?)",
                (name,),
            )
        case ast.Compare(ast.Attribute("is_child")):
            where = Sql("r.parent_run_id IS NOT NULL")
        case ast.Compare(ast.Attribute("parent_run_id"), comparison, ast.Text(text)):
            where = value_tests.compare_text(Sql("r.parent_run_id"), comparison, text)
        case ast.OneOf(ast.Attribute("parent_run_id"), values):
            where = value_tests.one_of(
                Sql("r.parent_run_id"), values, is_negated=False, dialect=entity.dialect
            )
        case _:
            where = compile_filter(condition, entity, RUNS)
    return _of_runs(where)


def _of_runs(where: Sql, *, is_exact: bool = True) -> Access:
    rows = Sql("SELECT r.run_no FROM run r WHERE ") + where
    return Access(rows, rows, is_exact, is_of_runs=True)


def _keyed_access(condition: ast.Predicate, field: ast.Field, entity: RunEntity) -> Access | None:
    row = entity.row_of(field, "d")
    if row is None:
        return _of_runs(FALSE)
    table = row.text.partition(" ")[0]
    value = value_tests.soonest(condition, entity.value_of(field, "d"), entity.dialect)
    if not isinstance(field, ast.Metric):
        value = entity.dialect.unoptimised(value)
    test = keyed_test(condition, "d", value, entity.dialect)
    if test is None:
        return None
    narrow = _index_test(condition, test, entity.dialect)
    index = _INDEXES.get(table, _TAG_INDEX)
    if isinstance(field, ast.Param) and narrow is test and _is_of_number(condition):
        index = _NUMBER_INDEX
    where = "d.key_id = ?" + (" AND d.value IS NOT NULL" if index == _TAG_INDEX else "")
    base = Sql(
        f"SELECT d.run_no FROM {table} d{entity.dialect.by_index(index)} WHERE {where}", row.params
    )
    bound = base if narrow == TRUE else base + Sql(" AND ") + narrow
    is_whole = narrow is test or _says_all(condition, entity.dialect)
    if test == TRUE or is_whole:
        return Access(bound, bound, is_of_index=True, has_one_plan=True)
    has_list = isinstance(condition, ast.OneOf)  # see RunSelection.checks
    return Access(bound + Sql(" AND (") + test + Sql(")"), bound, has_one_plan=not has_list)


def _dataset_access(
    condition: ast.Predicate, field: ast.Dataset, entity: RunEntity
) -> Access | None:
    """Runs have few inputs; the planner finds the index on names or digests."""
    row = entity.row_of(field, "d")
    test = keyed_test(condition, "d", entity.value_of(field, "d"), entity.dialect)
    if row is None or test is None:
        return None
    table = row.text.partition(" ")[0]
    where = Sql("d.key = ? AND ", row.params) if row.params else Sql("")
    rows = (
        Sql(f"SELECT DISTINCT d.run_no FROM {table} d WHERE ") + where + Sql("(") + test + Sql(")")
    )
    return Access(rows, rows)


def _is_of_number(condition: ast.Predicate) -> bool:
    match condition:
        case ast.Compare(_, _, ast.Number()) | ast.OneOf(_, [ast.Number(), *_]):
            return True
        case _:
            return False


def _index_test(condition: ast.Predicate, test: Sql, dialect: Dialect) -> Sql:
    """The part of `test` that the index alone answers; all of it, or TRUE for its key."""
    match condition:
        case ast.Compare(ast.Metric(_, Summary.LAST), comparison):
            return TRUE if comparison is Comparison.NE else test
        case ast.OneOf(ast.Metric(_, Summary.LAST), _, False):
            return test
        case ast.IsNan(ast.Metric(_, Summary.LAST)):
            return test
        case ast.Compare(ast.Param(), comparison, ast.Number()):
            return TRUE if comparison is Comparison.NE else test
        case ast.OneOf(ast.Param(), [ast.Number(), *_], False):
            return test
        case ast.Compare(ast.Param() | ast.Tag(), Comparison.EQ, ast.Text(text)):
            clipped = text[:ORDER_CHARACTERS_MAX]
            return Sql(f"{_ORDERED} = ?", (clipped,)) if dialect.stores_as_is(clipped) else TRUE
        case ast.OneOf(ast.Param() | ast.Tag(), values, False):
            texts = tuple(str(item.value)[:ORDER_CHARACTERS_MAX] for item in values)
            if not all(map(dialect.stores_as_is, texts)):
                return TRUE
            listed = tuple(map(ast.Text, texts))
            return value_tests.one_of(Sql(_ORDERED), listed, is_negated=False, dialect=dialect)
        case ast.Match(ast.Param() | ast.Tag(), Matching.LIKE, pattern, False):
            prefix = like_prefix(pattern)[:ORDER_CHARACTERS_MAX]
            return _prefix_test(prefix) if dialect.stores_as_is(prefix) else TRUE
        case _:
            return TRUE


def _says_all(condition: ast.Predicate, dialect: Dialect) -> bool:
    """True where `_index_test` on the beginning of a text decides the condition on all of it."""
    if not value_tests.is_told_by_beginning(condition, dialect):
        return False
    match condition:
        case ast.Compare(ast.Param() | ast.Tag(), Comparison.EQ, _):
            return True
        case ast.OneOf(ast.Param() | ast.Tag(), _, False):
            return True
        case ast.Match(ast.Param() | ast.Tag(), _, pattern, False):
            prefix = like_prefix(pattern)
            return prefix == "" or _following(prefix) is not None
        case _:
            return False


def _prefix_test(prefix: str) -> Sql:
    """A range of the index that holds every text beginning with `prefix`."""
    if not prefix:
        return TRUE
    following = _following(prefix)
    if following is None:
        return Sql(f"{_ORDERED} >= ?", (prefix,))
    return Sql(f"{_ORDERED} >= ? AND {_ORDERED} < ?", (prefix, following))


def _following(prefix: str) -> str | None:
    """The least text behind all that begins with `prefix`, where there is one."""
    last = ord(prefix[-1]) + 1
    if last > 0x10FFFF or 0xD800 <= last < 0xE000:
        return None
    return prefix[:-1] + chr(last)
