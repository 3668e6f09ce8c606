"""What one query asks through: see connection.Connection.

Theory
------
A query sees one state because it runs in one transaction with one snapshot. To begin one is a
round trip, and to ask for the ids of keys is another. But a search that is asked again is mostly
one statement, and that sees one state by itself. So the first statement of a search is asked
ahead of any transaction, in a session that stands in the build that served when it last looked;
whether that serves still, and up to which position, comes along with its rows. A transaction
begins when something else is asked. What a build holds changes only together with its position:
so where both are the same, the transaction sees what the first statement saw. Where they are
not, the query is asked once more, all of it in that one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import asyncpg

from projections.connection import Prefetching
from projections.postgres.connection import ANSWER_S, Found, PostgresConnection
from projections.postgres.plans import Plans
from projections.postgres.sessions import roll_back
from projections.postgres.translation import translated
from projections.runs_views import SQL

T = TypeVar("T")

# What takes this long gains nothing by one round trip less, and should not be asked twice.
SLOW_S: Final = 0.5
_SLOW_MAX: Final = 1_000

_POSITION: Final = SQL["position"]
_NO_BUILD: Final = "tracker_none"
# Where nothing is found there is one row of NULLs. No search gives NULL first.
_AHEAD: Final = """SELECT b.position, found.* FROM tracker.projection_build b
LEFT JOIN ({sql}) AS found ON TRUE
WHERE b.schema_name = current_schema() AND b.retired_at IS NULL"""
_IS_THAT_STATE: Final = (
    "SELECT FROM projection WHERE position = {position} AND current_schema() = '{build}'"
)
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
        """A statement that goes there for the rest of the session, and says where it is."""
        return f"SELECT {self._path(is_local=False)}"

    def _path(self, *, is_local: bool) -> str:
        serving = (
            "SELECT schema_name FROM tracker.projection JOIN tracker.projection_build "
            "USING (workspace, name, number) "
            f"WHERE workspace = '{self.workspace}' AND name = '{self.name}'"
        )
        path = f"coalesce(({serving}), '{_NO_BUILD}')"
        return f"set_config('search_path', {path}, {str(is_local).lower()})"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a session is outside of transactions; `slow` are statements not to ask from there."""

    source: Source
    build: str
    slow: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Manner:
    """How transactions begin. Through a pooler nothing can be kept in a session."""

    begin: str
    is_pooled: bool


def read(
    connection: PostgresConnection,
    source: Source,
    manner: Manner,
    query: Callable[[Reading], T],
    *,
    searches: bool,
) -> T:
    """What the query gives, with its transaction left open if it has one; none when it raises."""
    try:
        try:
            return query(Reading(connection, source, manner, is_ahead=searches))
        except _StateMoved:
            roll_back(connection)
            return query(Reading(connection, source, manner, is_ahead=False))
    except BaseException:
        roll_back(connection)
        raise
    finally:
        connection.forget_ahead()


def stand(connection: PostgresConnection, source: Source) -> None:
    """Be where what is asked ahead of transactions is asked from; outside of any."""
    standing = connection.standing
    if source.schema is None and (standing is None or standing.source != source):
        ((build,),) = connection.direct(source.stay)
        connection.standing = Standing(source, build)


class Reading(Prefetching):
    """The connection of one query. `is_ahead`: its first statement may be."""

    def __init__(
        self, connection: PostgresConnection, source: Source, manner: Manner, *, is_ahead: bool
    ) -> None:
        self._connection, self._source, self._manner = connection, source, manner
        standing = connection.standing if is_ahead else None
        self._standing = standing if standing and standing.source == source else None
        self._has_begun = False
        self._position: int | None = None  # of the state that was seen ahead

    @property
    def build(self) -> str | None:
        return None if self._standing is None else self._standing.build

    def execute(self, sql: str, parameters: Any = (), /) -> Found:
        if sql == _POSITION and self._position is not None:
            return Found([(self._position,)])
        if not self._has_begun:
            plans = translated(sql).plans or Plans.KEPT
            if plans is Plans.ANEW and self._standing is not None and self._position is None:
                rows = self._ask_ahead(self._standing, sql, parameters)
                if rows is not None:
                    return Found(rows)
            self._begin(plans)
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> object:
        raise NotImplementedError("what reads writes nothing")

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
        if self._position is not None:
            then += "; " + _IS_THAT_STATE.format(position=self._position, build=self.build)
        kept = None if self._manner.is_pooled else plans
        status = self._connection.begin(self._manner.begin, kept, then=then)
        self._has_begun = True
        if self._position is not None and status != "SELECT 1":
            raise _StateMoved

    def _ask_ahead(self, standing: Standing, sql: str, parameters: Any) -> list[Any] | None:
        """The rows; None where they have to be asked for in a transaction."""
        if sql in standing.slow:
            return None
        statement = translated(sql)
        ahead, began = _AHEAD.format(sql=statement.sql), time.monotonic()
        try:
            rows = self._connection.direct(
                ahead, *statement.arguments(parameters), within_s=ANSWER_S
            )
        except TimeoutError:
            rows = None  # a long search, or nobody is there, which a transaction will tell
        except _BUILD_IS_GONE:
            rows = []
        if time.monotonic() - began > SLOW_S:
            if len(standing.slow) >= _SLOW_MAX:
                standing.slow.clear()
            standing.slow.add(sql)
        if not rows:
            self._standing = None
            if rows is not None:
                self._connection.standing = None  # the build does not serve any more
            return None
        self._position = int(rows[0][0])
        return [row[1:] for row in rows if row[1] is not None]


class _StateMoved(Exception):
    """A transaction does not see the state that was seen ahead of it."""
