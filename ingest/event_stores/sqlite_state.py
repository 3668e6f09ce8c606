"""What is committed in a log database, as the commit thread sees it, with a cache of writers.

A watermark is looked up for every append; the cache makes that a dictionary access. It is
bounded, and what falls out of it is read from its table again.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from ingest.event_stores.base import WriterState
from ingest.event_stores.group import BatchBody, Group
from projections.log import LogHead

WRITERS_CACHED_MAX: Final = 100_000
PAGE_BYTES: Final = 4096
# What a commit writes to the WAL besides payloads: pages of two indexes and of the writer
# table for each row, and the inner pages and the head once. SQLite does not say how much it
# was; the file's size does not either, as it is written from its start again.
_PAGES_PER_ROW: Final = 3
_PAGES_PER_COMMIT: Final = 8


class CommittedState:
    """The group's view of the disk (`group.Committed`). Used by one thread."""

    def __init__(self, connection: sqlite3.Connection, *, workspace: str, store_id: str) -> None:
        self._connection = connection
        self._cache: dict[str, WriterState] = {}
        self.workspace = workspace
        self.store_id = store_id
        row = connection.execute("SELECT next_position, chain_sha256 FROM head").fetchone()
        self.head = LogHead(*row)
        self._received_at_us: int = connection.execute(
            "SELECT coalesce((SELECT received_at_us FROM batch"
            " ORDER BY first_position DESC LIMIT 1), 0)"
        ).fetchone()[0]
        self.bytes_since_checkpoint = 0

    def begin_group(self) -> Group:
        # The wall clock may step back; the order of the log does not.
        self._received_at_us = max(self._received_at_us, time.time_ns() // 1000)
        return Group(self, self.head, self._received_at_us, self.store_id)

    def commit(self, group: Group) -> None:
        """The group is on disk."""
        if len(self._cache) + len(group.writers) > WRITERS_CACHED_MAX:
            self._cache.clear()
        self._cache.update(group.writers)
        if group.rows:  # an import brings clocks of its own
            self._received_at_us = max(self._received_at_us, group.rows[-1].received_at_us)
        pages = _PAGES_PER_COMMIT + _PAGES_PER_ROW * len(group.rows)
        payloads = sum(len(row.payload) for row in group.rows)
        self.bytes_since_checkpoint += pages * PAGE_BYTES + payloads
        self.head = group.head

    def cached_writer(self, writer_id: str) -> WriterState | None:
        """Also for other threads: a dictionary lookup of something that is committed."""
        return self._cache.get(writer_id)

    def writer(self, writer_id: str) -> WriterState | None:
        state = self._cache.get(writer_id)
        if state is None:
            row = self._connection.execute(
                "SELECT writer_id, run_id, epoch, next_seq, position, received_at_us"
                " FROM writer WHERE writer_id = ?",
                (writer_id,),
            ).fetchone()
            if row is None:
                return None
            state = self._cache[writer_id] = WriterState(*row)
        return state

    def stored_range(self, writer_id: str, first_seq: int) -> tuple[int, int] | None:
        row = self._connection.execute(
            "SELECT n, records_crc FROM batch WHERE writer_id = ? AND first_seq = ?"
            " ORDER BY epoch DESC LIMIT 1",
            (writer_id, first_seq),
        ).fetchone()
        return (row[0], row[1]) if row else None

    def stream_since(self, run_id: str, after: int, *, batches_max: int) -> list[BatchBody]:
        archived = self._connection.execute("SELECT max(last_position) FROM archive").fetchone()[0]
        if archived is not None and after < archived:
            # What came since may be detached already: too much to look through.
            return [BatchBody(0, b"")] * batches_max
        # The inner select finds the batch that `after` may lie inside of, by the index.
        rows = self._connection.execute(
            "SELECT n, payload FROM batch WHERE run_id = :run AND first_position + n - 1 > :after"
            " AND first_position >= coalesce((SELECT max(first_position) FROM batch"
            "  WHERE run_id = :run AND first_position <= :after), 0) LIMIT :most",
            {"run": run_id, "after": after, "most": batches_max},
        )
        return [BatchBody(*row) for row in rows]
