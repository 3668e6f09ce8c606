"""The event store on PostgreSQL: any number of servers append to one log and read it.

Order, locks and what is visible when: postgres_state. Poolers and event loops:
postgres_connections. Servers keep nothing that another would have to know.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from ingest.archive.archiving import Removed
from ingest.errors import StoreUnavailable
from ingest.event_stores.base import AppendResult, BatchToAppend, WriterState
from ingest.event_stores.group import Append, ClientAppend, DecisionAppend
from ingest.event_stores.importing import checked_import
from ingest.event_stores.leases import LeaseRow
from ingest.event_stores.pending import PendingAppend
from ingest.event_stores.postgres_commits import CommitLoop
from ingest.event_stores.postgres_connections import Connections, PostgresOptions
from ingest.event_stores.postgres_errors import (
    DRIVER_ERRORS,
    DatabaseRefused,
    is_lasting,
    reason_of,
    unavailable,
)
from ingest.event_stores.postgres_following import Following
from ingest.event_stores.postgres_leases import PostgresLeases
from ingest.event_stores.postgres_partitions import (
    Partition,
    attached_partitions,
    detach_partition,
    note_archived,
)
from ingest.event_stores.postgres_reader import PostgresLogReader
from ingest.event_stores.postgres_schema import (
    PARTITION_POSITIONS,
    OpenedWorkspace,
    prepare,
)
from ingest.event_stores.statistics import CommitStatistics
from ingest.event_stores.wakeups import Wakeups
from ingest.logs import SERVER_LOG
from projections.log import LogHead, StoredBatch
from tracker.events.ids import DEFAULT_WORKSPACE
from tracker.events.types import Event

T = TypeVar("T")

OPEN_RETRY_S: Final = 0.25


class PostgresEventStore:
    """See base.EventStore. `open` it; use it from any event loop; `aclose` it where it was
    opened."""

    def __init__(self, connections: Connections, opened: OpenedWorkspace, *, reached: int) -> None:
        self._connections = connections
        self._opened = opened
        self._home = asyncio.get_running_loop()
        self._wakeups = Wakeups(reached)
        self._reader = PostgresLogReader(connections, opened.workspace)
        self._commits = CommitLoop(connections, opened, self._wakeups)
        self._following = Following(self._reader, self._wakeups)
        self._leases = PostgresLeases(connections, opened.workspace)
        self._is_closed = False
        self._commits.start()
        self._following.start()

    @classmethod
    async def open(
        cls,
        options: PostgresOptions,
        *,
        workspace: str = DEFAULT_WORKSPACE,
        partition_positions: int = PARTITION_POSITIONS,
        wait_s: float = 0.0,
    ) -> PostgresEventStore:
        """Open or create the log of a workspace, waiting `wait_s` for a PostgreSQL that is away.

        Raises DatabaseRefused, MigrationMismatch and StoreUnavailable.
        """
        deadline = time.monotonic() + wait_s
        told = ""
        while True:
            try:
                return await cls._open(options, workspace, partition_positions)
            except DRIVER_ERRORS as error:
                if is_lasting(error):
                    raise DatabaseRefused(f"the database cannot be used: {reason_of(error)}") from (
                        error
                    )
                if time.monotonic() >= deadline:
                    raise unavailable(error, "the event log cannot be opened") from error
                if (reason := reason_of(error)) != told:
                    told = reason
                    fields = {"reason": reason, "wait_s": wait_s}
                    SERVER_LOG.warning("waiting for PostgreSQL", extra={"fields": fields})
            except ValueError:
                # What asyncpg says of a URI it cannot read may repeat its password.
                raise DatabaseRefused(
                    "the database's URI cannot be read: postgresql://USER:PASSWORD@HOST:PORT/NAME "
                    "is what it looks like; special characters are written %XX"
                ) from None
            await asyncio.sleep(OPEN_RETRY_S)

    @classmethod
    async def _open(
        cls, options: PostgresOptions, workspace: str, partition_positions: int
    ) -> PostgresEventStore:
        connections = await Connections.open(options)
        try:
            opened = await prepare(connections, workspace, partition_positions=partition_positions)
            head = await PostgresLogReader(connections, workspace).head()
            return cls(connections, opened, reached=head.next_position - 1)
        except BaseException:
            await connections.aclose()
            raise

    async def append(self, batch: BatchToAppend) -> AppendResult:
        return await self._submit(ClientAppend(batch, hashlib.sha256(batch.payload).digest()))

    async def append_decision(
        self, *, run_id: str, events: Sequence[Event], decided_at: int
    ) -> AppendResult:
        return await self._submit(DecisionAppend(run_id, tuple(events), decided_at))

    async def import_batches(self, batches: Sequence[StoredBatch]) -> LogHead:
        append = await asyncio.to_thread(checked_import, batches)
        if batches:
            await self._submit(append)
            return LogHead(batches[-1].last_position + 1, batches[-1].chain_sha256)
        return await self.head()

    async def _submit(self, append: Append) -> AppendResult:
        async def submit() -> AppendResult:
            if self._is_closed:
                raise StoreUnavailable("the event log is closed; send it again", retry_after_s=1.0)
            future: asyncio.Future[AppendResult] = self._home.create_future()
            self._commits.submit(PendingAppend(append, future))
            return await future

        return await self._connections.at_home(submit)

    async def head(self) -> LogHead:
        return await self._reader.head()

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        return await self._reader.read(
            after=after, batches_max=batches_max, bytes_max=bytes_max, run_id=run_id, until=until
        )

    async def writer(self, writer_id: str) -> WriterState | None:
        return await self._reader.writer(writer_id)

    async def writers(self, run_id: str) -> Sequence[WriterState]:
        return await self._reader.writers(run_id)

    async def wait_for(self, position: int, *, timeout_s: float) -> int:
        with self._following.waiting():
            return await self._wakeups.wait_for(position, timeout_s=timeout_s)

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        await self._commits.stop()
        await self._following.stop()
        self._wakeups.close()
        await asyncio.to_thread(self._reader.close)
        await self._connections.aclose()

    # -- beyond the interface: leases, partitions, and what is measured --------------------

    @property
    def connections(self) -> Connections:
        """For read models that live in the same database."""
        return self._connections

    @property
    def statistics(self) -> CommitStatistics:
        return self._commits.statistics

    @property
    def queue_length(self) -> int:
        return self._commits.queue_length

    async def exchange_leases(
        self, renewed: Sequence[LeaseRow], released: Sequence[str], *, now_us: int, ttl_us: int
    ) -> Sequence[LeaseRow]:
        """See postgres_leases."""
        return await self._leases.exchange(renewed, released, now_us=now_us, ttl_us=ttl_us)

    async def all_writers(self) -> Sequence[WriterState]:
        return await self._reader.all_writers()

    async def partitions(self) -> Sequence[Partition]:
        """The log's partitions, in order; sealed ones may be archived and detached."""

        async def work() -> Sequence[Partition]:
            async with self._connections.transaction() as connection:
                return await attached_partitions(connection, self._opened)

        return await self._at_home(work)

    async def detach(self, partition: Partition) -> None:
        """Remove a sealed partition, whose batches are kept elsewhere. Twice is once."""
        await self._at_home(lambda: detach_partition(self._connections, self._opened, partition))

    async def detach_below(self, location: str, head: LogHead) -> Removed:
        """See archive.archiving.DetachableStore: whole partitions are detached."""
        whole = [p for p in await self.partitions() if p.is_sealed]
        whole = [p for p in whole if p.end_position <= head.next_position]
        if not whole:
            return Removed(0, 0)
        # The last batch of a partition may end beyond it.
        (last,) = await self._reader.read(
            after=whole[-1].end_position - 2, batches_max=1, bytes_max=1
        )
        ends = LogHead(last.last_position + 1, last.chain_sha256)
        noted = await self._at_home(
            lambda: note_archived(self._connections, self._opened, location, ends, whole)
        )
        for partition in whole:
            await self.detach(partition)
        return noted

    async def _at_home(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await self._connections.at_home(work)
        except DRIVER_ERRORS as error:
            raise unavailable(error, "the log's partitions cannot be reached") from error
