"""Where the fields of runs and experiments lie: columns, tables and joins.

Keyed fields (metrics, params, tags) are rows of their own; `row_of` says how to find the
one row of an entity, `value_of` which of its columns is meant. Run rows have the alias r,
experiment rows e.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from projections.input_rules import CONTEXT_TAG
from projections.search import ast
from projections.search.ast import Summary
from projections.search.dialect import SQLITE, Dialect
from projections.search.limits import ORDER_CHARACTERS_MAX
from projections.search.sql_text import KeyId, Sql

TERMINAL_STATUSES: Final = "('FINISHED', 'FAILED', 'KILLED')"
_DELETED_EXPERIMENTS: Final = (
    "(SELECT x.experiment_id FROM experiment x WHERE x.lifecycle_stage = 'deleted')"
)
IS_DELETED: Final = f"(r.lifecycle_stage = 'deleted' OR r.experiment_id IN {_DELETED_EXPERIMENTS})"
IS_ACTIVE: Final = (
    f"(r.lifecycle_stage = 'active' AND r.experiment_id NOT IN {_DELETED_EXPERIMENTS})"
)

# NaN is stored as NULL in these, beside its bits; in the others NULL means there is none.
NAN_COLUMNS: Final = frozenset({"last_value", "first_value"})
METRIC_COLUMNS: Final[Mapping[Summary, str]] = {
    Summary.LAST: "last_value",
    Summary.FIRST: "first_value",
    Summary.MIN: "min_value",
    Summary.MAX: "max_value",
    Summary.COUNT: "count",
}


@dataclass(frozen=True, slots=True)
class Column:
    value: Sql
    is_nullable: bool = False


class Entity(Protocol):
    """What the compiler must know of a searched table."""

    @property
    def now_us(self) -> int:
        """The searcher's clock."""
        ...

    @property
    def dialect(self) -> Dialect: ...

    def attribute(self, name: str) -> Column: ...

    def row_of(self, field: ast.Field, alias: str) -> Sql | None:
        """`table alias ON …` for a keyed field, or None when no entity has that key."""
        ...

    def value_of(self, field: ast.Field, alias: str) -> str: ...

    @property
    def ties(self) -> tuple[tuple[str, Sql, bool], ...]:
        """(attribute, column, is_descending) of what decides between equals, a total order."""
        ...


_RUN_COLUMNS: Final[Mapping[str, Column]] = {
    "run_id": Column(Sql("r.run_id")),
    "run_name": Column(Sql("r.name")),
    "experiment_id": Column(Sql("r.experiment_id")),
    "experiment_name": Column(
        Sql("(SELECT x.name FROM experiment x WHERE x.experiment_id = r.experiment_id)"), True
    ),
    "user_id": Column(Sql("r.user_id")),
    "status": Column(Sql("r.status")),
    "lifecycle_stage": Column(Sql(f"(CASE WHEN {IS_DELETED} THEN 'deleted' ELSE 'active' END)")),
    # As MLflow's clients see it; a location with a query or fragment is spelled by the server.
    "artifact_uri": Column(
        Sql(
            "(coalesce((SELECT rtrim(nullif(x.artifact_location, ''), '/') FROM experiment x"
            " WHERE x.experiment_id = r.experiment_id), 'mlflow-artifacts:/' || r.experiment_id)"
            " || '/' || r.run_id || '/artifacts')"
        )
    ),
    "parent_run_id": Column(Sql("r.parent_run_id"), True),
    "end_reason": Column(Sql("r.end_reason"), True),
    "end_detail": Column(Sql("r.end_detail"), True),
    "start_time": Column(Sql("r.start_us")),
    "end_time": Column(Sql("r.end_us"), True),
    "children": Column(Sql("(SELECT count(*) FROM run c WHERE c.parent_run_id = r.run_id)")),
    "dropped": Column(Sql("r.dropped")),
    "is_child": Column(Sql("(r.parent_run_id IS NOT NULL)")),
}


