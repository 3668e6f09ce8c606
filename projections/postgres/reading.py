"""What one query asks through: see connection.Connection.

Theory
------
A query sees one state because it runs in one transaction with one snapshot. To begin one is a
round trip, and to ask for the ids of keys is another. But a search that is asked again is mostly
one statement, and that sees one state by itself. So the first statement of a search is asked
ahead of any transaction, in a session that stands in the build that served when it last looked;
whether that serves still, and up to which position, comes along with its rows. A transaction
begins when something else is asked. What searches read of a build changes only together with its
position: so where both are the same, the transaction sees what the first statement saw. Where
they are not, the query is asked once more, all of it in that one transaction; so it is when the
query was told of a build (whose ids of keys it then uses) that does not serve any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import asyncpg

from projections.connection import Prefetching
from projections.postgres.connection import ANSWER_S, Found, PostgresConnection
from projections.postgres.plans import Plans
from projections.postgres.sessions import roll_back
from projections.postgres.translation import translated
from projections.runs_views import SQL
from projections.search.sql_text import keys_written

T = TypeVar("T")

# Ended by PostgreSQL, and then asked in a transaction, which takes as long as searches may.
AHEAD_S: Final = 1.0
# What takes this long gains nothing by one round trip less.
SLOW_S: Final = 0.5
UNFIT_S: Final = 30.0
_UNFIT_MAX: Final = 1_000

# The version of the runs projection since which its builds have columns of beginnings.
_HEADS_SINCE: Final = 3

_POSITION: Final = SQL["position"]
_NO_BUILD: Final = "tracker_none"
# Where nothing is found there is one row of NULLs. No search gives NULL first.
_AHEAD: Final = """SELECT b.position, found.* FROM tracker.projection_build b
LEFT JOIN ({sql}) AS found ON TRUE
WHERE b.schema_name = current_schema() AND b.retired_at IS NULL"""
_IS_OF_BUILD: Final = "SELECT FROM projection WHERE current_schema() = '{build}'"
_AND_OF_POSITION: Final = " AND position = {position}"
_BUILD_IS_GONE: Final = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


@dataclass(frozen=True, slots=True)
class Source:
    """What is read: the build of a projection that serves, or the one in `schema`."""

    workspace: str
    name: str
    schema: str | None = None

    @property
    def entrance(self) -> str:
        """A statement that goes there for the rest of a transaction."""
        if self.schema is not None:
            return f"SET LOCAL search_path = {self.schema}"
        return f"SELECT {self._path(is_local=True)}"

    @property
    def stay(self) -> str:
        """A statement that goes there for the rest of the session; gives build and version."""
        return f"SELECT {self._path(is_local=False)}, {self._serving('version')}"

    def _path(self, *, is_local: bool) -> str:
        path = f"coalesce({self._serving('schema_name')}, '{_NO_BUILD}')"
        return f"set_config('search_path', {path}, {str(is_local).lower()})"

    def _serving(self, column: str) -> str:
        return (
            f"(SELECT {column} FROM tracker.projection JOIN tracker.projection_build "
            "USING (workspace, name, number) "
            f"WHERE workspace = '{self.workspace}' AND name = '{self.name}')"
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a session is outside of transactions. `has_heads`: see `layout`."""

    source: Source
    build: str
    has_heads: bool


