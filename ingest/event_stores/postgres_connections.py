"""Connections to PostgreSQL, by a pool or through PgBouncer, and transactions on them.

Theory
------
A pooler in transaction mode (PgBouncer, most hosted ones) gives every transaction another
session. So nothing here is kept in a session: no prepared statement outlives its
transaction, limits are SET LOCAL, locks are of rows and transactions, and there is no
LISTEN. Whether a pooler is in between is found out, not configured: the process id that
the connection was greeted with is then not the one that answers. Directly connected,
statements are prepared once and limits are set once, which saves half of the round trips.

An asyncpg connection belongs to the event loop that made it, and projections read from a
thread of their own. The loop that opened the store is home; calls from others are run there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg

from ingest.event_stores.postgres_errors import DRIVER_ERRORS, DatabaseRefused
from projections.postgres.stalled import END_STALLED, KEPT_WAITING

T = TypeVar("T")
# asyncpg's own classes are generic for type checkers only.
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

SERVER_VERSION_MIN: Final = 14
# A server that is paused in mid-append must not hold up the others for longer.
IDLE_IN_TRANSACTION_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
IDLE_CONNECTION_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """`uri` may hold a password: it is shown nowhere."""

    uri: str = field(repr=False)
    pool_max: int = 8
    statement_timeout_s: float = 15.0


class Connections:
    """`open` it in the loop that is to be home; `aclose` it there."""

    def __init__(self, options: PostgresOptions, *, is_pooled: bool, commits_safely: bool) -> None:
        self.is_pooled = is_pooled
        self._commits_safely = commits_safely
        self._home = asyncio.get_running_loop()
        self._options = options
        timeout_ms = round(options.statement_timeout_s * 1000)
        self._limits = (
            f"SET LOCAL statement_timeout = {timeout_ms}; SET LOCAL lock_timeout = {timeout_ms}; "
        )
        self._begin = (
            f"BEGIN ISOLATION LEVEL READ COMMITTED; {self._limits}SET LOCAL "
            f"idle_in_transaction_session_timeout = {round(IDLE_IN_TRANSACTION_S * 1000)}; "
        )
        if not commits_safely:
            self._begin += "SET LOCAL synchronous_commit = on; "
        # Appends have a connection of their own: readers cannot starve them.
        self._writing = self._pool(1)
        self._reading = self._pool(max(1, options.pool_max - 1))

    @classmethod
    async def open(cls, options: PostgresOptions) -> Connections:
        """Look at the database first. Raises DatabaseRefused and what the driver raises."""
        connection = await asyncpg.connect(
            options.uri, statement_cache_size=0, timeout=CONNECT_TIMEOUT_S
        )
        try:
            version = connection.get_server_version().major
            if version < SERVER_VERSION_MIN:
                raise DatabaseRefused(
                    f"PostgreSQL {version} is too old: {SERVER_VERSION_MIN} or newer is needed"
                )
            async with connection.transaction():
                row = await connection.fetchrow(
                    "SELECT pg_backend_pid(), current_setting('synchronous_commit')"
                )
            assert row is not None
            is_pooled = row[0] != connection.get_server_pid()
        finally:
            connection.terminate()
        connections = cls(options, is_pooled=is_pooled, commits_safely=row[1] != "off")
        await connections._writing  # no connection is made before it is needed
        await connections._reading
        return connections

    def _pool(self, size: int) -> asyncpg.Pool[asyncpg.Record]:
        settings = {"application_name": "tracker"}
        if not self.is_pooled:
            # For single statements; transactions set their own. A pooler takes no such option.
            timeout_ms = str(round(self._options.statement_timeout_s * 1000))
            settings |= {"statement_timeout": timeout_ms, "lock_timeout": timeout_ms, "jit": "off"}
            if not self._commits_safely:
                settings["synchronous_commit"] = "on"
        return asyncpg.create_pool(
            self._options.uri,
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=IDLE_CONNECTION_S,
            statement_cache_size=0 if self.is_pooled else 100,
            timeout=CONNECT_TIMEOUT_S,
            # Beyond what PostgreSQL itself keeps to: the network may be what is silent.
            command_timeout=self._options.statement_timeout_s + IDLE_IN_TRANSACTION_S,
            server_settings=settings,
            reset=_nothing_to_reset,
        )

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction on the appends' own connection. See `transaction`."""
        async with self._acquired(self._writing) as connection, self._transaction(connection):
            yield connection

    @asynccontextmanager
    async def writing_at_once(self) -> AsyncIterator[Connection]:
        """The appends' connection for one statement that is a transaction by itself.

        Not through a pooler: there a session has no limits of ours.
        """
        async with self._acquired(self._writing) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Commits at the end of the block, rolls back when it raises."""
        async with self._acquired(self._reading) as connection, self._transaction(connection):
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection for single statements, each with a snapshot of its own."""
        async with self._acquired(self._reading) as connection:
            if self.is_pooled:
                async with self._transaction(connection):
                    yield connection
            else:
                yield connection

    async def at_home(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it in the loop the connections belong to, whatever loop this is."""
        if asyncio.get_running_loop() is self._home:
            return await work()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self._home))

    async def aclose(self) -> None:
        """Everything that uses a connection must have ended."""
        for pool in (self._writing, self._reading):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await pool.close()
            except DRIVER_ERRORS:
                pool.terminate()

    @asynccontextmanager
    async def _acquired(self, pool: asyncpg.Pool[asyncpg.Record]) -> AsyncIterator[Connection]:
        connection = await pool.acquire(timeout=self._options.statement_timeout_s)
        try:
            yield connection
        except DRIVER_ERRORS as error:
            if not isinstance(error, asyncpg.PostgresError):
                connection.terminate()  # whatever state it is in, nobody should get it again
            elif isinstance(error, KEPT_WAITING):
                with suppress(*DRIVER_ERRORS):
                    await connection.execute(END_STALLED)
            raise
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def _transaction(self, connection: Connection) -> AsyncIterator[None]:
        try:
            await connection.execute(self._begin)
            yield
            tag = await connection.execute("COMMIT")
        except asyncpg.PostgresError:
            await _roll_back(connection)
            raise
        except Exception as error:  # whatever was raised in the block goes on to its caller
            if isinstance(error, DRIVER_ERRORS):
                connection.terminate()  # in an unknown state: PostgreSQL rolls back by itself
            else:
                await _roll_back(connection)
            raise
        except BaseException:
            connection.terminate()
            raise
        if tag != "COMMIT":
            # COMMIT of a transaction that has failed is a ROLLBACK, and no error.
            raise asyncpg.InFailedSQLTransactionError("the transaction was rolled back")


async def _nothing_to_reset(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Sessions keep nothing, so that a release costs no round trip."""


async def _roll_back(connection: Connection) -> None:
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK")
    except DRIVER_ERRORS:
        connection.terminate()
