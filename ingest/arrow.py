"""Writes metric history in Arrow's streaming format: three columns, no nulls, no library.

A stream is the schema's message, one message per page, and an end mark. A message is
FF FF FF FF, the length of its metadata (int32), the metadata (a FlatBuffer), and the body:
the columns' bytes one after the other, each a multiple of 8 bytes long. The three columns
never change, so a library of ten megabytes has nothing to add.

Format: arrow.apache.org/docs/format/Columnar.html (Message.fbs, Schema.fbs).
tests/unit/test_arrow_stream.py reads it with pyarrow, polars and our own client.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

from projections.read_models import SeriesPage

CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
END_OF_STREAM: Final = struct.pack("<II", 0xFFFFFFFF, 0)

_METADATA_V5: Final = 4
_SCHEMA, _RECORD_BATCH = 1, 3  # MessageHeader
_INT, _FLOATING_POINT, _TIMESTAMP = 2, 3, 10  # Type
_DOUBLE: Final = 2  # Precision
_MICROSECOND: Final = 2  # TimeUnit

_Write = Callable[[bytearray], int]
_Field = tuple[str, int] | _Write | None
"""A scalar with its struct format, something written behind the table, or the default."""


def schema_message() -> bytes:
    """step: int64, time_us: timestamp[us, UTC], value: float64."""
    fields = [
        _column("step", _INT, _table([("<i", 64), ("<B", 1)])),
        _column("time_us", _TIMESTAMP, _table([("<h", _MICROSECOND), _text("UTC")])),
        _column("value", _FLOATING_POINT, _table([("<h", _DOUBLE)])),
    ]
    schema = _table([None, _offsets(fields)])
    return _message(_SCHEMA, schema, body_bytes=0)


def batch_message(page: SeriesPage) -> list[bytes | memoryview]:
    """One page as parts to be sent one after the other; the columns are not copied."""
    n = len(page.steps)
    columns = [
        page.steps.astype("<i8", copy=False).data.cast("B"),
        page.times_us.astype("<i8", copy=False).data.cast("B"),
        page.values.astype("<f8", copy=False).data.cast("B"),
    ]
    buffers: list[tuple[int, int]] = []
    for i in range(len(columns)):
        buffers += [(0, 0), (8 * n * i, 8 * n)]  # no validity bitmap, then the values
    batch = _table([("<q", n), _pairs([(n, 0)] * len(columns)), _pairs(buffers)])
    return [_message(_RECORD_BATCH, batch, body_bytes=8 * n * len(columns)), *columns]


def _message(kind: int, header: _Write, *, body_bytes: int) -> bytes:
    out = bytearray(4)
    message = _table([("<h", _METADATA_V5), ("<B", kind), header, ("<q", body_bytes)])
    struct.pack_into("<I", out, 0, message(out))
    _align(out, 8)
    return struct.pack("<II", 0xFFFFFFFF, len(out)) + bytes(out)


def _column(name: str, kind: int, details: _Write) -> _Write:
    return _table([_text(name), ("<B", 0), ("<B", kind), details, None, _offsets([])])


# -- FlatBuffers, written front to back: a table, then what it points to -------------------


def _table(fields: Sequence[_Field]) -> _Write:
    """A table whose i-th field has slot i. Writers return where their object begins."""

    def write(out: bytearray) -> int:
        places, size = _layout(fields)
        vtable_bytes = 4 + 2 * len(fields)
        _align(out, 8, behind=vtable_bytes)
        out += struct.pack(f"<HH{len(fields)}H", vtable_bytes, size, *places)
        start = len(out)
        out += struct.pack("<i", vtable_bytes) + bytes(size - 4)
        for field, place in zip(fields, places, strict=True):
            if isinstance(field, tuple):
                struct.pack_into(field[0], out, start + place, field[1])
            elif field is not None:
                struct.pack_into("<I", out, start + place, field(out) - start - place)
        return start

    return write


def _layout(fields: Sequence[_Field]) -> tuple[list[int], int]:
    """Where each field lies in its table, 0 for those left out, and the table's size."""
    places, end = [], 4
    for field in fields:
        size = 4
        if field is None:
            places.append(0)
            continue
        if isinstance(field, tuple):
            size = struct.calcsize(field[0])
        end += -end % size
        places.append(end)
        end += size
    return places, end


def _text(text: str) -> _Write:
    def write(out: bytearray) -> int:
        _align(out, 4)
        start, data = len(out), text.encode()
        out.extend(struct.pack("<I", len(data)) + data + b"\0")
        return start

    return write


def _offsets(items: Sequence[_Write]) -> _Write:
    """A vector of tables."""

    def write(out: bytearray) -> int:
        _align(out, 4)
        start = len(out)
        out.extend(struct.pack("<I", len(items)) + bytes(4 * len(items)))
        for i, item in enumerate(items):
            place = start + 4 + 4 * i
            struct.pack_into("<I", out, place, item(out) - place)
        return start

    return write


def _pairs(pairs: Sequence[tuple[int, int]]) -> _Write:
    """A vector of structs of two int64 (FieldNode, Buffer), which lie on 8 bytes."""

    def write(out: bytearray) -> int:
        _align(out, 8, behind=4)
        start = len(out)
        out.extend(struct.pack("<I", len(pairs)))
        for pair in pairs:
            out.extend(struct.pack("<qq", *pair))
        return start

    return write


def _align(out: bytearray, size: int, *, behind: int = 0) -> None:
    """Pad until what follows the next `behind` bytes lies on a multiple of `size`."""
    out.extend(bytes(-(len(out) + behind) % size))
