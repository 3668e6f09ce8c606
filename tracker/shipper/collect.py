"""From a chunk of spooled records to a batch on the wire. Pure; no I/O, no clock."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from typing import Any

from tracker.events import wire
from tracker.events.errors import TrackerError
from tracker.events.types import Event
from tracker.spool.chunks import Chunk, SpooledEvent
from tracker.spool.inspection import rows_of


@dataclass(frozen=True, slots=True)
class Batch:
    """A chunk ready to be sent. `next_seq` is where the writer stands once it is stored."""

    body: bytes
    first_seq: int
    next_seq: int
    records: int
    points: int
    lost: int


class Unencodable(TrackerError):
    """Something in a chunk has no form on the wire; a part of the chunk may be fine."""


def batch_of(chunk: Chunk, *, run_id: str, writer_id: str, epoch: int) -> Batch:
    """Regroup a chunk into columns and compress it. Raises Unencodable."""
    try:
        return _batch_of(chunk, run_id=run_id, writer_id=writer_id, epoch=epoch)
    except (ValueError, OverflowError, RecursionError) as error:
        # Text with lone surrogates, nesting without end, a range beyond 64 bits.
        raise Unencodable(f"cannot be encoded: {error}") from None


def _batch_of(chunk: Chunk, *, run_id: str, writer_id: str, epoch: int) -> Batch:
    first = chunk.first_seq
    frames: list[list[Any]] = []
    for group in chunk.metrics.values():
        seqs, steps, times, values = wire.columns_of_rows(group.rows, group.k)
        frames.append(
            wire.metrics_frame(
                offsets=_offsets(seqs, first),
                keys=group.keys,
                steps=steps,
                times=times,
                values=values,
            )
        )
    if chunk.events:
        frames.append(
            wire.events_frame(
                offsets=[spooled.seq - first for spooled in chunk.events],
                events=[_sendable(spooled) for spooled in chunk.events],
            )
        )
    for lost in chunk.lost:
        frames.append(
            wire.dropped_frame(
                offset=lost.first_seq - first,
                width=lost.width,
                time_us=lost.time_us,
                reason=lost.reason,
            )
        )
    header = wire.BatchHeader(run_id, writer_id, epoch, first, chunk.n, chunk.records_crc)
    return Batch(
        body=wire.encode_batch(header, wire.encode_payload(frames)),
        first_seq=first,
        next_seq=chunk.next_seq,
        records=chunk.records,
        points=chunk.points,
        lost=sum(lost.width for lost in chunk.lost),
    )


def refused_chunk(chunk: Chunk, reason: str, *, time_us: int) -> Chunk:
    """The same sequence numbers as `chunk`, all given up for `reason`."""
    replaced = Chunk(chunk.first_seq, chunk.first_seq)
    replaced.lose(width=chunk.n, time_us=time_us, reason=reason)
    return replaced


def readable(chunk: Chunk) -> bytes:
    """A chunk as JSON lines, for the folder of what was refused."""
    try:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(chunk))
        return "".join(lines).encode(errors="backslashreplace")
    except RecursionError:
        return f"records from {chunk.first_seq} on, nested too deeply to be shown".encode()


def _offsets(seqs: array[int], first: int) -> array[int]:
    n = len(seqs)
    if seqs[-1] - seqs[0] == n - 1:  # they rise, so they have no holes
        return array("q", range(seqs[0] - first, seqs[0] - first + n))
    return array("q", [seq - first for seq in seqs])


def _sendable(spooled: SpooledEvent) -> Event:
    """The event as msgpack can carry it: numbers beyond 64 bits become text."""
    event = spooled.event
    return Event(event.type, event.time_us, _clean(event.data), event.version)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if type(value) is int and not -(2**63) <= value < 2**64:
        return str(value)
    return value
