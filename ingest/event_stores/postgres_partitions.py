"""The log's partitions: ranges of positions, made ahead, detached when they are archived.

Ranges follow each other without a gap. A range that was lost in a client may be a trillion
positions wide, so a partition may be wider than the rule; it then holds few rows. A
batch lies where its first position lies.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.archive.archiving import Removed
from ingest.event_stores.postgres_connections import Connection, Connections
from ingest.event_stores.postgres_schema import ADVISORY_LOCK, OpenedWorkspace
from projections.log import LogHead


@dataclass(frozen=True, slots=True)
class Partition:
    """Batches whose first position is in [first_position, end_position)."""

    name: str
    first_position: int
    end_position: int
    is_sealed: bool
    """Nothing will be appended to it any more."""


async def make_partitions(
    connections: Connections, opened: OpenedWorkspace, *, position: int
) -> None:
    """See that there is a partition for `position` and half a partition beyond it.

    Servers that want one at the same time wait for each other; appends go on meanwhile,
    as attaching an empty table locks neither them nor readers out.
    """
    size = opened.partition_positions
    async with connections.transaction() as connection:
        await connection.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        begin: int = await connection.fetchval(
            "SELECT partitioned_to FROM tracker.head WHERE workspace = $1", opened.workspace
        )
        wanted = position + size // 2
        if wanted < begin:
            return
        end = (wanted // size + 1) * size
        name = f"tracker.batch_{opened.number}_{begin}"
        await connection.execute(f"CREATE TABLE {name} (LIKE tracker.batch INCLUDING ALL)")
        await connection.execute(
            f"ALTER TABLE tracker.batch_{opened.number} ATTACH PARTITION {name}"
            f" FOR VALUES FROM ({begin}) TO ({end})"
        )
        # Last, as the appends lock this row.
        await connection.execute(
            "UPDATE tracker.head SET partitioned_to = $2 WHERE workspace = $1",
            opened.workspace,
            end,
        )


_PARTITIONS = """
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass($1)
"""


async def attached_partitions(
    connection: Connection, opened: OpenedWorkspace
) -> Sequence[Partition]:
    """Those that are part of the log now, in order of position."""
    next_position: int = await connection.fetchval(
        "SELECT next_position FROM tracker.head WHERE workspace = $1", opened.workspace
    )
    rows = await connection.fetch(_PARTITIONS, f"tracker.batch_{opened.number}")
    found = []
    for row in rows:
        # FOR VALUES FROM ('1') TO ('4000000')
        begin, end = (int(part.strip("('). ")) for part in row["bounds"][16:].split(" TO "))
        found.append(Partition(row["name"], begin, end, is_sealed=end <= next_position))
    return sorted(found, key=lambda partition: partition.first_position)


async def detach_partition(
    connections: Connections, opened: OpenedWorkspace, partition: Partition
) -> None:
    """Take a sealed partition out of the log and drop it; its batches are elsewhere by now.

    Reads wait for it, for the moment that it takes.
    """
    assert partition.is_sealed, "the partition that is appended to stays"
    async with connections.transaction() as connection:
        await connection.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        known = {known.name for known in await attached_partitions(connection, opened)}
        if partition.name in known:
            await connection.execute(
                f"ALTER TABLE tracker.batch_{opened.number}"
                f" DETACH PARTITION tracker.{partition.name}"
            )
            await connection.execute(f"DROP TABLE tracker.{partition.name}")


_COUNT = """
SELECT count(*) FROM tracker.batch WHERE workspace = $1 AND first_position < $2
"""
_NOTE = """
INSERT INTO tracker.archive VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (workspace) DO UPDATE SET
    location = excluded.location, last_position = excluded.last_position,
    chain_sha256 = excluded.chain_sha256, detached_at_us = excluded.detached_at_us
WHERE tracker.archive.last_position < excluded.last_position
"""


async def note_archived(
    connections: Connections,
    opened: OpenedWorkspace,
    location: str,
    ends: LogHead,
    partitions: Sequence[Partition],
) -> Removed:
    """From now on, what is below `ends` is read from the archive; what that is in rows."""
    async with connections.transaction() as connection:
        count: int = await connection.fetchval(
            _COUNT, opened.workspace, partitions[-1].end_position
        )
        last = ends.next_position - 1
        now_us = time.time_ns() // 1000
        await connection.execute(_NOTE, opened.workspace, location, last, ends.chain_sha256, now_us)
    return Removed(last, count)
