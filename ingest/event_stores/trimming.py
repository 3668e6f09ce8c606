"""Cutting off the part of a batch that is already stored, and writing down decisions.

Both make a payload of their own. What is cut has no comparable records_crc any more: the
client's checksum is over all of its records, so the rest is stored with 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from zlib import crc32

from ingest.event_stores.base import BatchToAppend
from projections.columns import decode_payload
from projections.reframing import frames_from
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
