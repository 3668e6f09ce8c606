"""A log as it was: an EventLogReader that ends at an earlier position, exactly.

A batch that the end lies inside of is given out cut: its first records, in a payload of
their own. Its link in the chain is then nobody's; what folds does not look at it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from projections.columns import Columns, DroppedRange, MetricFrame, decode_payload
from projections.log import EventLogReader, LogHead, StoredBatch
from projections.reframing import frames_from
from tracker.events.errors import CorruptPayload, InvalidEvent
from tracker.events.wire import encode_payload


class PastLog:
    """See log.EventLogReader. Of one run only, if one is given."""

    def __init__(self, log: EventLogReader, position: int, run_id: str | None = None) -> None:
        self._log = log
        self._run_id = run_id
        self.position = position

    async def head(self) -> LogHead:
        return LogHead(self.position + 1)

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        last = self.position if until is None else min(until, self.position)
        if after >= last or (run_id is not None and self._run_id not in (None, run_id)):
            return []
        batches = await self._log.read(
            after=after,
            batches_max=batches_max,
            bytes_max=bytes_max,
            run_id=self._run_id if run_id is None else run_id,
            until=last,
        )
        if batches and batches[-1].last_position > self.position:
            return [*batches[:-1], beginning_of_batch(batches[-1], self.position)]
        return batches


def beginning_of_batch(batch: StoredBatch, position: int) -> StoredBatch:
    """The batch up to a position inside of it. One that cannot be read stays unreadable."""
    count = position - batch.first_position + 1
    try:
        columns = decode_payload(batch.payload, n=batch.n, is_trusted=True)
    except (CorruptPayload, InvalidEvent):
        return replace(batch, n=count)
    payload = encode_payload(frames_from(beginning_of(columns, count), cut=0))
    return replace(batch, n=count, payload=payload, payload_sha256=hashlib.sha256(payload).digest())


def beginning_of(columns: Columns, count: int) -> Columns:
    """The first `count` sequence numbers of a batch."""
    frames = []
    for frame in columns.metrics:
        is_in = frame.offsets < count
        if is_in.any():
            values = tuple(column[is_in] for column in frame.values)
            frames.append(
                MetricFrame(
                    frame.offsets[is_in],
                    frame.keys,
                    frame.steps[is_in],
                    frame.times_us[is_in],
                    values,
                )
            )
    events = tuple(item for item in columns.events if item.offset < count)
    dropped = tuple(_cut(item, count) for item in columns.dropped if item.offset < count)
    return Columns(count, tuple(frames), events, dropped)


def _cut(dropped: DroppedRange, count: int) -> DroppedRange:
    return replace(dropped, width=min(dropped.width, count - dropped.offset))
