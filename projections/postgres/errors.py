"""What the driver's errors mean for whoever folds or reads. Nothing of a URI is repeated."""

from __future__ import annotations

from typing import Final

import asyncpg

from projections.projection import ProjectionStoreFailed, StoreAway

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a call of the driver may raise, besides bugs."""

_ABOUT_A_ROW: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
_NOT_THERE: Final = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


def is_about_the_store(error: BaseException) -> bool:
    """Whether trying again later may help; else it is about the row that was written."""
    return not isinstance(error, _ABOUT_A_ROW)


def store_failed(error: BaseException, doing: str) -> ProjectionStoreFailed:
    """The error of ours that says why `doing` ("the read models cannot be …")."""
    kind = ProjectionStoreFailed if isinstance(error, _NOT_THERE) else StoreAway
    return kind(f"{doing}: {reason_of(error)}; try again")


def reason_of(error: BaseException) -> str:
    if isinstance(error, _NOT_THERE):
        return "they are not built yet"
    if isinstance(error, asyncpg.PostgresError):
        return f"{error} (SQLSTATE {error.sqlstate})"
    if isinstance(error, TimeoutError):
        return "PostgreSQL did not answer in time"
    if isinstance(error, OSError):
        return f"PostgreSQL cannot be reached ({error.strerror or type(error).__name__})"
    return "the connection to PostgreSQL was lost"


def is_broken(error: BaseException) -> bool:
    """Whether nobody should use the connection again that this came from."""
    return isinstance(error, DRIVER_ERRORS) and not isinstance(error, asyncpg.PostgresError)
