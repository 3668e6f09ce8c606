"""A connection to PostgreSQL with the face of sqlite3's: see projections.connection.

asyncpg is asyncio only, and folds and queries are plain code that runs in a thread of its own.
So each connection has an event loop of its own in that thread and runs it for one statement
at a time; no other loop and no other thread is involved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from projections.connection import Prefetching
from projections.postgres.layout import Table
from projections.postgres.plans import KEPT_AHEAD_S, KEPT_S, Plans
from projections.postgres.texts import unescaped, unescaped_json
from projections.postgres.translation import bulk, together, translated

if TYPE_CHECKING:
    from projections.postgres.reading import Standing

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 5.0
# What needs no lock and no long search is answered by then, unless PostgreSQL or the network
# hangs.
ANSWER_S: Final = 5.0
# Beyond what any statement of ours is allowed: the network may be what is silent.
_SILENCE_S: Final = 65.0
# After so long the server may have been restarted meanwhile.
_IDLE_S: Final = 0.5
# Of the loop, until data, the end of the stream and the loss of the connection are heard.
_TURNS_TO_HEAR: Final = 5
_BULK_ROWS: Final = 5_000
_STREAM_ROWS: Final = 5_000
_STATEMENTS_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """`uri` may hold a password: it is shown nowhere. `is_pooled`: a pooler is in between,
    and nothing may be kept in a session, `settings` neither. `plans`: how a session begins to
    have statements planned, unless that is left to PostgreSQL."""

    uri: str = field(repr=False)
    is_pooled: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    plans: Plans | None = None

    @property
    def session_settings(self) -> Mapping[str, str]:
        if self.is_pooled:
            return {}
        return {**self.settings, **(self.plans.settings if self.plans else {})}


class Found:
    """Rows that are all here. `rowcount` of a statement that gives none is what it changed."""

    __slots__ = ("_at", "_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int | None = None) -> None:
        self._rows = rows
        self._at = 0
        self.rowcount = len(rows) if rowcount is None else rowcount

    def fetchone(self) -> Any:
        self._at += 1
        return self._rows[self._at - 1] if self._at <= len(self._rows) else None

    def fetchall(self) -> list[Any]:
        rest, self._at = self._rows[self._at :], len(self._rows)
        return list(rest)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class PostgresConnection(Prefetching):
    """Made, used and closed in one thread. Raises what the driver raises.

    `tables` are those that rows are written to. For what reads, see `reading`: `standing`, and
    `has_heads`, whether the build has columns of beginnings (see `layout`).
    """

    def __init__(self, place: PostgresPlace, tables: Mapping[str, Table] | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_pooled = place.is_pooled
        self.tables = tables or {}
        self.standing: Standing | None = None
        self.has_heads = True
        self._ahead: dict[str, dict[tuple[Any, ...], Sequence[Any]]] = {}
        # In the transaction that was begun last, and outside of any, as far as it is known.
        self._plans: Plans | None = None
        self._plans_outside = None if place.is_pooled else place.plans
        self._asked_for: Plans | None = None
        self._planned_at = time.monotonic()
        self._used_at = time.monotonic()
        try:
            self._connection = self._loop.run_until_complete(_connect(place))
        except BaseException:
            self._loop.close()
            raise

    def execute(self, sql: str, parameters: Any = (), /) -> Found:
        ahead = self._ahead.get(sql)
        if ahead is not None:
            rows = ahead.get(_key(parameters))
            if rows is not None:
                return Found(rows)
        statement = translated(sql, has_heads=self.has_heads)
        self._planned(statement.plans)
        arguments = statement.arguments(parameters)
        if statement.sql.startswith(("UPDATE", "DELETE", "INSERT")) and (
            "RETURNING" not in statement.sql
        ):
            status = self._run(self._connection.execute(statement.sql, *arguments))
            return Found((), int(status.rpartition(" ")[2]))
        return Found(self._run(self._connection.fetch(statement.sql, *arguments)))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> None:
        many = bulk(sql, self.tables)
        rows = iter(parameters)
        while piece := list(islice(rows, _BULK_ROWS)):
            if many is not None:
                self._run(self._connection.execute(many.sql, *many.columns(piece)))
            else:
                statement = translated(sql)
                arguments = [statement.arguments(row) for row in piece]
                self._run(self._connection.executemany(statement.sql, arguments))

    def prefetch(self, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
        """See connection.Prefetching. What is known is forgotten by `forget_ahead`."""
        arguments = list(dict.fromkeys(map(tuple, arguments)))
        statement = translated(sql)
        columns = [list(column) for column in zip(*arguments, strict=True)]
        types = ["bigint" if isinstance(column[0], int) else "text" for column in columns]
        inner = statement.sql
        for number in reversed(range(len(columns))):
            inner = inner.replace(f"${number + 1}", f"asked.a{number}")
        arrays = ", ".join(f"${n}::{type_}[]" for n, type_ in enumerate(types, 1))
        names = ", ".join(f"a{number}" for number in range(len(columns)))
        self._planned(Plans.KEPT)
        rows = self._run(
            self._connection.fetch(
                f"SELECT asked.place, found.* FROM unnest({arrays}) WITH ORDINALITY "
                f"AS asked ({names}, place) CROSS JOIN LATERAL ({inner}) AS found",
                *(translated("?").arguments([column])[0] for column in columns),
            )
        )
        known = self._ahead.setdefault(sql, {})
        lists: list[Any] = []
        for asked in arguments:
            lists.append(known.setdefault(tuple(asked), []))
        for place, *row in rows:
            lists[place - 1].append(row)

    def ask_together(self, statements: Sequence[str], parameters: Mapping[str, Any]) -> None:
        """See connection.Prefetching."""
        self._ask_together(statements, parameters)

    def ask_before_search(self, statements: Sequence[str], parameters: Mapping[str, Any]) -> None:
        """See connection.Prefetching. The settings come along, without a round trip of theirs."""
        then = None if self._plans is None else Plans.ANEW
        self._ask_together(statements, parameters, then=then)
        self._plans = then

    def _ask_together(
        self,
        statements: Sequence[str],
        parameters: Mapping[str, Any],
        *,
        then: Plans | None = None,
    ) -> None:
        asked = together(tuple(statements), then)
        self._planned(asked.plans)
        (found,) = self._run(self._connection.fetch(asked.sql, *asked.arguments(parameters)))
        for sql, rows in zip(statements, found[: len(statements)], strict=True):
            key = _key(parameters) if translated(sql).names else ()
            self._ahead.setdefault(sql, {})[key] = rows

    def forget_ahead(self) -> None:
        self._ahead.clear()

    def script(self, sql: str, *, within_s: float | None = None) -> str:
        """Statements without parameters, in one round trip; the status of the last of them."""
        return self._run(self._connection.execute(sql, timeout=within_s))

    def begin(self, sql: str, plans: Plans | None = None, *, then: str = "") -> str:
        """A script that begins a transaction, which a server that is there does at once.

        `plans`: how it has statements planned; they are then planned as each wants it. `then`
        is what the script ends with; gives the status of its last statement.
        """
        script = [sql]
        if plans is not None and plans is not self._plans_outside:
            script.append(plans.script)
        if then:
            script.append(then)
        status = self._tell(script, plans_older_than_s=None if plans is None else KEPT_S)
        self._plans = plans
        return status

    def plan_outside(self, plans: Plans) -> None:
        """Have what is asked outside of transactions planned so, from now on.

        To say so is a round trip. Plans are kept only when that was wanted the last time, too:
        else what takes turns with something else would pay for each turn, and gain nothing.
        """
        assert not self._is_pooled
        assert not self.in_transaction
        asked_before, self._asked_for = self._asked_for, plans
        is_new = plans is Plans.KEPT and asked_before is not Plans.KEPT
        if is_new and self._plans_outside is Plans.ANEW:
            return
        script = [] if plans is self._plans_outside else [plans.lasting_script]
        self._plans_outside = None
        self._tell(script, plans_older_than_s=KEPT_AHEAD_S if plans is Plans.KEPT else None)
        self._plans_outside = plans

    def commit(self) -> None:
        """End the transaction that is open. Raises when there is none, or it has failed."""
        self.check_transaction()
        if self._run(self._connection.execute("COMMIT")) != "COMMIT":
            # COMMIT of a transaction that has failed is a ROLLBACK, and no error.
            raise asyncpg.InFailedSQLTransactionError("the transaction was rolled back")

    def check_transaction(self) -> None:
        """Raises InterfaceError when the transaction that was begun is gone: its connection was
        lost, and what is asked now would be asked of another one, outside of any."""
        if not self.in_transaction:
            raise asyncpg.InterfaceError("the connection was lost in the middle of a transaction")

    def direct(self, sql: str, *arguments: Any, within_s: float | None = None) -> list[Any]:
        """A statement in PostgreSQL's own words, in the transaction that is open or its own."""
        if not self._is_pooled or self.in_transaction:
            return self._run(self._connection.fetch(sql, *arguments, timeout=within_s))
        # Through a pooler, what is prepared is there in the same transaction only.
        return self._run(self._in_transaction(sql, arguments, within_s))

    def stream(self, sql: str) -> Iterator[Any]:
        """The rows of a SELECT, some thousands at a time, inside a transaction."""
        cursor = self._run(self._cursor(sql))
        while rows := self._run(cursor.fetch(_STREAM_ROWS)):
            yield from rows

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closed()

    def is_lost(self) -> bool:
        """Whether it was closed from the other end, as far as that was heard in idle times."""
        if not self.is_closed and time.monotonic() - self._used_at > _IDLE_S:
            self._run(self._hear())
        return self.is_closed

    @property
    def in_transaction(self) -> bool:
        """Of a transaction that was begun by `script`."""
        return self._connection.is_in_transaction()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        if not self._connection.is_closed():
            self._connection.terminate()
        # The transport is closed in the loop's next turn.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _tell(self, script: list[str], *, plans_older_than_s: float | None) -> str:
        """Run the script, if there is any, and have plans dropped that are so old.

        Behind its first statement: a transaction that begins takes no characteristics any more
        once something was done in it.
        """
        age_s = time.monotonic() - self._planned_at
        drops = plans_older_than_s is not None and age_s > plans_older_than_s
        script = [*script[:1], *(["DISCARD PLANS"] if drops else []), *script[1:]]
        status = self.script("; ".join(script), within_s=ANSWER_S) if script else ""
        if drops:
            self._planned_at = time.monotonic()
        return status

    def _planned(self, plans: Plans | None) -> None:
        if plans is not None and self._plans is not None and plans is not self._plans:
            self.script(plans.script)
            self._plans = plans

    async def _in_transaction(
        self, sql: str, arguments: Sequence[Any], within_s: float | None
    ) -> list[Any]:
        async with asyncio.timeout(within_s), self._connection.transaction():
            return await self._connection.fetch(sql, *arguments)

    async def _cursor(self, sql: str) -> Any:
        return await self._connection.cursor(sql)

    async def _hear(self) -> None:
        """The loop runs during statements only: let it see what came since the last one."""
        for _ in range(_TURNS_TO_HEAR):
            await asyncio.sleep(0)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run_until_complete(work)
        finally:
            self._used_at = time.monotonic()


def _key(parameters: Any) -> tuple[Any, ...]:
    return tuple(parameters.values() if isinstance(parameters, Mapping) else parameters)


async def _connect(place: PostgresPlace) -> asyncpg.Connection[asyncpg.Record]:
    connection = await asyncpg.connect(
        place.uri,
        statement_cache_size=0 if place.is_pooled else _STATEMENTS_KEPT,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=_SILENCE_S,
        server_settings={"application_name": "tracker", **place.session_settings},
    )
    try:
        async with connection.transaction():
            for name, decoder in (("text", unescaped), ("json", unescaped_json)):
                await connection.set_type_codec(
                    name, schema="pg_catalog", encoder=str, decoder=decoder, format="text"
                )
    except BaseException:
        connection.terminate()
        raise
    return connection
