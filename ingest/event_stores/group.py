"""The rules of an append: what a batch does to a log, decided for a group at a time.

For a writer the store expects `next_seq` from, a batch of the range [first, end) is

    of another run               refused, WriterMoved
    of a lower epoch             refused, WriterFenced
    end <= next_seq              a duplicate, and refused as SequenceReused when the very
                                 same range was stored with another records_crc
    first > next_seq             refused, SequenceGap: the client rewinds to next_seq
    first < next_seq < end       cut: the part below next_seq is already stored
    first = next_seq             appended

Epochs do not restart a sequence: a writer has one watermark for all of them.

A Group decides one append after another on top of what is committed, and gathers the rows
that the store then writes in one transaction. Nothing is real until that has happened: if
it fails the group is thrown away, and the committed state was never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeAlias

from ingest.errors import (
    InvalidRequest,
    SequenceGap,
    SequenceReused,
    StreamMoved,
    WriterFenced,
    WriterMoved,
)
from ingest.event_stores.base import AppendOutcome, AppendResult, BatchToAppend, WriterState
from ingest.event_stores.importing import ImportAppend, continued
from ingest.event_stores.trimming import NOT_COMPARABLE, decision_batch, trimmed
from projections.columns import decode_payload
from projections.log import LogHead, StoredBatch, chain_link
from tracker.events.limits import INT64_MAX
from tracker.events.types import Event
from tracker.events.wire import WIRE_VERSION

# What has come between a decision and its append is decoded up to this many batches.
LOOKED_THROUGH_MAX: Final = 256


class BatchBody(NamedTuple):
    n: int
    payload: bytes


class Committed(Protocol):
    """What is on disk. Asked by groups only, from the thread that writes."""

    def writer(self, writer_id: str) -> WriterState | None: ...

    def stored_range(self, writer_id: str, first_seq: int) -> tuple[int, int] | None:
        """(n, records_crc) of the batch of this writer that begins there."""
        ...

    def stream_since(self, run_id: str, after: int, *, batches_max: int) -> Sequence[BatchBody]:
        """The run's batches that end beyond position `after`, at most so many."""
        ...


@dataclass(frozen=True, slots=True)
class ClientAppend:
    batch: BatchToAppend
    payload_sha256: bytes


@dataclass(frozen=True, slots=True)
class DecisionAppend:
    run_id: str
    events: Sequence[Event]
    decided_at: int


Append: TypeAlias = ClientAppend | DecisionAppend | ImportAppend


