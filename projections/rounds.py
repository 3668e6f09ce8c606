"""Reading the log in rounds of bounded memory, for whoever folds it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final

from projections.columns import Columns, decode_payload
from projections.log import EventLogReader, StoredBatch
from projections.projection import DecodedBatch
from tracker.events.errors import CorruptPayload

# One read of the log.
ROUND_BATCHES_MAX: Final = 2_000
ROUND_BYTES_MAX: Final = 4 * 1024 * 1024
# One transaction. A point is 8 bytes decoded, an event some 500: at most 50 MB. Constant
# columns are decoded to a thousand times their size, so bytes of the log do not bound it.
GROUP_POINTS_MAX: Final = 1_000_000
GROUP_EVENTS_MAX: Final = 50_000


class DigestMismatch(CorruptPayload):
    """A payload's bytes are not those that were recorded."""


def nothing_of(batch: StoredBatch) -> DecodedBatch:
    """Stands for a batch that cannot be folded: it moves the checkpoint and nothing else."""
    return batch, Columns(batch.n, (), (), ())


def decoded(batch: StoredBatch) -> DecodedBatch:
    """Check the payload's digest and decode it. Raises CorruptPayload."""
    check_digest(batch)
    return batch, decode_payload(batch.payload, n=batch.n, is_trusted=True)


def check_digest(batch: StoredBatch) -> None:
    """Raises DigestMismatch unless the payload is what was recorded."""
    if hashlib.sha256(batch.payload).digest() != batch.payload_sha256:
        raise DigestMismatch(
            f"the payload at positions {batch.first_position} to {batch.last_position} "
            "is not what was recorded"
        )


def groups_of(batches: Iterable[DecodedBatch]) -> Iterator[list[DecodedBatch]]:
    """Cut a round, decoded as it is consumed, into groups for one transaction each."""
    group: list[DecodedBatch] = []
    points = events = 0
    for item in batches:
        group.append(item)
        points += item[1].points
        events += len(item[1].events)
        if points >= GROUP_POINTS_MAX or events >= GROUP_EVENTS_MAX:
            yield group
            group, points, events = [], 0, 0
    if group:
        yield group


async def groups_until(
    reader: EventLogReader, *, after: int, until: int | None = None
) -> AsyncIterator[list[DecodedBatch]]:
    """The log from `after` to its end, or to `until`, in groups. Raises CorruptPayload."""
    while True:
        batches = await reader.read(
            after=after, batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX, until=until
        )
        if not batches:
            return
        for group in groups_of(map(decoded, batches)):
            yield group
        after = batches[-1].last_position
