"""Writing rows by statements of many rows.

Each statement gives up Python's global lock once, and taking it back while the event loop
is busy costs more than the insert itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from ingest.event_stores.base import WriterState
from projections.log import StoredBatch

_BATCH_ROW: Final = "(" + ", ".join("?" * 13) + ")"
_WRITER_ROW: Final = "(?, ?, ?, ?, ?, ?)"
# Statements of these many rows are prepared once and kept.
_CHUNKS: Final = (64, 32, 16, 8, 4, 2, 1)


def insert_batches(
    connection: sqlite3.Connection, workspace: str, rows: Sequence[StoredBatch]
) -> None:
    done = 0
    while done < len(rows):
        chunk = next(size for size in _CHUNKS if size <= len(rows) - done)
        parameters: list[object] = []
        for row in rows[done : done + chunk]:
            parameters += (
                row.first_position,
                workspace,
                row.n,
                row.run_id,
                row.writer_id,
                row.epoch,
                row.first_seq,
                row.records_crc,
                row.received_at_us,
                row.schema,
                row.payload_sha256,
                row.chain_sha256,
                row.payload,
            )
        values = ", ".join([_BATCH_ROW] * chunk)
        connection.execute(f"INSERT INTO batch VALUES {values}", parameters)
        done += chunk


def upsert_writers(connection: sqlite3.Connection, writers: Sequence[WriterState]) -> None:
    done = 0
    while done < len(writers):
        chunk = next(size for size in _CHUNKS if size <= len(writers) - done)
        parameters: list[object] = []
        for state in writers[done : done + chunk]:
            parameters += (
                state.writer_id,
                state.run_id,
                state.epoch,
                state.next_seq,
                state.position,
                state.received_at_us,
            )
        values = ", ".join([_WRITER_ROW] * chunk)
        connection.execute(f"INSERT OR REPLACE INTO writer VALUES {values}", parameters)
        done += chunk
