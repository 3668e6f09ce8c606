"""From a request's body to an acknowledged append: decode, check, store, count.

Everything that can be wrong with a batch is found before it is queued, so an append is
whole or not at all. Memory is bounded by a budget for bodies in flight; beyond it the
answer is 503 with Retry-After, and the shipper keeps its spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ingest.counters import ServerCounters
from ingest.errors import Busy
from ingest.event_stores.base import AppendOutcome, AppendResult, BatchToAppend, EventStore
from ingest.json_batches import batch_of_request
from ingest.liveness import LeaseBook
from ingest.schemas import AppendRequest
from projections.columns import check_payload, decode_batch
from tracker.events.wire import BatchHeader

# Larger payloads are decoded beside the event loop, two at a time: unpacked they may be
# 64 MiB each.
INLINE_PAYLOAD_BYTES_MAX: Final = 64 * 1024
LARGE_DECODES_MAX: Final = 2


class InFlightBytes:
    """The budget for request bodies that are held in memory."""

    def __init__(self, bytes_max: int, counters: ServerCounters) -> None:
        self._bytes_max = bytes_max
        self._counters = counters

    @contextmanager
    def reserving(self, size: int) -> Iterator[Reservation]:
        """Take `size` bytes of the budget for the length of a block. Raises Busy."""
        reservation = Reservation(self)
        try:
            reservation.grow(size)
            yield reservation
        finally:
            reservation.release()

    def take(self, size: int) -> None:
        held = self._counters.in_flight_bytes
        # One body may always come in, else a small budget could never be met.
        if held and held + size > self._bytes_max:
            raise Busy("the server is busy with other batches; send it again", retry_after_s=1.0)
        self._counters.in_flight_bytes += size

    def give_back(self, size: int) -> None:
        self._counters.in_flight_bytes -= size


class Reservation:
    """What one request holds of the budget, until it is released."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: InFlightBytes) -> None:
        self._budget = budget
        self.size = 0

    def grow(self, size: int) -> None:
        if size > 0:
            self._budget.take(size)
            self.size += size

    def release(self) -> None:
        self._budget.give_back(self.size)
        self.size = 0


class AppendPipeline:
    def __init__(
        self,
        store: EventStore,
        leases: LeaseBook,
        counters: ServerCounters,
        *,
        in_flight_bytes_max: int,
    ) -> None:
        self._store = store
        self._leases = leases
        self._counters = counters
        self._large_decodes = asyncio.Semaphore(LARGE_DECODES_MAX)
        self.budget = InFlightBytes(in_flight_bytes_max, counters)

    async def append_batch(self, body: bytes) -> AppendResult:
        """Append a batch in its binary form. Raises what decode_batch, check_payload and
        EventStore.append raise."""
        header, payload = decode_batch(body)
        points = await self._check(header, payload)
        return await self._append(BatchToAppend(header, payload), points)

    async def append_request(self, request: AppendRequest) -> AppendResult:
        """Append a batch in its JSON form; checked by the same door as the binary one."""
        batch = await asyncio.to_thread(batch_of_request, request)
        points = await self._check(batch.header, batch.payload)
        return await self._append(batch, points)

    async def _check(self, header: BatchHeader, payload: bytes) -> int:
        """The number of points, if the payload is what its header says."""
        if len(payload) <= INLINE_PAYLOAD_BYTES_MAX:
            return check_payload(payload, n=header.n)
        async with self._large_decodes:
            return await asyncio.to_thread(check_payload, payload, n=header.n)

    async def _append(self, batch: BatchToAppend, points: int) -> AppendResult:
        result = await self._store.append(batch)
        header, counters = batch.header, self._counters
        self._leases.renew(header.writer_id, header.run_id)
        counters.appends[result.outcome] += 1
        if result.outcome is not AppendOutcome.DUPLICATE:
            counters.records += header.n
            counters.points += points
            counters.bytes += len(batch.payload)
        return result
