"""The interface of an event store: the whole contract, once.

tests/contract/test_event_store.py holds every backend to this page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from projections.log import EventLogReader, LogHead, StoredBatch
from tracker.events.types import Event
from tracker.events.wire import BatchHeader


class AppendOutcome(StrEnum):
    APPENDED = "appended"
    DUPLICATE = "duplicate"  # nothing was new; the answer is as it was the first time
    TRIMMED = "trimmed"  # the part already seen was cut off, the rest appended


@dataclass(frozen=True, slots=True)
class AppendResult:
    """`position` is that of the writer's last stored event; read at it to see one's writes."""

    outcome: AppendOutcome
    next_seq: int
    position: int


@dataclass(frozen=True, slots=True)
class WriterState:
    """What the store knows of a writer: everything below next_seq is durable."""

    writer_id: str
    run_id: str
    epoch: int
    next_seq: int
    position: int
    received_at_us: int


@dataclass(frozen=True, slots=True)
class BatchToAppend:
    """A decoded-and-checked batch: `payload` is stored as it is."""

    header: BatchHeader
    payload: bytes


class EventStore(EventLogReader, Protocol):
    """An append-only log of one workspace with one watermark per writer.

    An append is all or nothing, durable before it returns, and exactly once: a batch
    whose range is already stored changes nothing, an overlap is cut, a gap is refused.
    Positions are dense and in commit order. A writer's watermark is never forgotten.
    """

    async def append(self, batch: BatchToAppend) -> AppendResult:
        """Append one batch of one writer; return when it is on disk.

        Raises SequenceGap (with the sequence expected), WriterFenced (a higher epoch was
        seen), SequenceReused (this range was stored with other contents), WriterMoved
        (the writer belongs to another run), and StoreUnavailable (nothing was stored, or
        it is unknown; sending it again is safe).
        """
        ...

    async def append_decision(
        self, *, run_id: str, events: Sequence[Event], decided_at: int
    ) -> AppendResult:
        """Append events the server decided on, as its own writer.

        `decided_at` is the position up to which the decision saw the log. Raises
        StreamMoved when events of `run_id` (or, for '', of the workspace's own stream)
        were appended beyond it: read again and decide again. Metrics do not count: no
        decision depends on them, and a run that trains would never hold still.
        """
        ...

    async def import_batches(self, batches: Sequence[StoredBatch]) -> LogHead:
        """Take over batches of another log as they are; return the head when it is on disk.

        Positions, ids, clocks and chain are kept and the writers' watermarks restored, so
        the batches must continue exactly at the head, by position and by hash chain: an
        empty log takes them from position 1. All or nothing. Raises ImportRefused, with
        the reason, when anything of it does not fit; nothing was stored then. After
        StoreUnavailable the head tells whether it was.
        """
        ...

    async def writer(self, writer_id: str) -> WriterState | None: ...

    async def writers(self, run_id: str) -> Sequence[WriterState]: ...

    async def wait_for(self, position: int, *, timeout_s: float) -> int:
        """Wait until the log has reached `position`; return the last position there is."""
        ...

    async def aclose(self) -> None:
        """Commit what was accepted and close. Appends after it raise StoreUnavailable."""
        ...
