"""What is committed, as an append's transaction has locked it (`group.Committed`).

Theory
------
Every append is one transaction that locks in one order, so that no two wait for each other:

    1. the rows of its writers, in the order of their ids; for writers never seen before a
       placeholder is inserted first, in the same order, so that there is a row to lock
    2. the row of the head, last: from here to the commit nobody else appends

Whoever holds the head sees everything that was appended, as it was committed before the
lock was given, and gives out the next positions. So positions have no gaps (a transaction
that fails has moved no head), and become visible in their own order. What is looked up
beside the rows' own contents, ranges of earlier batches and what came since a decision, is
read after the lock that keeps it still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ingest.event_stores.base import WriterState
from ingest.event_stores.group import (
    LOOKED_THROUGH_MAX,
    Append,
    BatchBody,
    ClientAppend,
    DecisionAppend,
    decision_writer_id,
)
from ingest.event_stores.importing import ImportAppend
from ingest.event_stores.postgres_connections import Connection
from ingest.event_stores.postgres_schema import OpenedWorkspace
from projections.log import LogHead

WRITERS_KNOWN_MAX: Final = 100_000

_PLACEHOLDERS: Final = """
INSERT INTO tracker.writer
SELECT $1, id, '', 0, 1, 0, 0 FROM unnest($2::text[]) AS id ORDER BY id
ON CONFLICT DO NOTHING
"""
_LOCK_WRITERS: Final = """
SELECT writer_id, run_id, epoch, next_seq, position, received_at_us FROM tracker.writer
WHERE workspace = $1 AND writer_id = ANY ($2::text[]) ORDER BY writer_id FOR UPDATE
"""
_LOCK_HEAD: Final = """
SELECT next_position, chain_sha256, received_at_us, partitioned_to FROM tracker.head
WHERE workspace = $1 FOR UPDATE
"""
_RANGES: Final = """
SELECT b.writer_id, b.first_seq, b.n, b.records_crc
FROM unnest($2::text[], $3::bigint[]) AS asked (writer_id, first_seq)
JOIN tracker.batch b USING (writer_id, first_seq)
WHERE b.workspace = $1 ORDER BY b.epoch
"""
# The inner select finds the batch that $3 may lie inside of, by the index.
# What came since may be detached already: then it is too much to look through.
_STREAM: Final = """
(SELECT n, payload FROM tracker.batch
WHERE workspace = $1 AND run_id = $2 AND first_position + n - 1 > $3
  AND first_position >= coalesce((
    SELECT first_position FROM tracker.batch
    WHERE workspace = $1 AND run_id = $2 AND first_position <= $3
    ORDER BY first_position DESC LIMIT 1), 0)
LIMIT $4)
UNION ALL
SELECT 0, ''::bytea FROM tracker.archive, generate_series(1, $4::bigint)
WHERE workspace = $1 AND last_position > $3
"""
_FORGET_PLACEHOLDERS: Final = """
DELETE FROM tracker.writer
WHERE workspace = $1 AND writer_id = ANY ($2::text[]) AND position = 0
"""


@dataclass(slots=True)
class LockedState:
    """Rows that nobody else can change before this transaction ends."""

    head: LogHead
    received_at_us: int
    partitioned_to: int
    writers: dict[str, WriterState]
    placeholders: set[str]
    ranges: dict[tuple[str, int], tuple[int, int]]
    streams: dict[tuple[str, int], list[BatchBody]]

    def writer(self, writer_id: str) -> WriterState | None:
        return self.writers.get(writer_id)

    def stored_range(self, writer_id: str, first_seq: int) -> tuple[int, int] | None:
        return self.ranges.get((writer_id, first_seq))

    def stream_since(self, run_id: str, after: int, *, batches_max: int) -> Sequence[BatchBody]:
        return self.streams[run_id, after][:batches_max]


class Locking:
    """Locks what appends touch. `known` spares the placeholders of writers once seen."""

    def __init__(self, opened: OpenedWorkspace) -> None:
        self._opened = opened
        self._known: set[str] = set()

    async def lock(self, connection: Connection, appends: Sequence[Append]) -> LockedState:
        """Lock in the one order, in the transaction that is open."""
        workspace = self._opened.workspace
        ids = sorted({id for append in appends for id in self._writers_of(append)})
        unknown = [writer_id for writer_id in ids if writer_id not in self._known]
        if unknown:
            await connection.execute(_PLACEHOLDERS, workspace, unknown)
        rows = await connection.fetch(_LOCK_WRITERS, workspace, ids)
        writers = {row["writer_id"]: WriterState(*row) for row in rows if row["position"]}
        placeholders = {row["writer_id"] for row in rows if not row["position"]}
        ranges = await self._ranges(connection, appends, writers)
        head = await connection.fetchrow(_LOCK_HEAD, workspace)
        assert head is not None
        return LockedState(
            LogHead(head[0], head[1]),
            head[2],
            head[3],
            writers,
            placeholders,
            ranges,
            await self._streams(connection, appends),
        )

    async def forget_unused(self, connection: Connection, state: LockedState) -> None:
        """Remove the placeholders of writers from which nothing was taken."""
        await connection.execute(
            _FORGET_PLACEHOLDERS, self._opened.workspace, sorted(state.placeholders)
        )

    def committed(self, writer_ids: Sequence[str]) -> None:
        """These writers have rows from now on."""
        if len(self._known) + len(writer_ids) > WRITERS_KNOWN_MAX:
            self._known.clear()
        self._known.update(writer_ids)

    def _writers_of(self, append: Append) -> Sequence[str]:
        match append:
            case ClientAppend():
                return [append.batch.header.writer_id]
            case DecisionAppend():
                return [decision_writer_id(self._opened.store_id, append.run_id)]
            case ImportAppend():
                return [batch.writer_id for batch in append.batches]

    async def _ranges(
        self,
        connection: Connection,
        appends: Sequence[Append],
        writers: dict[str, WriterState],
    ) -> dict[tuple[str, int], tuple[int, int]]:
        """(n, records_crc) of stored batches that begin where one of these begins."""
        asked: list[tuple[str, int]] = []
        for append in appends:
            if isinstance(append, ClientAppend):
                header = append.batch.header
                state = writers.get(header.writer_id)
                if state is not None and header.first_seq < state.next_seq:
                    asked.append((header.writer_id, header.first_seq))
        if not asked:
            return {}
        ids, seqs = zip(*asked, strict=True)
        rows = await connection.fetch(_RANGES, self._opened.workspace, ids, seqs)
        return {(row[0], row[1]): (row[2], row[3]) for row in rows}

    async def _streams(
        self, connection: Connection, appends: Sequence[Append]
    ) -> dict[tuple[str, int], list[BatchBody]]:
        """What was appended to a run since each decision about it was prepared."""
        streams: dict[tuple[str, int], list[BatchBody]] = {}
        for append in appends:
            if isinstance(append, DecisionAppend):
                rows = await connection.fetch(
                    _STREAM,
                    self._opened.workspace,
                    append.run_id,
                    append.decided_at,
                    LOOKED_THROUGH_MAX + 1,
                )
                streams[append.run_id, append.decided_at] = [BatchBody(*row) for row in rows]
        return streams
