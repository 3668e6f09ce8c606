"""Writing a group in one statement: batches, watermarks and the head, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingest.event_stores.base import WriterState
from ingest.event_stores.postgres_connections import Connection
from projections.log import LogHead, StoredBatch

BATCH_COLUMNS: Final = (
    "first_position, n, run_id, writer_id, epoch, first_seq, records_crc, "
    "received_at_us, schema, payload_sha256, chain_sha256, payload"
)
_WRITE: Final = f"""
WITH new_batch AS (
    INSERT INTO tracker.batch (workspace, {BATCH_COLUMNS})
    SELECT $1, * FROM unnest(
        $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::bigint[], $10::integer[], $11::bytea[], $12::bytea[], $13::bytea[])
), new_writer AS (
    INSERT INTO tracker.writer
    SELECT $1, * FROM unnest(
        $14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[])
    ON CONFLICT (workspace, writer_id) DO UPDATE SET
        run_id = excluded.run_id, epoch = excluded.epoch, next_seq = excluded.next_seq,
        position = excluded.position, received_at_us = excluded.received_at_us
)
UPDATE tracker.head SET next_position = $20, chain_sha256 = $21, received_at_us = $22
WHERE workspace = $1
"""


async def write_rows(
    connection: Connection,
    workspace: str,
    *,
    rows: Sequence[StoredBatch],
    writers: Sequence[WriterState],
    head: LogHead,
    received_at_us: int,
) -> None:
    """All of it, in the transaction that holds the head's lock."""
    await connection.execute(
        _WRITE,
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
        [state.writer_id for state in writers],
        [state.run_id for state in writers],
        [state.epoch for state in writers],
        [state.next_seq for state in writers],
        [state.position for state in writers],
        [state.received_at_us for state in writers],
        head.next_position,
        head.chain_sha256,
        received_at_us,
    )
