"""Rows of the log as bytes: what travels between servers and lies in archive segments.

    length u32 | crc32 u32 | msgpack array of the row's twelve fields

Integers are little-endian; the crc is that of the array. The fields are those of
`projections.log.StoredBatch` in their order, payload last and as it was sent, so that a
reader in any language needs msgpack and zstd and nothing of ours.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32

import msgpack

from projections.log import StoredBatch
from tracker.events.errors import CorruptPayload
from tracker.events.limits import BATCH_BYTES_MAX

LOG_CONTENT_TYPE: Final = "application/vnd.tracker.log"
HEADER: Final = struct.Struct("<II")
RECORD_BYTES_MAX: Final = BATCH_BYTES_MAX + 64 * 1024
"""A batch as the wire allows it, and its other fields."""

_FIELDS: Final = (int, int, str, str, int, int, int, int, int, bytes, bytes, bytes)


def encode_record(batch: StoredBatch) -> bytes:
    body: bytes = msgpack.packb(_tuple_of(batch), use_bin_type=True)
    return HEADER.pack(len(body), crc32(body)) + body


def decode_record(body: bytes | memoryview, crc: int) -> StoredBatch:
    """The row in a record's body. Raises CorruptPayload."""
    if crc32(body) != crc:
        raise CorruptPayload("a record of the log does not have the checksum that it names")
    try:
        fields = msgpack.unpackb(body, raw=False, use_list=True)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise CorruptPayload(f"a record of the log is not msgpack: {error}") from None
    is_row = (
        type(fields) is list
        and len(fields) == len(_FIELDS)
        and all(type(value) is kind for value, kind in zip(fields, _FIELDS, strict=True))
    )
    if not is_row:
        raise CorruptPayload("a record of the log has other fields than a row")
    return StoredBatch(*fields)


class RecordReader:
    """Takes bytes as they come and gives out whole rows."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[StoredBatch]:
        """The rows that are complete with this. Raises CorruptPayload."""
        self._pending += data
        pending, at = self._pending, 0
        view = memoryview(pending)
        try:
            while len(pending) - at >= HEADER.size:
                length, crc = HEADER.unpack_from(pending, at)
                if length > RECORD_BYTES_MAX:
                    raise CorruptPayload(f"a record of the log claims {length} bytes")
                end = at + HEADER.size + length
                if len(pending) < end:
                    break
                yield decode_record(bytes(view[at + HEADER.size : end]), crc)
                at = end
        finally:
            view.release()
            del pending[:at]

    @property
    def is_between_records(self) -> bool:
        return not self._pending


def _tuple_of(batch: StoredBatch) -> tuple[object, ...]:
    return (
        batch.first_position,
        batch.n,
        batch.run_id,
        batch.writer_id,
        batch.epoch,
        batch.first_seq,
        batch.records_crc,
        batch.received_at_us,
        batch.schema,
        batch.payload_sha256,
        batch.chain_sha256,
        batch.payload,
    )
