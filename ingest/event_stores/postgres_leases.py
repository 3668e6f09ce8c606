"""The leases that all servers of a workspace share, by the database's clock.

A server keeps its own in memory and exchanges them: what it renewed or released since the
last time goes in, everybody's come out. Terms travel as "so much longer", so that servers
need not agree about the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingest.event_stores.leases import LeaseRow
from ingest.event_stores.postgres_connections import Connections
from ingest.event_stores.postgres_errors import DRIVER_ERRORS, unavailable

# Nobody watched for this long: no server was there, or none could reach the database.
UNWATCHED_US: Final = 10_000_000

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_WATCH: Final = f"""
INSERT INTO tracker.lease_watch AS watch VALUES ($1, {_NOW})
ON CONFLICT (workspace) DO UPDATE SET watched_at_us = excluded.watched_at_us
"""
_LAST_WATCH: Final = f"""
SELECT watched_at_us, {_NOW} - watched_at_us FROM tracker.lease_watch
WHERE workspace = $1 FOR UPDATE
"""
# Whoever lived when the last server looked gets one more term.
_PROLONG: Final = f"""
UPDATE tracker.lease SET expires_us = {_NOW} + $3
WHERE workspace = $1 AND expires_us > $2
"""
_RENEW: Final = f"""
INSERT INTO tracker.lease AS lease
SELECT $1, writer_id, run_id, {_NOW} + remaining
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS renewed (writer_id, run_id, remaining)
ORDER BY writer_id
ON CONFLICT (workspace, writer_id) DO UPDATE SET
    run_id = excluded.run_id, expires_us = greatest(lease.expires_us, excluded.expires_us)
"""
_RELEASE: Final = """
DELETE FROM tracker.lease WHERE workspace = $1 AND writer_id = ANY ($2::text[])
"""
_EXPIRE: Final = f"DELETE FROM tracker.lease WHERE workspace = $1 AND expires_us <= {_NOW}"
_ALL: Final = f"""
SELECT writer_id, run_id, expires_us - {_NOW} FROM tracker.lease
WHERE workspace = $1 AND expires_us > {_NOW}
"""


class PostgresLeases:
    def __init__(self, connections: Connections, workspace: str) -> None:
        self._connections = connections
        self._workspace = workspace

    async def exchange(
        self, renewed: Sequence[LeaseRow], released: Sequence[str], *, now_us: int, ttl_us: int
    ) -> Sequence[LeaseRow]:
        """Tell what changed here; return every lease there is, by the caller's clock.

        Raises StoreUnavailable, and then nothing was told.
        """
        try:
            async with self._connections.transaction() as connection:
                # A second that a crash takes back harms nobody.
                await connection.execute("SET LOCAL synchronous_commit = off")
                # The row's lock makes servers take turns, so that no two lock leases in
                # different orders.
                watch = await connection.fetchrow(_LAST_WATCH, self._workspace)
                if watch is not None and watch[1] > UNWATCHED_US:
                    await connection.execute(_PROLONG, self._workspace, watch[0], ttl_us)
                await connection.execute(_WATCH, self._workspace)
                if renewed:
                    await connection.execute(
                        _RENEW,
                        self._workspace,
                        [lease.writer_id for lease in renewed],
                        [lease.run_id for lease in renewed],
                        [lease.expires_us - now_us for lease in renewed],
                    )
                if released:
                    await connection.execute(_RELEASE, self._workspace, list(released))
                await connection.execute(_EXPIRE, self._workspace)
                rows = await connection.fetch(_ALL, self._workspace)
        except DRIVER_ERRORS as error:
            raise unavailable(error, "the leases cannot be exchanged") from error
        return [LeaseRow(row[0], row[1], now_us + row[2]) for row in rows]
