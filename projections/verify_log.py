"""Proving a log: nothing is missing, nothing was changed, no writer's sequence has a hole.

Three independent proofs, in one pass over the batches in order of position, with memory
for one round and one entry per writer:

1. Positions are dense from 1 to the head.
2. Every payload has the digest its row says; every row continues the hash chain; the head
   carries the chain's last value. One changed byte anywhere breaks at least one of these.
3. Every writer's sequence numbers are dense from 1, epochs never fall, and the table of
   watermarks says for every writer what the log says.

After a fault the pass goes on from what is stored, so that one fault is one finding.
The log may grow meanwhile: what is proved is the log up to the head at the start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from projections.columns import decode_payload
from projections.findings import Fault, OnProgress, VerifyProgress, VerifyReport
from projections.log import (
    GENESIS_CHAIN,
    EventLogReader,
    LogDamaged,
    LogHead,
    StoredBatch,
)
from projections.rounds import ROUND_BATCHES_MAX, ROUND_BYTES_MAX
from tracker.events.errors import TrackerError


class Watermark(Protocol):
    """What the store's table says of one writer."""

    @property
    def writer_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def next_seq(self) -> int: ...
    @property
    def position(self) -> int: ...


class LogToVerify(EventLogReader, Protocol):
    """A log that also shows its table of watermarks."""

    async def all_writers(self) -> Sequence[Watermark]: ...


@dataclass(slots=True)
class _Seen:
    """A writer as the log has it, and as it had it at the position its watermark names."""

    run_id: str
    epoch: int
    next_seq: int = 1
    position: int = 0


async def verify_log(log: LogToVerify, report: VerifyReport, on_progress: OnProgress) -> None:
    """Prove the log up to its head now; add what is off to `report`."""
    # In this order: a watermark never speaks of more than the head read after it, and a
    # writer that began below the head read before it has one.
    least_head = (await log.head()).next_position - 1
    watermarks = {watermark.writer_id: watermark for watermark in await log.all_writers()}
    head = await log.head()
    check = _LogCheck(report, watermarks, least_head=least_head)
    last = head.next_position - 1
    after = 0
    while True:
        try:
            batches = await log.read(
                after=after, batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX
            )
        except LogDamaged as damage:
            check.skip(damage)
            after = damage.last_position
            if after >= last:
                break
            continue
        for batch in batches:
            if batch.first_position > last:
                break
            check.take(batch)
        if not batches or batches[-1].last_position >= last:
            break
        after = batches[-1].last_position
        on_progress(VerifyProgress("log", min(after, last), last))
    await check.end(log, head)
    on_progress(VerifyProgress("log", last, last))


