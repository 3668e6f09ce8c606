"""Reads Arrow's streaming format as far as metric history needs it, with no library.

A stream is a sequence of messages: FF FF FF FF, the length of the metadata (int32), the
metadata (a FlatBuffer: what follows, and where), the body (the columns' bytes). Metric
history is three columns without nulls: step (int64), time_us (int64 or a timestamp) and
value (float64). Anything else, such as compressed or 32-bit columns, is refused with
ArrowMismatch, never guessed at. Format: arrow.apache.org/docs/format/Columnar.html

The columns come out as bytes, little-endian; nothing is unpacked value by value, so a
training machine without numpy reads millions of points a second.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from tracker.events.errors import CorruptPayload

CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"

# One page of history; the server sends far smaller ones.
MESSAGE_BYTES_MAX: Final = 256 * 1024 * 1024

_CONTINUATION: Final = 0xFFFFFFFF
_SCHEMA, _RECORD_BATCH = 1, 3  # MessageHeader, in Message.fbs
_TYPE_INT, _TYPE_FLOAT, _TYPE_TIMESTAMP = 2, 3, 10  # Type, in Schema.fbs
_DOUBLE = 2  # Precision, in Schema.fbs

ReadExactly = Callable[[int], Awaitable[bytes]]


class ArrowMismatch(CorruptPayload):
    """The stream is not Arrow, is cut short, or holds what this reader does not read."""


class _Table:
    """A FlatBuffer table: fields by number, found through its vtable."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.vtable = position - _int(data, "<i", position)
        self.vtable_bytes = _int(data, "<H", self.vtable)

    def _field(self, number: int) -> int | None:
        slot = 4 + 2 * number
        if slot >= self.vtable_bytes:
            return None
        offset = _int(self.data, "<H", self.vtable + slot)
        return self.position + offset if offset else None

    def number(self, number: int, layout: str, default: int = 0) -> int:
        at = self._field(number)
        return default if at is None else _int(self.data, layout, at)

    def table(self, number: int) -> _Table | None:
        at = self._field(number)
        return None if at is None else _Table(self.data, at + _int(self.data, "<I", at))

    def text(self, number: int) -> str:
        start, length = self.vector(number)
        return self.data[start : start + length].decode(errors="replace")

    def vector(self, number: int) -> tuple[int, int]:
        """Where a vector's items begin, and how many there are."""
        at = self._field(number)
        if at is None:
            return 0, 0
        start = at + _int(self.data, "<I", at)
        return start + 4, _int(self.data, "<I", start)

    def tables(self, number: int) -> list[_Table]:
        start, length = self.vector(number)
        places = range(start, start + 4 * length, 4)
        return [_Table(self.data, at + _int(self.data, "<I", at)) for at in places]


async def read_columns(
    read: ReadExactly, columns: Sequence[str]
) -> AsyncIterator[tuple[bytes, ...]]:
    """Yield every record batch as the bytes of `columns`, 8 bytes a value, in that order.

    `read(n)` gives exactly n bytes. Raises ArrowMismatch.
    """
    names: list[str] = []
    while True:
        metadata = await _read_metadata(read)
        if metadata is None:
            return
        message = _Table(metadata, _int(metadata, "<I", 0))
        body_bytes = message.number(3, "<q")
        if not 0 <= body_bytes <= MESSAGE_BYTES_MAX:
            raise ArrowMismatch(f"an Arrow message of {body_bytes} bytes is beyond the limit")
        body = await read(body_bytes) if body_bytes else b""
        header = message.table(2)
        kind = message.number(1, "<B")
        if header is None:
            raise ArrowMismatch("an Arrow message has no header")
        if kind == _SCHEMA:
            names = _schema_names(header, columns)
        elif kind == _RECORD_BATCH:
            yield tuple(_column(header, body, names.index(name)) for name in columns)
        else:
            raise ArrowMismatch(f"Arrow message type {kind} is not expected here")


async def _read_metadata(read: ReadExactly) -> bytes | None:
    mark, length = struct.unpack("<Ii", await read(8))
    if mark != _CONTINUATION or not 0 <= length <= MESSAGE_BYTES_MAX:
        raise ArrowMismatch("the answer is not an Arrow stream")
    return await read(length) if length else None


def _schema_names(schema: _Table, wanted: Sequence[str]) -> list[str]:
    fields = schema.tables(1)
    names = [field.text(0) for field in fields]
    for name in wanted:
        if name not in names:
            raise ArrowMismatch(f"the Arrow stream has no column {name!r}, only {names}")
    for name, field in zip(names, fields, strict=True):
        if not _is_eight_bytes_wide(field):
            raise ArrowMismatch(f"Arrow column {name!r} is not of a type this client reads")
    return names


def _is_eight_bytes_wide(field: _Table) -> bool:
    details = field.table(3)
    if details is None:
        return False
    kind = field.number(2, "<B")
    if kind == _TYPE_INT:
        return details.number(0, "<i") == 64
    if kind == _TYPE_FLOAT:
        return details.number(0, "<h") == _DOUBLE
    return kind == _TYPE_TIMESTAMP


def _column(batch: _Table, body: bytes, index: int) -> bytes:
    """The bytes of the index-th column. Every column has two buffers: validity and values."""
    if batch.table(3) is not None:
        raise ArrowMismatch("compressed Arrow bodies are not read by this client")
    nodes, _ = batch.vector(1)
    length, nulls = struct.unpack_from("<qq", batch.data, nodes + 16 * index)
    if nulls:
        raise ArrowMismatch("metric history has no nulls; this Arrow column has")
    buffers, count = batch.vector(2)
    if 2 * index + 1 >= count:
        raise ArrowMismatch("an Arrow record batch has too few buffers")
    at, _ = struct.unpack_from("<qq", batch.data, buffers + 16 * (2 * index + 1))
    column = body[at : at + 8 * length]
    if len(column) != 8 * length:
        raise ArrowMismatch("an Arrow column is cut short")
    return column


def _int(data: bytes, layout: str, at: int) -> int:
    try:
        number: int = struct.unpack_from(layout, data, at)[0]
    except struct.error:
        raise ArrowMismatch("Arrow metadata is cut short or points outside itself") from None
    return number
