"""The wire codec, encoding half: records become columnar frames, frames become a batch.

A batch is a msgpack map (`BatchHeader` and the payload); its payload is zstd over a
msgpack list of frames. The server stores the payload as it came, so this is also the
format of the event log. Formats, byte for byte: docs/formats.md.

    metrics frame  [0, n, offsets, keys, steps, times, [values, …]]
    events frame   [1, offsets, [[type, version, time_us, data], …]]
    dropped frame  [2, offset, width, time_us, reason]

`offsets` are sequence numbers relative to the batch's first. Together the frames cover
0 … n-1 exactly once, so a batch may be regrouped by column without losing its order.

Why columns: 1,000 records of one metric cost 3 bytes a point as columns and 37 as JSON.
Integer columns are [0, start, stride] when regular, else [1, bytes] with deltas, byte
planes transposed. Value columns are [0, bits] when constant, [1, planes of float32] when
every value is one, else [2, planes of float64]. All bytes are little-endian.

This half is pure Python on `array`, as it runs beside the training, where numpy may be
missing. The decoding half lives in `projections.columns`, on numpy.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import sub
from typing import Any, Final
from zlib import crc32

import msgpack

from tracker.events.compression import compress
from tracker.events.types import Event

WIRE_VERSION: Final = 1
BATCH_CONTENT_TYPE: Final = "application/vnd.tracker.batch"

METRICS_FRAME: Final = 0
EVENTS_FRAME: Final = 1
DROPPED_FRAME: Final = 2

REGULAR: Final = 0
DELTAS: Final = 1
CONSTANT: Final = 0
FLOAT32: Final = 1
FLOAT64: Final = 2

_SWAP = sys.byteorder == "big"


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """Whose records a batch carries, and how to tell it from others.

    `records_crc` identifies what was recorded, however it is cut or compressed: two
    batches of the same range with another crc mean that a sequence was used twice.
    For spooled records it is the crc32 of the concatenated record checksums.
    """

    run_id: str  # empty for facts of the workspace, such as experiments
    writer_id: str
    epoch: int
    first_seq: int
    n: int
    records_crc: int


def metrics_frame(
    *,
    offsets: Sequence[int],
    keys: Sequence[str],
    steps: array[int],
    times: array[int],
    values: Iterable[array[float]],
) -> list[Any]:
    """A frame of n records that logged the same keys: one step and time each, a column per key."""
    return [
        METRICS_FRAME,
        len(steps),
        _int_column(array("q", offsets)),
        list(keys),
        _int_column(steps),
        _int_column(times),
        [_value_column(column) for column in values],
    ]


def events_frame(*, offsets: Sequence[int], events: Sequence[Event]) -> list[Any]:
    rows = [[event.type, event.version, event.time_us, dict(event.data)] for event in events]
    return [EVENTS_FRAME, _int_column(array("q", offsets)), rows]


def dropped_frame(*, offset: int, width: int, time_us: int, reason: str) -> list[Any]:
    """Stands for `width` sequence numbers whose records are lost, and says why."""
    return [DROPPED_FRAME, offset, width, time_us, reason]


def encode_payload(frames: Sequence[list[Any]]) -> bytes:
    packed: bytes = msgpack.packb(frames, use_bin_type=True)
    return compress(packed)


def encode_batch(header: BatchHeader, payload: bytes) -> bytes:
    body: bytes = msgpack.packb(
        {
            "v": WIRE_VERSION,
            "run_id": header.run_id,
            "writer_id": header.writer_id,
            "epoch": header.epoch,
            "first_seq": header.first_seq,
            "n": header.n,
            "records_crc": header.records_crc,
            "crc": crc32(payload),
            "payload": payload,
        },
        use_bin_type=True,
    )
    return body


def columns_of_rows(
    rows: bytes | bytearray, value_count: int
) -> tuple[array[int], array[int], array[int], list[array[float]]]:
    """Split rows of (seq, step, time_us, value × value_count), 8 bytes each, into columns.

    The spool's metric records hold exactly such rows, so a shipper concatenates them as
    bytes and never unpacks a single one in Python.
    """
    stride = 3 + value_count
    integers = array("q")
    integers.frombytes(rows)
    floats = array("d")
    floats.frombytes(rows)
    if _SWAP:
        integers.byteswap()
        floats.byteswap()
    values = [floats[3 + i :: stride] for i in range(value_count)]
    return integers[0::stride], integers[1::stride], integers[2::stride], values


def _int_column(column: array[int]) -> list[Any]:
    n = len(column)
    if n == 0:
        return [REGULAR, 0, 0]
    start = column[0]
    stride = column[1] - start if n > 1 else 0
    if _is_int64(stride) and _is_regular(column, start, stride):
        return [REGULAR, start, stride]
    differences = map(sub, column, [0, *column[:-1]])
    # Differences wrap around in 64 bits, so any two int64 neighbours have one.
    try:
        deltas = array("q", differences)
    except OverflowError:
        deltas = array("q", map(_wrap, map(sub, column, [0, *column[:-1]])))
    return [DELTAS, _planes(deltas)]


def _is_regular(column: array[int], start: int, stride: int) -> bool:
    n = len(column)
    if stride == 0:
        return column.count(start) == n
    stop = start + stride * n
    if not _is_int64(stop):
        return False
    return column[-1] == stop - stride and column == array("q", range(start, stop, stride))


def _value_column(column: array[float]) -> list[Any]:
    raw = column.tobytes()
    first = raw[:8]
    if raw == first * len(column):
        return [CONSTANT, first if not _SWAP else first[::-1]]
    single = array("f", column)
    # Compared as bits: NaN payloads and the sign of zero count, and a value beyond
    # float32's range became an infinity that does not compare equal.
    if array("d", single).tobytes() == raw:
        return [FLOAT32, _planes(single)]
    return [FLOAT64, _planes(column)]


def _planes(column: array[Any]) -> bytes:
    """The column's bytes transposed: all first bytes, then all second bytes, and so on."""
    raw = column
    if _SWAP:
        raw = array(column.typecode, column)
        raw.byteswap()
    data, size = raw.tobytes(), raw.itemsize
    return b"".join(data[i::size] for i in range(size))


def _is_int64(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _wrap(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63