class _LogCheck:
    def __init__(
        self, report: VerifyReport, watermarks: dict[str, Watermark], *, least_head: int
    ) -> None:
        self._report = report
        self._watermarks = watermarks
        self._least_head = least_head
        self._next_position = 1
        self._chain = GENESIS_CHAIN
        # After a part that could not be read: the next batch's link and its writers' first
        # sequence numbers have nothing to be held against.
        self._is_torn = False
        self._has_tears = False
        self._writers: dict[str, _Seen] = {}
        self._at_watermark: dict[str, tuple[str, int, int, int]] = {}

    def take(self, batch: StoredBatch) -> None:
        self._check_position(batch)
        self._check_chain(batch)
        self._check_payload(batch)
        self._check_sequence(batch)
        self._report.batches += 1
        self._report.events += batch.n

    def skip(self, damage: LogDamaged) -> None:
        """A part cannot be read: one finding, whatever follows from its absence."""
        self._report.add(Fault.ARCHIVE_DAMAGED, str(damage), position=damage.first_position)
        self._next_position = max(self._next_position, damage.last_position + 1)
        self._is_torn = True

    async def end(self, log: LogToVerify, head: LogHead) -> None:
        last = head.next_position - 1
        self._report.head, self._report.chain = last, head.chain_sha256.hex()
        if self._next_position < head.next_position:
            self._report.add(
                Fault.MISSING_POSITIONS,
                f"positions {self._next_position} to {last} are missing: the head says that "
                f"the log ends at {last}",
                position=self._next_position,
            )
        elif self._next_position > head.next_position or self._chain != head.chain_sha256:
            self._report.add(
                Fault.HEAD_WRONG,
                f"the head says {head.next_position} and chain {head.chain_sha256.hex()[:16]}…, "
                f"the batches end at {self._next_position} with {self._chain.hex()[:16]}…",
                position=last,
            )
        self._check_watermarks()
        self._report.writers = len(self._writers)

    def _check_position(self, batch: StoredBatch) -> None:
        first, expected = batch.first_position, self._next_position
        if first > expected:
            self._report.add(
                Fault.MISSING_POSITIONS,
                f"positions {expected} to {first - 1} are missing",
                position=expected,
            )
        elif first < expected:
            self._report.add(
                Fault.OVERLAPPING_POSITIONS,
                f"the batch at positions {first} to {batch.last_position} begins below "
                f"{expected}, where the batch before it ends",
                position=first,
            )
        self._next_position = max(expected, batch.last_position + 1)

    def _check_chain(self, batch: StoredBatch) -> None:
        link = batch.link_after(self._chain)
        if link != batch.chain_sha256 and not self._is_torn:
            self._report.add(
                Fault.CHAIN_BROKEN,
                f"the hash chain breaks at {_place(batch)}: the row, or one before it, was "
                "changed, removed or put in",
                position=batch.first_position,
            )
        self._chain = batch.chain_sha256
        self._has_tears = self._has_tears or self._is_torn
        self._is_torn = False

    def _check_payload(self, batch: StoredBatch) -> None:
        if hashlib.sha256(batch.payload).digest() != batch.payload_sha256:
            self._report.add(
                Fault.PAYLOAD_CHANGED,
                f"the payload of {_place(batch)} is not what was recorded",
                position=batch.first_position,
            )
            return
        try:
            columns = decode_payload(batch.payload, n=batch.n)
        except TrackerError as error:
            self._report.add(
                Fault.PAYLOAD_UNREADABLE,
                f"the payload of {_place(batch)} cannot be decoded: {error}",
                position=batch.first_position,
            )
            return
        self._report.points += columns.points
        self._report.dropped += sum(dropped.width for dropped in columns.dropped)

    def _check_sequence(self, batch: StoredBatch) -> None:
        seen = self._writers.get(batch.writer_id)
        if seen is None:
            seen = self._writers[batch.writer_id] = _Seen(batch.run_id, batch.epoch)
        if batch.first_seq > seen.next_seq and not self._has_tears:
            self._report.add(
                Fault.MISSING_SEQUENCES,
                f"writer {batch.writer_id} of run {batch.run_id!r} has no records "
                f"{seen.next_seq} to {batch.first_seq - 1}: {_place(batch)} begins at "
                f"{batch.first_seq}",
                position=batch.first_position,
            )
        elif batch.first_seq < seen.next_seq:
            self._report.add(
                Fault.REPEATED_SEQUENCES,
                f"writer {batch.writer_id} has records {batch.first_seq} to "
                f"{min(seen.next_seq, batch.first_seq + batch.n) - 1} twice, again in "
                f"{_place(batch)}",
                position=batch.first_position,
            )
        if batch.epoch < seen.epoch:
            self._report.add(
                Fault.EPOCH_FELL,
                f"writer {batch.writer_id} falls from epoch {seen.epoch} to {batch.epoch} in "
                f"{_place(batch)}",
                position=batch.first_position,
            )
        if batch.run_id != seen.run_id:
            self._report.add(
                Fault.WRITER_MOVED,
                f"writer {batch.writer_id} moves from run {seen.run_id!r} to "
                f"{batch.run_id!r} in {_place(batch)}",
                position=batch.first_position,
            )
        seen.run_id, seen.epoch = batch.run_id, batch.epoch
        seen.next_seq = max(seen.next_seq, batch.first_seq + batch.n)
        seen.position = batch.last_position
        watermark = self._watermarks.get(batch.writer_id)
        if watermark is not None and batch.last_position <= watermark.position:
            self._at_watermark[batch.writer_id] = _facts(seen)
        elif watermark is None and batch.first_position <= self._least_head:
            self._report.add(
                Fault.WRITER_TABLE_WRONG,
                f"writer {batch.writer_id} of {_place(batch)} has no row in the writer table",
                position=batch.first_position,
            )
            self._watermarks[batch.writer_id] = seen_as_watermark(batch.writer_id, seen)

    def _check_watermarks(self) -> None:
        for writer_id, watermark in sorted(self._watermarks.items()):
            in_log = self._at_watermark.get(writer_id)
            if isinstance(watermark, _SeenWatermark) or in_log == _facts(watermark):
                continue
            if in_log is None and (self._has_tears or self._is_torn):
                continue  # it may have been in what cannot be read
            if in_log is None:
                found = "the log has nothing of it up to there"
            else:
                found = f"the log says {_said(in_log)}"
            self._report.add(
                Fault.WRITER_TABLE_WRONG,
                f"the writer table says of {writer_id}: {_said(_facts(watermark))}; {found}",
                position=watermark.position,
            )


@dataclass(frozen=True, slots=True)
class _SeenWatermark:
    """Stands for a row that is missing and was reported, so that it is reported once."""

    writer_id: str
    run_id: str
    epoch: int
    next_seq: int
    position: int


def seen_as_watermark(writer_id: str, seen: _Seen) -> _SeenWatermark:
    return _SeenWatermark(writer_id, seen.run_id, seen.epoch, seen.next_seq, seen.position)


def _facts(writer: _Seen | Watermark) -> tuple[str, int, int, int]:
    return (writer.run_id, writer.epoch, writer.next_seq, writer.position)


def _said(facts: tuple[str, int, int, int]) -> str:
    run_id, epoch, next_seq, position = facts
    return f"run {run_id!r}, epoch {epoch}, next sequence {next_seq}, last position {position}"


def _place(batch: StoredBatch) -> str:
    return f"the batch at positions {batch.first_position} to {batch.last_position}"