@dataclass(slots=True)
class Group:
    """One transaction in the making. `rows`, `writers` and `head` are what it will write."""

    committed: Committed
    head: LogHead
    received_at_us: int
    store_id: str
    rows: list[StoredBatch] = field(default_factory=list)
    writers: dict[str, WriterState] = field(default_factory=dict)

    def take(self, append: Append) -> AppendResult:
        """Decide one append; raise its refusal and leave the group as it was."""
        match append:
            case ImportAppend():
                return self._take_import(append)
            case ClientAppend():
                return self._take_batch(append.batch, append.payload_sha256)
            case DecisionAppend():
                return self._take_decision(append)

    def _take_batch(self, batch: BatchToAppend, payload_sha256: bytes) -> AppendResult:
        header = batch.header
        state = self._writer(header.writer_id)
        next_seq = 1
        if state is not None:
            if state.run_id != header.run_id:
                raise WriterMoved(
                    f"writer {header.writer_id} belongs to run {state.run_id!r}; "
                    "use a new writer id for another run",
                    run_id=state.run_id,
                )
            if header.epoch < state.epoch:
                raise WriterFenced(
                    f"epoch {header.epoch} is over: epoch {state.epoch} was seen; stop this writer",
                    epoch=state.epoch,
                )
            next_seq = state.next_seq
            if header.first_seq + header.n <= next_seq:
                self._check_not_reused(batch)
                return AppendResult(AppendOutcome.DUPLICATE, next_seq, state.position)
        if header.first_seq > next_seq:
            raise SequenceGap(
                f"the batch begins at {header.first_seq}, but {next_seq} is expected next; "
                f"send from {next_seq} on",
                next_seq=next_seq,
            )
        outcome = AppendOutcome.APPENDED
        if header.first_seq < next_seq:
            batch = trimmed(batch, from_seq=next_seq)
            payload_sha256 = hashlib.sha256(batch.payload).digest()
            outcome = AppendOutcome.TRIMMED
        state = self._add(batch, payload_sha256)
        return AppendResult(outcome, state.next_seq, state.position)

    def _take_decision(self, append: DecisionAppend) -> AppendResult:
        if self._has_moved(append.run_id, append.decided_at):
            raise StreamMoved("the run has changed since the decision was prepared; read it again")
        writer_id = decision_writer_id(self.store_id, append.run_id)
        state = self._writer(writer_id)
        batch = decision_batch(
            run_id=append.run_id,
            writer_id=writer_id,
            first_seq=state.next_seq if state else 1,
            events=append.events,
        )
        state = self._add(batch, hashlib.sha256(batch.payload).digest())
        return AppendResult(AppendOutcome.APPENDED, state.next_seq, state.position)

    def _take_import(self, append: ImportAppend) -> AppendResult:
        head, writers = continued(append.batches, self.head, self._writer)
        self.rows += append.batches
        self.writers.update(writers)
        self.head = head
        return AppendResult(AppendOutcome.APPENDED, 0, head.next_position - 1)

    def _check_not_reused(self, batch: BatchToAppend) -> None:
        header = batch.header
        stored = self._stored_range(header.writer_id, header.first_seq)
        if (
            stored is None
            or stored[0] != header.n
            or NOT_COMPARABLE
            in (
                stored[1],
                header.records_crc,
            )
        ):
            return
        if stored[1] != header.records_crc:
            raise SequenceReused(
                f"sequence {header.first_seq} of writer {header.writer_id} was stored with other "
                "contents; a sequence number must never be used twice",
                first_seq=header.first_seq,
                n=header.n,
            )

    def _add(self, batch: BatchToAppend, payload_sha256: bytes) -> WriterState:
        header = batch.header
        first_position = self.head.next_position
        next_position = first_position + header.n
        next_seq = header.first_seq + header.n
        if max(next_position, next_seq) > INT64_MAX:
            raise InvalidRequest("the sequence would leave 64 bits; use a new writer id")
        chain = chain_link(
            self.head.chain_sha256,
            first_position=first_position,
            n=header.n,
            run_id=header.run_id,
            writer_id=header.writer_id,
            epoch=header.epoch,
            first_seq=header.first_seq,
            records_crc=header.records_crc,
            received_at_us=self.received_at_us,
            schema=WIRE_VERSION,
            payload_sha256=payload_sha256,
        )
        row = StoredBatch(
            first_position,
            header.n,
            header.run_id,
            header.writer_id,
            header.epoch,
            header.first_seq,
            header.records_crc,
            self.received_at_us,
            WIRE_VERSION,
            payload_sha256,
            chain,
            batch.payload,
        )
        state = WriterState(
            header.writer_id,
            header.run_id,
            header.epoch,
            next_seq,
            next_position - 1,
            self.received_at_us,
        )
        self.rows.append(row)
        self.writers[header.writer_id] = state
        self.head = LogHead(next_position, chain)
        return state

    def _writer(self, writer_id: str) -> WriterState | None:
        return self.writers.get(writer_id) or self.committed.writer(writer_id)

    def _stored_range(self, writer_id: str, first_seq: int) -> tuple[int, int] | None:
        for row in self.rows:
            if row.writer_id == writer_id and row.first_seq == first_seq:
                return row.n, row.records_crc
        return self.committed.stored_range(writer_id, first_seq)

    def _has_moved(self, run_id: str, decided_at: int) -> bool:
        """Whether anything but metrics has come since; so much that nobody looks counts too."""
        bodies = [
            *self.committed.stream_since(run_id, decided_at, batches_max=LOOKED_THROUGH_MAX + 1),
            *(BatchBody(row.n, row.payload) for row in self.rows if row.run_id == run_id),
        ]
        if len(bodies) > LOOKED_THROUGH_MAX:
            return True
        return any(decode_payload(b.payload, n=b.n, is_trusted=True).events for b in bodies)


_DECISION_PREFIX: Final = "server-"


def decision_writer_id(store_id: str, run_id: str) -> str:
    """The writer of a store's decisions about one run: the same one for ever.

    It has the store in it, so that logs of two stores can be replayed into one.
    """
    digest = hashlib.sha256(f"{store_id}\0{run_id}".encode()).hexdigest()
    return f"{_DECISION_PREFIX}{digest[:32]}"


def is_decision_writer(writer_id: str) -> bool:
    return writer_id.startswith(_DECISION_PREFIX)
