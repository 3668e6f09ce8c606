"""Framing: how one record lies in a segment file, and how to tell where good ones end.

    segment = header | record*
    header  = magic "TRKSPL01" | writer id (32 bytes) | epoch u32 | first_seq u64 | crc32 u32
    record  = length u32 | crc32 u32 | kind u16 | k u16 | n u32 | seq u64 | payload

All little-endian. `length` counts the bytes after the crc field, and the crc covers
exactly those, so one checksum over one contiguous slice proves a record. (The design's
sketch put the crc last in the header; this order saves the log call and the shipper a
second checksum call each.) `n` is how many sequence numbers the record stands for: 1,
except for DROPPED. The next record's seq must be seq + n.

A METRICS payload continues seq with `step i64 | time_us i64 | value f64 × k`, then the k
keys joined by NUL. (seq, step, time, values…) is therefore one row of 8-byte words, which
`tracker.events.wire.columns_of_rows` splits without unpacking it.
An EVENT payload is JSON: [type, version, time_us, data].
A DROPPED payload is JSON: [time_us, reason]; its n is the number of records lost.

A crash of the machine can leave a torn, zero-filled or garbage tail; only a record whose
length, crc and sequence all fit is taken. Anything else ends the good part.
"""

from __future__ import annotations

import json
import struct
from typing import Final
from zlib import crc32

from tracker.events.types import Event

MAGIC: Final = b"TRKSPL01"
SEGMENT_HEADER: Final = struct.Struct("<8s32sIQI")
RECORD_HEADER: Final = struct.Struct("<IIHHIQ")
FRAME: Final = struct.Struct("<II")
BODY: Final = struct.Struct("<HHIQ")
ROW_PREFIX_BYTES: Final = 24  # seq, step, time_us

KIND_METRICS: Final = 1
KIND_EVENT: Final = 2
KIND_DROPPED: Final = 3

KEY_SEPARATOR: Final = b"\0"

_METRIC_BODY: Final = struct.Struct("<HHIQqqd")


def metric_record(seq: int, key: bytes, step: int, time_us: int, value: float) -> bytes:
    """One record of one value. The log call's hot path inlines exactly this."""
    body = _METRIC_BODY.pack(KIND_METRICS, 1, 1, seq, step, time_us, value) + key
    return FRAME.pack(len(body), crc32(body)) + body


def metrics_body_struct(k: int) -> struct.Struct:
    """Packs kind, k, n, seq, step, time_us and k values; the key block follows it."""
    return struct.Struct(f"<HHIQqq{k}d")


def event_record(seq: int, event: Event) -> bytes:
    return record(KIND_EVENT, 0, 1, seq, event_payload(event))


def event_payload(event: Event) -> bytes:
    row = [event.type, event.version, event.time_us, dict(event.data)]
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def dropped_record(seq: int, *, n: int, time_us: int, reason: str) -> bytes:
    return record(KIND_DROPPED, 0, n, seq, json.dumps([time_us, reason]).encode())


def record(kind: int, k: int, n: int, seq: int, payload: bytes) -> bytes:
    body = BODY.pack(kind, k, n, seq) + payload
    return FRAME.pack(len(body), crc32(body)) + body


def segment_header(writer_id: str, epoch: int, first_seq: int) -> bytes:
    fixed = SEGMENT_HEADER.pack(MAGIC, writer_id.encode(), epoch, first_seq, 0)
    return fixed[:-4] + struct.pack("<I", crc32(fixed[:-4]))


def segment_name(first_seq: int) -> str:
    return f"{first_seq:016x}.seg"
