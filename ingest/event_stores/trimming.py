"""Cutting off the part of a batch that is already stored, and writing down decisions.

Both make a payload of their own. What is cut has no comparable records_crc any more: the
client's checksum is over all of its records, so the rest is stored with 0.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from zlib import crc32

import numpy as np

from ingest.event_stores.base import BatchToAppend
from projections.columns import Columns, Float64s, Int64s, decode_payload
from tracker.events import wire
from tracker.events.types import Event

NOT_COMPARABLE: Final = 0


def trimmed(batch: BatchToAppend, *, from_seq: int) -> BatchToAppend:
    """What is left of `batch` from the sequence number `from_seq` on."""
    header = batch.header
    cut = from_seq - header.first_seq
    columns = decode_payload(batch.payload, n=header.n)
    rest = replace(header, first_seq=from_seq, n=header.n - cut, records_crc=NOT_COMPARABLE)
    return BatchToAppend(rest, wire.encode_payload(frames_from(columns, cut=cut)))


def frames_from(columns: Columns, *, cut: int) -> list[list[Any]]:
    """The frames of everything at offset `cut` or beyond, offsets counted from there."""
    frames = []
    for frame in columns.metrics:
        kept = frame.offsets >= cut
        if kept.any():
            frames.append(
                wire.metrics_frame(
                    offsets=(frame.offsets[kept] - cut).tolist(),
                    keys=frame.keys,
                    steps=_ints(frame.steps[kept]),
                    times=_ints(frame.times_us[kept]),
                    values=[_floats(column[kept]) for column in frame.values],
                )
            )
    events = [item for item in columns.events if item.offset >= cut]
    if events:
        offsets = [item.offset - cut for item in events]
        frames.append(wire.events_frame(offsets=offsets, events=[e.event for e in events]))
    for lost in columns.dropped:
        start, end = max(lost.offset, cut), lost.offset + lost.width
        if start < end:
            frames.append(
                wire.dropped_frame(
                    offset=start - cut,
                    width=end - start,
                    time_us=lost.time_us,
                    reason=lost.reason,
                )
            )
    return frames


def decision_batch(
    *, run_id: str, writer_id: str, first_seq: int, events: Sequence[Event]
) -> BatchToAppend:
    """What the server decided, as a batch of its own writer."""
    frame = wire.events_frame(offsets=range(len(events)), events=events)
    payload = wire.encode_payload([frame])
    header = wire.BatchHeader(
        run_id=run_id,
        writer_id=writer_id,
        epoch=1,
        first_seq=first_seq,
        n=len(events),
        records_crc=crc32(payload),
    )
    return BatchToAppend(header, payload)


def _ints(column: Int64s) -> array[int]:
    result = array("q")
    result.frombytes(np.ascontiguousarray(column).tobytes())
    return result


def _floats(column: Float64s) -> array[float]:
    result = array("d")
    result.frombytes(np.ascontiguousarray(column).tobytes())
    return result