@dataclass(frozen=True, slots=True)
class RunEntity:
    """Runs. `key_ids` holds the keys that exist, of those the search names.

    `run_no` is where the run's number is read: from the outermost table of a query, so that
    keyed rows are tested before the run's own row is fetched.
    """

    key_ids: Mapping[str, int]
    now_us: int
    live_run_ids: frozenset[str] = field(default_factory=frozenset)
    run_no: str = "r.run_no"
    dialect: Dialect = SQLITE

    def attribute(self, name: str) -> Column:
        match name:
            case "liveness":
                is_live = self.dialect.is_one_of(Sql("r.run_id"), sorted(self.live_run_ids))
                return Column(
                    Sql(f"(CASE WHEN r.status IN {TERMINAL_STATUSES} THEN 'ended' WHEN ")
                    + is_live
                    + Sql(" THEN 'live' ELSE 'lost' END)")
                )
            case "duration":
                return Column(
                    Sql(
                        "(CASE WHEN r.end_us IS NOT NULL THEN r.end_us - r.start_us "
                        f"WHEN r.status NOT IN {TERMINAL_STATUSES} THEN ? - r.start_us END)",
                        (self.now_us,),
                    ),
                    True,
                )
            case _:
                return _RUN_COLUMNS[name]

    def row_of(self, field: ast.Field, alias: str) -> Sql | None:
        match field:
            case ast.Metric(key):
                table = "run_metric"
            case ast.Param(key):
                table = "run_param"
            case ast.Tag(key):
                table = "run_tag"
            case ast.Dataset("context"):
                where = f"{alias}.run_no = {self.run_no} AND {alias}.key = ?"
                return Sql(f"run_input_tag {alias} ON {where}", (CONTEXT_TAG,))
            case ast.Dataset():
                return Sql(f"run_input {alias} ON {alias}.run_no = {self.run_no}")
            case _:
                return None
        key_id = self.key_ids.get(key)
        if key_id is None:
            return None
        where = f"{alias}.run_no = {self.run_no} AND {alias}.key_id = ?"
        return Sql(f"{table} {alias} ON {where}", (KeyId(key_id),))

    def value_of(self, field: ast.Field, alias: str) -> str:
        if isinstance(field, ast.Metric):
            return f"{alias}.{METRIC_COLUMNS[field.summary]}"
        if isinstance(field, ast.Dataset) and field.name != "context":
            return f"{alias}.{field.name}"
        return f"{alias}.value"

    @property
    def ties(self) -> tuple[tuple[str, Sql, bool], ...]:
        return (("start_time", Sql("r.start_us"), True), ("run_id", Sql("r.run_id"), False))


_EXPERIMENT_COLUMNS: Final[Mapping[str, Column]] = {
    "experiment_id": Column(Sql("e.experiment_id")),
    # Ids are digits; MLflow orders them as the numbers they are. No filter knows this name.
    "experiment_number": Column(
        Sql(
            "(CASE WHEN length(e.experiment_id) < 19 AND trim(e.experiment_id, '0123456789') = ''"
            " AND e.experiment_id <> '' THEN CAST(e.experiment_id AS BIGINT) ELSE 0 END)"
        )
    ),
    "name": Column(Sql("e.name")),
    "lifecycle_stage": Column(Sql("e.lifecycle_stage")),
    "artifact_location": Column(Sql("e.artifact_location"), True),
    "creation_time": Column(Sql("e.created_us")),
    "last_update_time": Column(Sql("e.updated_us")),
}


@dataclass(frozen=True, slots=True)
class ExperimentEntity:
    now_us: int
    dialect: Dialect = SQLITE

    def attribute(self, name: str) -> Column:
        return _EXPERIMENT_COLUMNS[name]

    def row_of(self, field: ast.Field, alias: str) -> Sql | None:
        if not isinstance(field, ast.Tag):
            return None
        where = f"{alias}.experiment_id = e.experiment_id AND {alias}.key = ?"
        return Sql(f"experiment_tag {alias} ON {where}", (field.key,))

    def value_of(self, field: ast.Field, alias: str) -> str:
        return f"{alias}.value"

    @property
    def ties(self) -> tuple[tuple[str, Sql, bool], ...]:
        return (
            ("creation_time", Sql("e.created_us"), True),
            ("experiment_id", Sql("e.experiment_id"), False),
        )


def row_field(field: ast.Field) -> ast.Field:
    """The field that stands for all that are read from the same keyed row."""
    return ast.Metric(field.key) if isinstance(field, ast.Metric) else field


def order_text(column: str) -> str:
    """The part of a long text that is ordered; the indexes hold the same expression."""
    return f"substr({column}, 1, {ORDER_CHARACTERS_MAX})"
