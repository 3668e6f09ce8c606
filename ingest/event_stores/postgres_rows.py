"""Writing a group in one statement: batches, watermarks and the head, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ingest.event_stores.group import Group
from ingest.event_stores.postgres_connections import Connection
from ingest.event_stores.postgres_state import LockedState

BATCH_COLUMNS: Final = (
    "first_position, n, run_id, writer_id, epoch, first_seq, records_crc, "
    "received_at_us, schema, payload_sha256, chain_sha256, payload"
)
_BATCHES: Final = f"""
INSERT INTO tracker.batch (workspace, {BATCH_COLUMNS})
SELECT $1, * FROM unnest(
    $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::integer[], $11::bytea[], $12::bytea[], $13::bytea[]) AS row
"""
_WRITERS: Final = """
INSERT INTO tracker.writer
SELECT $1, * FROM unnest(
    $14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[]) AS row
"""
_TAKE_OVER: Final = """
ON CONFLICT (workspace, writer_id) DO UPDATE SET
    run_id = excluded.run_id, epoch = excluded.epoch, next_seq = excluded.next_seq,
    position = excluded.position, received_at_us = excluded.received_at_us
"""
_MOVE_HEAD: Final = """
UPDATE tracker.head SET next_position = $20, chain_sha256 = $21, received_at_us = $22
WHERE workspace = $1
"""
_WRITE: Final = f"""
WITH new_batch AS ({_BATCHES}), new_writer AS ({_WRITERS} {_TAKE_OVER})
{_MOVE_HEAD}
"""
# Writers' rows first and the head after them, as everywhere; then everything or nothing.
_WRITE_IF_UNMOVED: Final = f"""
WITH locked AS MATERIALIZED (
    SELECT 1 FROM tracker.writer
    WHERE workspace = $1 AND writer_id = ANY ($14::text[]) ORDER BY writer_id FOR UPDATE
), moved AS (
    {_MOVE_HEAD} AND next_position = $23 AND chain_sha256 = $24
        AND (SELECT count(*) FROM locked) >= 0
    RETURNING 1
), new_batch AS (
    {_BATCHES} WHERE EXISTS (SELECT FROM moved)
), new_writer AS (
    {_WRITERS} WHERE EXISTS (SELECT FROM moved) {_TAKE_OVER}
)
SELECT count(*) FROM moved
"""


async def write_rows(
    connection: Connection, workspace: str, *, group: Group, state: LockedState
) -> None:
    """All of a group, in the transaction that holds the head's lock."""
    await connection.execute(_WRITE, *_values(workspace, group, state))


async def write_if_unmoved(
    connection: Connection, workspace: str, *, group: Group, state: LockedState
) -> bool:
    """All of a group if the head is where `state` has it, else nothing. Commits by itself."""
    before = (state.head.next_position, state.head.chain_sha256)
    moved = await connection.fetchval(_WRITE_IF_UNMOVED, *_values(workspace, group, state), *before)
    return bool(moved)


def _values(workspace: str, group: Group, state: LockedState) -> Sequence[Any]:
    rows, writers = group.rows, sorted(group.writers.values(), key=lambda w: w.writer_id)
    return (
        workspace,
        [row.first_position for row in rows],
        [row.n for row in rows],
        [row.run_id for row in rows],
        [row.writer_id for row in rows],
        [row.epoch for row in rows],
        [row.first_seq for row in rows],
        [row.records_crc for row in rows],
        [row.received_at_us for row in rows],
        [row.schema for row in rows],
        [row.payload_sha256 for row in rows],
        [row.chain_sha256 for row in rows],
        [row.payload for row in rows],
        [writer.writer_id for writer in writers],
        [writer.run_id for writer in writers],
        [writer.epoch for writer in writers],
        [writer.next_seq for writer in writers],
        [writer.position for writer in writers],
        [writer.received_at_us for writer in writers],
        group.head.next_position,
        group.head.chain_sha256,
        max(state.received_at_us, rows[-1].received_at_us),
    )
