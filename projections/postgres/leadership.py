"""Which server folds: the one whose token is in the lease's row.

Theory
------
Folding twice would do no harm to the rows (the checkpoint moves by compare-and-set) but would
cost everything twice, so one server per workspace leads. Whoever finds the lease expired, by
the database's clock, takes it and raises its token. A leader renews it from a task of its own,
however long a fold takes. One that was paused or cut off may believe that it leads while
another does: its writes are refused, as they are tied to its token in their own transaction.

When a process is killed, PostgreSQL hears at once that its connection has ended, and shows its
session no more. So a lease whose session is gone is taken before it expires, unless it was
renewed just now: a leader that lost its connection only has the time to renew it by another. A
whole machine that is lost says nothing, and neither does a session behind a pooler: there the
lease has to expire. Whose session is not to be seen, for want of rights, counts as being there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import Any, Final

from projections.postgres.connection import ANSWER_S
from projections.postgres.errors import DRIVER_ERRORS, reason_of, store_failed
from projections.postgres.sessions import Session
from projections.postgres.stalled import END_STALLED

logger = logging.getLogger(__name__)

TTL_S: Final = 3.0
RENEW_S: Final = 0.75
AGAIN_S: Final = 0.1
"""Until a renewal that failed is tried once more."""
GONE_S: Final = 2 * RENEW_S
"""Since the last renewal, until the lease of a session that is gone can be taken."""

_MAKE: Final = """
INSERT INTO tracker.projection_lease VALUES ($1, 0, '', '-infinity') ON CONFLICT DO NOTHING
"""
# $1: the workspace; $2: how long a lease lasts.
_IS_FREE: Final = f"""
workspace = $1 AND (
  expires_at < clock_timestamp()
  OR expires_at < clock_timestamp() + ($2::float8 - {GONE_S}) * interval '1 s'
    AND backend_pid IS NOT NULL AND backend_token = token AND NOT EXISTS (
      SELECT FROM pg_stat_activity a
      WHERE a.pid = backend_pid AND coalesce(a.backend_start = l.backend_start, TRUE)
    )
)
"""
_HAS_LAPSED: Final = f"SELECT FROM tracker.projection_lease l WHERE {_IS_FREE}"
# $3: whether a session is that of whoever uses it.
_HELD: Final = """
expires_at = clock_timestamp() + $2::float8 * interval '1 s',
(backend_pid, backend_start, backend_token) = (
  SELECT pid, backend_start, {token} FROM pg_stat_activity WHERE $3 AND pid = pg_backend_pid()
)
"""
_TAKE: Final = f"""
UPDATE tracker.projection_lease l
SET token = token + 1, holder = $4, {_HELD.format(token="token + 1")}
WHERE {_IS_FREE} RETURNING token
"""
_RENEW: Final = f"""
UPDATE tracker.projection_lease SET {_HELD.format(token="token")}
WHERE workspace = $1 AND token = $4 RETURNING token
"""
_RELEASE: Final = """
UPDATE tracker.projection_lease SET expires_at = '-infinity'
WHERE workspace = $1 AND token = $2 RETURNING token
"""


class PostgresLeadership:
    """See build_store.Leadership. Used from one event loop; the session is its own."""

    def __init__(self, session: Session, workspace: str, *, ttl_s: float = TTL_S) -> None:
        self._session = session
        self._workspace = workspace
        self._ttl_s = ttl_s
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._held = (ttl_s, not session.is_pooled)
        self._token: int | None = None
        self._is_there = False  # the lease's row
        self._renewing: asyncio.Task[None] | None = None

    @property
    def token(self) -> int:
        """Of this server's writes; one that nobody ever had while it does not lead."""
        return -1 if self._token is None else self._token

    async def acquire(self) -> bool:
        """Raises ProjectionStoreFailed when the lease cannot be asked for."""
        if self._token is not None:
            return True
        try:
            if not self._is_there:
                await self._ask(_MAKE)
                self._is_there = True
            if not await self._ask(_HAS_LAPSED, self._ttl_s):
                return False
            # Whoever led until now may sleep, with locks on what is to be written.
            await self._session.run(lambda c: c.script(END_STALLED, within_s=ANSWER_S))
            taken = await self._ask(_TAKE, *self._held, self._holder)
        except DRIVER_ERRORS as error:
            raise store_failed(error, "the lease of the projections cannot be read") from error
        if not taken:
            return False
        self._token = taken[0][0]
        logger.info("projections: this server folds from now on (token %d)", self._token)
        self._renewing = asyncio.create_task(self._renew(), name="projection-lease")
        return True

    async def holds(self) -> bool:
        return self._token is not None

    async def release(self) -> None:
        token, self._token = self._token, None
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing
            self._renewing = None
        if token is not None:
            with contextlib.suppress(*DRIVER_ERRORS):  # it expires by itself
                await self._ask(_RELEASE, token)
        await self._session.aclose()

    async def _ask(self, sql: str, *arguments: Any) -> list[Any]:
        return await self._session.run(
            lambda c: c.direct(sql, self._workspace, *arguments, within_s=ANSWER_S)
        )

    async def _renew(self) -> None:
        failures = 0
        while self._token is not None:
            # Another connection may be had at once; a database that is away takes its time.
            await asyncio.sleep(AGAIN_S if failures == 1 else RENEW_S)
            token, failures = self._token, failures + 1
            try:
                kept = await self._ask(_RENEW, *self._held, token)
            except DRIVER_ERRORS as error:
                logger.warning("projections: the lease cannot be renewed: %s", reason_of(error))
                continue
            except Exception:  # who stops asking would believe for ever that he leads
                logger.exception("projections: the lease cannot be renewed")
                continue
            failures = 0
            if not kept:
                self._token = None
