"""Group commit on PostgreSQL: what has queued up during one commit goes into the next.

Every server has one of these, and one transaction of appends open at a time. The head's
lock (postgres_state) puts the groups of all servers in one order; a server that is alone
needs a single statement (postgres_recall). A transaction that fails
in a way that leaves its outcome open, a connection cut after COMMIT was sent, is answered
with "send it again": the watermark then says whether it had been stored.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

from ingest.event_stores.base import AppendResult
from ingest.event_stores.group import Append, Group
from ingest.event_stores.pending import PendingAppend
from ingest.event_stores.postgres_connections import Connections
from ingest.event_stores.postgres_errors import DRIVER_ERRORS, is_of_one_row, unavailable
from ingest.event_stores.postgres_partitions import make_partitions
from ingest.event_stores.postgres_recall import Recall
from ingest.event_stores.postgres_rows import write_if_unmoved, write_rows
from ingest.event_stores.postgres_schema import OpenedWorkspace
from ingest.event_stores.postgres_state import LockedState, Locking
from ingest.event_stores.statistics import CommitStatistics
from ingest.event_stores.wakeups import Outcome, Settled, Wakeups
from tracker.events.errors import TrackerError

GROUP_BATCHES_MAX: Final = 256
GROUP_BYTES_MAX: Final = 32 * 1024 * 1024
# Only once several writers are at it is it worth waiting for more of them.
GATHER_S: Final = 0.002
_NOT_WRITTEN: Final = "the event log cannot be written"
# A deadlock that another version's lock order may bring about is over when one gives way.
_ATTEMPTS_MAX: Final = 3


class _PartitionMissing(Exception):
    def __init__(self, position: int) -> None:
        self.position = position


_Decided: TypeAlias = tuple[LockedState, Group, list[Outcome]]


class CommitLoop:
    """`submit` from the home loop; every append is settled when its transaction is over."""

    def __init__(self, connections: Connections, opened: OpenedWorkspace, wakeups: Wakeups) -> None:
        self._connections = connections
        self._opened = opened
        self._wakeups = wakeups
        self._locking = Locking(opened)
        self._queue: deque[PendingAppend] = deque()
        self._arrived = asyncio.Event()
        self._awaited = 1
        self._recall = Recall()
        self._is_ending = False
        self._task: asyncio.Task[None] | None = None
        self._partitioning: asyncio.Task[None] | None = None
        self.statistics = CommitStatistics()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="log-writer")

    def submit(self, pending: PendingAppend) -> None:
        self._queue.append(pending)
        if len(self._queue) >= self._awaited:
            self._arrived.set()

    @property
    def queue_length(self) -> int:
        return len(self._queue)

    async def stop(self) -> None:
        """Commit what was submitted before, then end."""
        self._is_ending = True
        self._arrived.set()
        for task in (self._task, self._partitioning):
            if task is not None:
                await asyncio.wait([task])

    async def _run(self) -> None:
        last_size = 0
        while await self._gather(last_size):
            pendings = self._next_group()
            last_size = len(pendings)
            settled, reached = await self._commit_all(pendings)
            self._wakeups.settle(settled, reached=max(reached, self._wakeups.reached))

    async def _gather(self, last_size: int) -> bool:
        """Wait for an append, and a moment for as many as there were the last time.

        False when there is none and there will be none.
        """
        await self._until_there_are(1)
        if self._queue and len(self._queue) < last_size and not self._is_ending:
            try:
                async with asyncio.timeout(GATHER_S):
                    await self._until_there_are(last_size)
            except TimeoutError:
                pass
        return bool(self._queue)

    async def _until_there_are(self, count: int) -> None:
        self._awaited = count
        while len(self._queue) < count and not self._is_ending:
            self._arrived.clear()
            await self._arrived.wait()

    def _next_group(self) -> list[PendingAppend]:
        pendings: list[PendingAppend] = []
        size = 0
        while self._queue and len(pendings) < GROUP_BATCHES_MAX and size < GROUP_BYTES_MAX:
            pendings.append(self._queue.popleft())
            size += pendings[-1].size
        return pendings

    async def _commit_all(self, pendings: Sequence[PendingAppend]) -> tuple[list[Settled], int]:
        try:
            return await self._commit(pendings)
        except Exception as error:  # noqa: BLE001  # counted, and told to whoever waits for it
            self.statistics.failures += 1
            if len(pendings) == 1 or not is_of_one_row(error):
                return [(pending.future, _told(error)) for pending in pendings], 0
        # One of them may be what does not fit; the others must not fail with it.
        settled: list[Settled] = []
        reached = 0
        for pending in pendings:
            outcomes, position = await self._commit_all([pending])
            settled += outcomes
            reached = max(reached, position)
        return settled, reached

    async def _commit(self, pendings: Sequence[PendingAppend]) -> tuple[list[Settled], int]:
        """Decide and write a group; if it raises, nothing was written or it is unknown."""
        for attempt in range(_ATTEMPTS_MAX):
            try:
                return await self._commit_once(pendings)
            except _PartitionMissing as missing:
                self._recall.forget()
                await make_partitions(self._connections, self._opened, position=missing.position)
            except DRIVER_ERRORS as error:
                # PostgreSQL said that it rolled back, so that doing it again is no risk.
                has_given_way = getattr(error, "sqlstate", None) in ("40P01", "40001")
                if not has_given_way or attempt == _ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("a partition is missing that was made")

    async def _commit_once(self, pendings: Sequence[PendingAppend]) -> tuple[list[Settled], int]:
        started = time.monotonic()
        appends = [pending.append for pending in pendings]
        decided = await self._commit_recalled(appends)
        if decided is None:
            decided = await self._commit_locked(appends)
        state, group, outcomes = decided
        self._recall.learn(state, group)
        if group.rows:
            self.statistics.count(len(group.rows), time.monotonic() - started)
            self._partition_ahead(group.head.next_position, state.partitioned_to)
        futures = (pending.future for pending in pendings)
        return list(zip(futures, outcomes, strict=True)), group.head.next_position - 1

    async def _commit_recalled(self, appends: Sequence[Append]) -> _Decided | None:
        """Commit what can be decided from memory; None when it must be looked up."""
        if self._connections.is_pooled:
            return None
        state = self._recall.state_for(appends)
        if state is None:
            return None
        group, outcomes = self._decide(appends, state)
        if not all(isinstance(outcome, AppendResult) for outcome in outcomes):
            return None
        _check_partition(group, state)
        try:
            async with self._connections.writing_at_once() as connection:
                is_written = await write_if_unmoved(
                    connection, self._opened.workspace, group=group, state=state
                )
        except BaseException:
            self._recall.forget()
            raise
        if is_written:
            return state, group, outcomes
        self._recall.miss()
        return None

    async def _commit_locked(self, appends: Sequence[Append]) -> _Decided:
        async with self._connections.writing() as connection:
            state = await self._locking.lock(connection, appends)
            group, outcomes = self._decide(appends, state)
            if group.rows:
                _check_partition(group, state)
                await write_rows(connection, self._opened.workspace, group=group, state=state)
            if state.placeholders - group.writers.keys():
                await self._locking.forget_unused(connection, state)
        self._locking.committed([*group.writers, *state.writers])
        return state, group, outcomes

    def _decide(self, appends: Sequence[Append], state: LockedState) -> tuple[Group, list[Outcome]]:
        # Clocks of servers differ and step back; the order of the log does not.
        received_at_us = max(state.received_at_us, time.time_ns() // 1000)
        group = Group(state, state.head, received_at_us, self._opened.store_id)
        outcomes: list[Outcome] = []
        for append in appends:
            try:
                outcomes.append(group.take(append))
            except TrackerError as refusal:
                outcomes.append(refusal)
        return group, outcomes

    def _partition_ahead(self, next_position: int, partitioned_to: int) -> None:
        """Make the next partition beside the appends, when this one is half full."""
        if next_position + self._opened.partition_positions // 2 < partitioned_to:
            return
        if self._partitioning is None or self._partitioning.done():
            self._partitioning = asyncio.get_running_loop().create_task(
                self._make_partition(next_position), name="log-partition"
            )

    async def _make_partition(self, position: int) -> None:
        try:
            await make_partitions(self._connections, self._opened, position=position)
            self._recall.forget()  # of how far there are partitions, too
        except DRIVER_ERRORS:
            self.statistics.failures += 1  # the append that needs it makes it


def _check_partition(group: Group, state: LockedState) -> None:
    if group.rows[-1].first_position >= state.partitioned_to:
        raise _PartitionMissing(group.rows[-1].first_position)


def _told(error: Exception) -> Exception:
    """PostgreSQL's trouble is the store's state; anything else is a bug, and a 500."""
    return unavailable(error, _NOT_WRITTEN) if isinstance(error, DRIVER_ERRORS) else error
