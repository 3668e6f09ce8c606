"""Sessions whose client has stopped in the middle of a transaction, and that nobody else ends.

PostgreSQL's idle_in_transaction_session_timeout counts while a session waits for the next
statement. It does not once a statement has been prepared and is waited for to be executed: the
session is "active" then, and a timeout of the statement is ignored as long as the client is
listened to (ProcessInterrupts in src/backend/tcop/postgres.c). A server that is paused just
there would keep its locks for as long as it sleeps. So whoever is kept waiting ends it.
"""

from __future__ import annotations

from typing import Final

import asyncpg

STALLED_S: Final = 2.0

KEPT_WAITING: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
"""What is raised when a lock was not to be had in time."""

# COPY waits for its client in the middle of a statement by its nature.
END_STALLED: Final = f"""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND application_name = 'tracker' AND state = 'active' AND wait_event = 'ClientRead'
  AND backend_xid IS NOT NULL AND state_change < clock_timestamp() - interval '{STALLED_S} s'
  AND query NOT ILIKE 'COPY %'
"""
