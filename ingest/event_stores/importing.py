"""The rules of an import: batches of another log taken over as they are.

Positions, ids, clocks and chain stay what they were, so an import may only continue a log
exactly at its head: the first batch begins at the next position and its link is the one
that follows the head's. Then the log holds what the other log holds up to there, which
the chain proves, and it is a copy of it that can be continued tomorrow.

What does not depend on the log is checked before it is asked (`checked_import`): digests,
links, dense positions, each writer's sequence within the batches. What does is checked
under the lock that appends hold (`continued`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest.errors import ImportRefused
from ingest.event_stores.base import WriterState
from projections.log import LogHead, StoredBatch
from tracker.events.limits import INT64_MAX
from tracker.events.wire import WIRE_VERSION


@dataclass(frozen=True, slots=True)
class ImportAppend:
    """Batches that follow each other; made by checked_import alone."""

    batches: Sequence[StoredBatch]

    @property
    def size(self) -> int:
        return sum(len(batch.payload) for batch in self.batches)


def checked_import(batches: Sequence[StoredBatch]) -> ImportAppend:
    """Everything about `batches` that can be known without the log. Raises ImportRefused."""
    for index, batch in enumerate(batches):
        _check_itself(batch)
        if index:
            before = batches[index - 1]
            check_follows(batch, LogHead(before.last_position + 1, before.chain_sha256))
    return ImportAppend(tuple(batches))


def continued(
    batches: Sequence[StoredBatch], head: LogHead, writer: Callable[[str], WriterState | None]
) -> tuple[LogHead, dict[str, WriterState]]:
    """The head and the watermarks after the batches. Raises ImportRefused."""
    if batches:
        check_follows(batches[0], head)
    writers: dict[str, WriterState] = {}
    for batch in batches:
        state = writers.get(batch.writer_id) or writer(batch.writer_id)
        writers[batch.writer_id] = _after(state, batch)
        head = LogHead(batch.last_position + 1, batch.chain_sha256)
    return head, writers


def _check_itself(batch: StoredBatch) -> None:
    if batch.schema > WIRE_VERSION:
        raise _refused(
            batch,
            f"is of version {batch.schema}, and this software knows {WIRE_VERSION}; "
            "use a newer version of it",
        )
    if min(batch.n, batch.first_position, batch.first_seq, batch.epoch) < 1 or (
        max(batch.last_position, batch.first_seq + batch.n) >= INT64_MAX
    ):
        raise _refused(batch, "has numbers that no log gives out")
    if hashlib.sha256(batch.payload).digest() != batch.payload_sha256:
        raise _refused(batch, "has a payload that is not what was recorded")


def check_follows(batch: StoredBatch, head: LogHead) -> None:
    """Whether the batch goes on where `head` ends, by position and chain. Raises ImportRefused."""
    if batch.first_position != head.next_position:
        raise _refused(
            batch,
            f"does not follow: {head.next_position} is the next position; "
            "an import goes on exactly where the log ends",
            next_position=head.next_position,
        )
    link = batch.link_after(head.chain_sha256)
    if link != batch.chain_sha256:
        raise _refused(
            batch,
            "does not continue this log's hash chain: below it the two logs differ",
            next_position=head.next_position,
        )


def _after(state: WriterState | None, batch: StoredBatch) -> WriterState:
    next_seq, run_id, epoch = (
        (state.next_seq, state.run_id, state.epoch) if state else (1, batch.run_id, batch.epoch)
    )
    if batch.first_seq != next_seq or batch.run_id != run_id or batch.epoch < epoch:
        raise _refused(
            batch,
            f"does not continue writer {batch.writer_id}: run {run_id!r}, epoch {epoch} and "
            f"sequence {next_seq} are expected; verify the log that it comes from",
        )
    return WriterState(
        batch.writer_id,
        batch.run_id,
        batch.epoch,
        batch.first_seq + batch.n,
        batch.last_position,
        batch.received_at_us,
    )


def _refused(batch: StoredBatch, why: str, **details: int) -> ImportRefused:
    return ImportRefused(
        f"the batch at positions {batch.first_position} to {batch.last_position} {why}",
        first_position=batch.first_position,
        **details,
    )
