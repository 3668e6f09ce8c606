"""An archive segment: batches that follow each other in the log, in one immutable object.

    "TRKLOG01"
    records                       as in ingest.replay.records, in order of position
    footer                        msgpack map, see Footer
    length u32 | crc32 u32        of the footer
    "TRKLOG01"

Who wants all of it reads from the front and stops where the footer begins. Who wants a
position or a run reads the footer, from the end, and then the records that it needs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import msgpack

from ingest.replay.records import HEADER, decode_record, encode_record
from projections.log import StoredBatch
from tracker.events.errors import CorruptPayload

MAGIC: Final = b"TRKLOG01"
VERSION: Final = 1
SEGMENT_BYTES: Final = 32 * 1024 * 1024
_TRAILER: Final = struct.Struct("<II8s")
TRAILER_BYTES: Final = _TRAILER.size


@dataclass(frozen=True, slots=True)
class Segment:
    """What the manifest says of one segment. `sha256` is of the whole object."""

    key: str
    first_position: int
    last_position: int
    batches: int
    bytes: int
    sha256: str
    previous_chain: str
    chain: str
    received_until_us: int


@dataclass(frozen=True, slots=True)
class Footer:
    """Where each batch lies: three columns of one length, in order of position."""

    first_positions: Sequence[int]
    offsets: Sequence[int]
    run_ids: Sequence[str]
    records_end: int

    def end_of(self, index: int) -> int:
        is_last = index + 1 == len(self.offsets)
        return self.records_end if is_last else self.offsets[index + 1]


def encode_segment(
    batches: Sequence[StoredBatch], *, workspace: str, previous_chain: bytes
) -> tuple[bytes, Segment]:
    """The object's bytes, and what the manifest says of it."""
    parts, offsets, at = [MAGIC], [], len(MAGIC)
    for batch in batches:
        offsets.append(at)
        parts.append(encode_record(batch))
        at += len(parts[-1])
    run_ids = sorted({batch.run_id for batch in batches})
    numbers = {run_id: number for number, run_id in enumerate(run_ids)}
    footer: bytes = msgpack.packb(
        {
            "version": VERSION,
            "workspace": workspace,
            "first_positions": [batch.first_position for batch in batches],
            "offsets": offsets,
            "runs": [numbers[batch.run_id] for batch in batches],
            "run_ids": run_ids,
            "records_end": at,
        }
    )
    parts += [footer, _TRAILER.pack(len(footer), crc32(footer), MAGIC)]
    data = b"".join(parts)
    sha256 = hashlib.sha256(data).hexdigest()
    first, last = batches[0], batches[-1]
    name = f"{first.first_position:020d}-{last.last_position:020d}-{sha256[:16]}.trklog"
    return data, Segment(
        key=f"segments/{name}",
        first_position=first.first_position,
        last_position=last.last_position,
        batches=len(batches),
        bytes=len(data),
        sha256=sha256,
        previous_chain=previous_chain.hex(),
        chain=last.chain_sha256.hex(),
        received_until_us=last.received_at_us,
    )


def footer_place(tail: bytes, *, size: int) -> tuple[int, int]:
    """Where the footer lies in an object of `size` bytes that ends in `tail`."""
    if len(tail) < TRAILER_BYTES:
        raise CorruptPayload("it is too short for a segment")
    length, _, magic = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    end = size - TRAILER_BYTES
    if magic != MAGIC or length > end:
        raise CorruptPayload("it does not end as a segment does")
    return end - length, end


def decode_footer(data: bytes, trailer: bytes) -> Footer:
    """Raises CorruptPayload."""
    _, crc, _ = _TRAILER.unpack(trailer[-TRAILER_BYTES:])
    if crc32(data) != crc:
        raise CorruptPayload("its footer does not have its checksum")
    try:
        said: dict[str, Any] = msgpack.unpackb(data, raw=False)
        if said["version"] != VERSION:
            raise CorruptPayload(
                f"it is of version {said['version']}, and this software knows {VERSION}"
            )
        run_ids = [said["run_ids"][number] for number in said["runs"]]
        return Footer(said["first_positions"], said["offsets"], run_ids, said["records_end"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CorruptPayload(f"its footer cannot be read: {error!r}") from None


def records_of(data: bytes) -> Iterator[StoredBatch]:
    """The rows in a run of whole records. Raises CorruptPayload."""
    at, view = 0, memoryview(data)
    while at < len(data):
        if len(data) - at < HEADER.size:
            raise CorruptPayload("a record is cut short")
        length, crc = HEADER.unpack_from(data, at)
        end = at + HEADER.size + length
        if end > len(data):
            raise CorruptPayload("a record is cut short")
        yield decode_record(bytes(view[at + HEADER.size : end]), crc)
        at = end
