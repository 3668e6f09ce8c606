"""Forgetting the beginning of a log in a SQLite file, which is in an archive by now.

Noted first, in a transaction of its own: from then on readers go to the archive. Then the
rows are removed, some at a time, so that appends get their turn. A crash in between leaves
rows that nobody reads, and the next call removes them.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import Final

from ingest.archive.archiving import Removed
from ingest.errors import StoreUnavailable
from projections.log import LogHead

ROWS_AT_ONCE: Final = 500
ANSWER_S: Final = 60.0
Job = Callable[[sqlite3.Connection], None]
Question = Callable[[sqlite3.Connection], int]


async def detach(submit: Callable[[Job], None], location: str, head: LogHead) -> Removed:
    """Run in the store's writing thread by `submit`.

    Raises StoreUnavailable when the disk does not take it; nothing is lost then.
    """
    last = head.next_position - 1

    def note(connection: sqlite3.Connection) -> None:
        if _noted(connection) < last:
            connection.execute("DELETE FROM archive")
            connection.execute(
                "INSERT INTO archive VALUES (?, ?, ?, ?)",
                (location, last, head.chain_sha256, time.time_ns() // 1000),
            )

    def remove(connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM batch WHERE first_position IN (SELECT first_position FROM batch"
            " WHERE first_position <= ? ORDER BY first_position LIMIT ?)",
            (last, ROWS_AT_ONCE),
        )

    def first_left(connection: sqlite3.Connection) -> int:
        return connection.execute("SELECT min(first_position) FROM batch").fetchone()[0] or last + 1

    def rows(connection: sqlite3.Connection) -> int:
        sql = "SELECT count(*) FROM batch WHERE first_position <= ?"
        return int(connection.execute(sql, (last,)).fetchone()[0])

    # What a later transaction reads is what was committed: a failed one leaves no trace.
    if await _ask(submit, note, _noted) < last:
        raise _not_now()
    count = await _ask(submit, _nothing, rows)
    before = await _ask(submit, _nothing, first_left)
    while before <= last:
        now = await _ask(submit, remove, first_left)
        if now <= before:
            raise _not_now()
        before = now
    return Removed(last, count)


def _noted(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT max(last_position) FROM archive").fetchone()[0] or 0


async def _ask(submit: Callable[[Job], None], work: Job, question: Question) -> int:
    """Do some work in one transaction, then ask in another what came of it."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[int] = loop.create_future()

    def tell(result: int | Exception) -> None:
        if not answer.done():
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    def ask(connection: sqlite3.Connection) -> None:
        try:
            loop.call_soon_threadsafe(tell, question(connection))
        except sqlite3.Error:
            loop.call_soon_threadsafe(tell, _not_now())
            raise

    submit(work)
    submit(ask)
    try:
        async with asyncio.timeout(ANSWER_S):
            return await answer
    except TimeoutError:
        raise _not_now() from None  # not even a transaction could begin


def _nothing(connection: sqlite3.Connection) -> None:
    pass


def _not_now() -> StoreUnavailable:
    return StoreUnavailable(
        "the log's rows cannot be removed now: the database's disk refuses it; nothing is lost, "
        "try again",
        retry_after_s=5.0,
    )