class Unfit:
    """Statements that are not to be asked ahead for a while. Used by several threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def add(self, sql: str) -> None:
        if len(self._until) >= _UNFIT_MAX:
            self._until.clear()
        self._until[sql] = self._clock() + UNFIT_S

    def __contains__(self, sql: str) -> bool:
        return self._clock() < self._until.get(sql, 0.0)


@dataclass(frozen=True, slots=True)
class Manner:
    """How transactions begin, and what was found out about asking ahead of them.

    Through a pooler nothing can be kept in a session.
    """

    begin: str
    is_pooled: bool
    unfit: Unfit = field(default_factory=Unfit)


def read(
    connection: PostgresConnection,
    source: Source,
    manner: Manner,
    query: Callable[[Reading], T],
    *,
    searches: bool,
) -> T:
    """What the query gives, with its transaction left open if it has one; none when it raises."""
    is_ahead, has_heads = searches, True
    try:
        while True:
            try:
                reading = Reading(
                    connection, source, manner, is_ahead=is_ahead, has_heads=has_heads
                )
                return query(reading)
            except _StateMoved:
                is_ahead = False
            except asyncpg.UndefinedColumnError:
                if not has_heads:
                    raise
                # A build of an earlier version serves until its successor has been made.
                is_ahead = has_heads = False
            _let_go(connection)
    except BaseException:
        roll_back(connection)
        raise
    finally:
        connection.forget_ahead()


def _let_go(connection: PostgresConnection) -> None:
    """Of what one attempt has begun and asked."""
    connection.forget_ahead()
    roll_back(connection)
    if connection.is_closed:
        raise asyncpg.InterfaceError("the connection was lost between two attempts")


def stand(connection: PostgresConnection, source: Source) -> None:
    """Be where what is asked ahead of transactions is asked from; outside of any."""
    standing = connection.standing
    if source.schema is None and (standing is None or standing.source != source):
        ((build, version),) = connection.direct(source.stay, within_s=ANSWER_S)
        connection.standing = Standing(source, build, (version or 0) >= _HEADS_SINCE)


class Reading(Prefetching):
    """The connection of one attempt at a query. `is_ahead`: its first statement may be."""

    def __init__(
        self,
        connection: PostgresConnection,
        source: Source,
        manner: Manner,
        *,
        is_ahead: bool,
        has_heads: bool,
    ) -> None:
        self._connection, self._source, self._manner = connection, source, manner
        standing = connection.standing if is_ahead else None
        self._standing = standing if standing and standing.source == source else None
        connection.has_heads = has_heads and (self._standing is None or self._standing.has_heads)
        self._has_begun = False
        # Of the state that was seen ahead, and by which statement.
        self._position: int | None = None
        self._seen_by = ""

    @property
    def build(self) -> str | None:
        return None if self._standing is None else self._standing.build

    def execute(self, sql: str, parameters: Any = (), /) -> Found:
        if sql == _POSITION and self._position is not None:
            return Found([(self._position,)])
        if not self._has_begun:
            plans = translated(sql).plans or Plans.KEPT
            if plans is Plans.ANEW and self._standing is not None and self._position is None:
                rows = self._ask_ahead(sql, parameters)
                if rows is not None:
                    return Found(rows)
            self._begin(plans)
        return self._connection.execute(sql, parameters)

    def prefetch(self, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
        self.begun().prefetch(sql, arguments)

    def ask_together(self, statements: Sequence[str], parameters: Mapping[str, Any]) -> None:
        self.begun().ask_together(statements, parameters)

    def ask_before_search(self, statements: Sequence[str], parameters: Mapping[str, Any]) -> None:
        if self._standing is None or tuple(statements) != (_POSITION,):
            self.begun().ask_before_search(statements, parameters)

    def begun(self) -> PostgresConnection:
        """The connection, in a transaction."""
        if not self._has_begun:
            self._begin(Plans.KEPT)
        return self._connection

    def _begin(self, plans: Plans) -> None:
        then = self._source.entrance
        if self._standing is not None:
            then += "; " + _IS_OF_BUILD.format(build=self._standing.build)
        if self._position is not None:
            then += _AND_OF_POSITION.format(position=self._position)
        kept = None if self._manner.is_pooled else plans
        status = self._connection.begin(self._manner.begin, kept, then=then)
        self._has_begun = True
        if self._standing is not None and status != "SELECT 1":
            if self._seen_by:
                self._manner.unfit.add(self._seen_by)  # what changes so fast is asked as a whole
            self._connection.standing = None
            raise _StateMoved

    def _ask_ahead(self, sql: str, parameters: Any) -> list[Any] | None:
        """The rows; None where they have to be asked for in a transaction."""
        if translated(sql).has_one_plan:
            sql, parameters = keys_written(sql, parameters)
        if sql in self._manner.unfit:
            return None
        statement = translated(sql, has_heads=self._connection.has_heads)
        ahead, began = _AHEAD.format(sql=statement.sql), time.monotonic()
        try:
            self._connection.plan_outside(Plans.KEPT if statement.has_one_plan else Plans.ANEW)
            rows = self._connection.direct(
                ahead, *statement.arguments(parameters), within_s=ANSWER_S
            )
        except asyncpg.QueryCanceledError:
            self._manner.unfit.add(sql)
            return None
        except _BUILD_IS_GONE:
            rows = []
        if not rows:  # the build does not serve any more
            self._connection.standing = None
            raise _StateMoved
        if time.monotonic() - began > SLOW_S:
            self._manner.unfit.add(sql)
        self._position, self._seen_by = int(rows[0][0]), sql
        return [row[1:] for row in rows if row[1] is not None]


class _StateMoved(Exception):
    """A transaction does not see the state that was seen ahead of it."""
