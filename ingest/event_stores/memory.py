"""The event store in memory: the same rules, gone with the process. For tests and trials."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from itertools import islice, takewhile

from ingest.errors import StoreUnavailable
from ingest.event_stores.base import AppendResult, BatchToAppend, WriterState
from ingest.event_stores.group import (
    Append,
    BatchBody,
    ClientAppend,
    DecisionAppend,
    Group,
)
from ingest.event_stores.importing import checked_import
from ingest.event_stores.leases import LeaseRow
from ingest.event_stores.wakeups import Wakeups
from projections.log import LogHead, StoredBatch
from tracker.events.types import Event


class _Log:
    """What is committed, as groups see it (`group.Committed`)."""

    def __init__(self) -> None:
        self.rows: list[StoredBatch] = []
        self.writers: dict[str, WriterState] = {}
        self.head = LogHead()
        self._ranges: dict[tuple[str, int], tuple[int, int]] = {}

    def commit(self, group: Group) -> None:
        for row in group.rows:
            self.rows.append(row)
            self._ranges[row.writer_id, row.first_seq] = (row.n, row.records_crc)
        self.writers.update(group.writers)
        self.head = group.head

    def writer(self, writer_id: str) -> WriterState | None:
        return self.writers.get(writer_id)

    def stored_range(self, writer_id: str, first_seq: int) -> tuple[int, int] | None:
        return self._ranges.get((writer_id, first_seq))

    def stream_since(self, run_id: str, after: int, *, batches_max: int) -> Sequence[BatchBody]:
        later = takewhile(lambda row: row.last_position > after, reversed(self.rows))
        bodies = (BatchBody(row.n, row.payload) for row in later if row.run_id == run_id)
        return list(islice(bodies, batches_max))


class MemoryEventStore:
    """See base.EventStore. An append never leaves the event loop, so it needs no lock."""

    def __init__(self) -> None:
        self._log = _Log()
        self._received_at_us = 0
        self._store_id = os.urandom(16).hex()
        self._wakeups = Wakeups(0)
        self._is_closed = False

    async def append(self, batch: BatchToAppend) -> AppendResult:
        return self._take(ClientAppend(batch, hashlib.sha256(batch.payload).digest()))

    async def append_decision(
        self, *, run_id: str, events: Sequence[Event], decided_at: int
    ) -> AppendResult:
        return self._take(DecisionAppend(run_id, tuple(events), decided_at))

    async def import_batches(self, batches: Sequence[StoredBatch]) -> LogHead:
        self._take(checked_import(batches))
        return self._log.head

    def _take(self, append: Append) -> AppendResult:
        if self._is_closed:
            raise StoreUnavailable("the event log is closed; send it again", retry_after_s=1.0)
        self._received_at_us = max(self._received_at_us, time.time_ns() // 1000)
        group = Group(self._log, self._log.head, self._received_at_us, self._store_id)
        result = group.take(append)
        self._log.commit(group)
        if group.rows:  # an import brings clocks of its own
            self._received_at_us = max(self._received_at_us, group.rows[-1].received_at_us)
        self._wakeups.settle((), reached=group.head.next_position - 1)
        return result

    async def head(self) -> LogHead:
        return self._log.head

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        batches: list[StoredBatch] = []
        size = 0
        for row in self._log.rows:
            if row.last_position <= after or run_id not in (None, row.run_id):
                continue
            is_full = len(batches) >= batches_max or size >= bytes_max
            if is_full or (until is not None and row.first_position > until):
                break
            batches.append(row)
            size += len(row.payload)
        return batches

    async def writer(self, writer_id: str) -> WriterState | None:
        return self._log.writers.get(writer_id)

    async def writers(self, run_id: str) -> Sequence[WriterState]:
        states = [state for state in self._log.writers.values() if state.run_id == run_id]
        return sorted(states, key=lambda state: state.writer_id)

    async def wait_for(self, position: int, *, timeout_s: float) -> int:
        return await self._wakeups.wait_for(position, timeout_s=timeout_s)

    async def aclose(self) -> None:
        self._is_closed = True
        self._wakeups.close()

    def saved_leases(self) -> Sequence[LeaseRow]:
        return ()

    def save_leases(self, leases: Sequence[LeaseRow]) -> None:
        """Nothing outlives the process."""
