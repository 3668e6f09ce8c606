"""What PostgreSQL's errors mean for whoever appends or reads: one sentence, and try again.

Everything the driver raises stops here. Nothing of a URI is repeated in a sentence: it may
hold a password.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from ingest.errors import StoreUnavailable
from tracker.events.errors import TrackerError

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # A connection that was told its server dies, and is used before it is closed.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a call of the driver may raise, besides bugs."""

RETRY_AFTER_S: Final = 1.0
# By SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_REASONS: Final = {
    "53100": "PostgreSQL's disk is full",
    "53200": "PostgreSQL is out of memory",
    "53300": "PostgreSQL has no connection left: raise max_connections, or lower "
    "TRACKER_POSTGRES_POOL_MAX",
    "25006": "PostgreSQL is read-only (a standby, or default_transaction_read_only)",
    "57014": "PostgreSQL took longer than TRACKER_POSTGRES_STATEMENT_TIMEOUT_S",
    "55P03": "PostgreSQL kept a lock longer than TRACKER_POSTGRES_STATEMENT_TIMEOUT_S",
    "25P03": "the transaction was idle for too long and PostgreSQL ended it",
    "40P01": "two transactions waited for each other and this one gave way",
    "40001": "the transaction was overtaken by another",
    "57P01": "PostgreSQL is shutting down",
    "57P02": "PostgreSQL has crashed and is recovering",
    "57P03": "PostgreSQL is starting up",
    "28P01": "PostgreSQL refuses the password",
    "28000": "PostgreSQL refuses this user",
    "3D000": "PostgreSQL has no such database: create it first",
    "42501": "PostgreSQL denies the user something it needs",
    "42P01": "a table is missing in PostgreSQL",
}
# What waiting does not mend: a server that meets one of these at its start gives up at once.
_LASTING: Final = frozenset({"28P01", "28000", "3D000", "42501"})


_OF_ONE_ROW: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)


class DatabaseRefused(TrackerError):
    """The database does not let this server in, or is not one it can use."""


def unavailable(error: BaseException, doing: str) -> StoreUnavailable:
    """The refusal that says why `doing` ("the event log cannot be …") and to send it again."""
    return StoreUnavailable(
        f"{doing}: {reason_of(error)}; send it again", retry_after_s=RETRY_AFTER_S
    )


def reason_of(error: BaseException) -> str:
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        reason = _REASONS.get(state)
        return f"{reason} (SQLSTATE {state})" if reason else f"{error} (SQLSTATE {state})"
    if isinstance(error, TimeoutError):
        return "PostgreSQL did not answer in time"
    if isinstance(error, OSError):
        return f"PostgreSQL cannot be reached ({error.strerror or type(error).__name__})"
    return "the connection to PostgreSQL was lost"


def is_lasting(error: BaseException) -> bool:
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _LASTING


def is_of_one_row(error: BaseException) -> bool:
    """Whether one append of a group may be at fault, and the others would pass without it."""
    return isinstance(error, _OF_ONE_ROW)
