"""One connection on a thread of its own, for callers in any event loop.

It connects when it is first needed, and again after the connection was lost; what is kept in the
session (see `reading`) belongs to the connection, and a new one, or a pooler's, goes without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from projections.postgres.connection import ANSWER_S, PostgresConnection, PostgresPlace
from projections.postgres.errors import DRIVER_ERRORS, is_broken
from projections.postgres.layout import Table
from projections.postgres.stalled import END_STALLED, KEPT_WAITING

T = TypeVar("T")


class Session:
    """Raises what the driver raises; whoever uses it says what that means."""

    def __init__(
        self, place: PostgresPlace, *, name: str, tables: Mapping[str, Table] | None = None
    ) -> None:
        self._place = place
        self._tables = tables
        self._connection: PostgresConnection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    @property
    def is_pooled(self) -> bool:
        return self._place.is_pooled

    async def run(self, work: Callable[[PostgresConnection], T]) -> T:
        """Call `work` with the connection, in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    def end(self, then: Callable[[PostgresConnection], object] | None = None) -> None:
        """Roll back what is open, before anything else is asked; nobody waits for it.

        `then` is called with the connection behind that.
        """
        self._thread.submit(self._end, then)

    async def in_transaction(self, begin: str, work: Callable[[PostgresConnection], T]) -> T:
        """`begin` is a script that begins one; it commits, or rolls back when `work` raises."""
        return await self.run(lambda connection: transaction(connection, begin, work))

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _do(self, work: Callable[[PostgresConnection], T]) -> T:
        if self._connection is not None and self._connection.is_lost():
            self._close()
        if self._connection is None:
            self._connection = PostgresConnection(self._place, self._tables)
        try:
            return work(self._connection)
        except DRIVER_ERRORS as error:
            if is_broken(error):
                self._close()
            raise
        except BaseException:
            if self._connection.is_closed or self._connection.in_transaction:
                self._close()  # in a state that nobody should go on from
            raise

    def _end(self, then: Callable[[PostgresConnection], object] | None) -> None:
        if self._connection is None:
            return
        roll_back(self._connection)
        if then is None or self._connection.is_closed:
            return
        try:
            then(self._connection)
        except DRIVER_ERRORS:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def transaction(
    connection: PostgresConnection, begin: str, work: Callable[[PostgresConnection], T]
) -> T:
    try:
        connection.begin(begin)
        result = work(connection)
        connection.commit()
    except BaseException as error:
        recover(connection, error)
        raise
    return result


def recover(connection: PostgresConnection, error: BaseException) -> None:
    """End what is open, as far as that is possible, and see that the next attempt gets on."""
    roll_back(connection)
    if isinstance(error, KEPT_WAITING) and not connection.is_closed:
        with suppress(*DRIVER_ERRORS):
            connection.script(END_STALLED)


def roll_back(connection: PostgresConnection) -> None:
    """End what is open, as far as that is possible."""
    if connection.is_closed or not connection.in_transaction:
        return
    try:
        connection.script("ROLLBACK", within_s=ANSWER_S)
    except DRIVER_ERRORS:
        connection.close()
