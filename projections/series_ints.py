"""The codec of int64 columns: steps, times, and decimals as whole numbers.

Three forms, chosen by a rule that looks at the column alone:

    REGULAR  start i64, stride i64                    steps 0, 1, 2 … cost 17 bytes
    OFFSETS  planes u8, least i64, planes of x - least
    DELTAS   planes u8, first i64, least i64, planes of x[i] - x[i-1] - least

DELTAS when differences spread less than values do. All arithmetic is modulo 2**64, so any
int64 column comes back exactly, however far apart its neighbours are.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from projections.columns import Int64s
from projections.series_planes import pack_planes, unpack_planes
from tracker.events.errors import CorruptPayload

_REGULAR: Final = 0
_OFFSETS: Final = 1
_DELTAS: Final = 2

_REGULAR_HEAD: Final = struct.Struct("<Bqq")
_OFFSETS_HEAD: Final = struct.Struct("<BBq")
_DELTAS_HEAD: Final = struct.Struct("<BBqq")


def encode_ints(column: Int64s) -> bytes:
    """The shortest of the forms for a column of at least one number."""
    deltas = (column[1:].view(np.uint64) - column[:-1].view(np.uint64)).view(np.int64)
    least_delta, delta_spread = _least_and_spread(deltas)
    if delta_spread == 0:
        return _REGULAR_HEAD.pack(_REGULAR, int(column[0]), least_delta)
    least, spread = _least_and_spread(column)
    if delta_spread < spread:
        planes = _bytes_for(delta_spread)
        head = _DELTAS_HEAD.pack(_DELTAS, planes, int(column[0]), least_delta)
        return head + pack_planes(_minus(deltas, least_delta), planes=planes)
    planes = _bytes_for(spread)
    head = _OFFSETS_HEAD.pack(_OFFSETS, planes, least)
    return head + pack_planes(_minus(column, least), planes=planes)


def decode_ints(data: bytes, n: int) -> Int64s:
    """The n numbers that were encoded. Raises CorruptPayload."""
    try:
        match data[0]:
            case 0:
                _, start, stride = _REGULAR_HEAD.unpack(data)
                steps = np.arange(n, dtype=np.uint64) * _unsigned(stride)
                return (steps + _unsigned(start)).view(np.int64)
            case 1:
                _, planes, least = _OFFSETS_HEAD.unpack_from(data)
                words = _words(data, _OFFSETS_HEAD.size, n, planes)
                return (words + _unsigned(least)).view(np.int64)
            case 2:
                _, planes, first, least = _DELTAS_HEAD.unpack_from(data)
                numbers = np.empty(n, np.uint64)
                numbers[0] = _unsigned(first)
                numbers[1:] = _words(data, _DELTAS_HEAD.size, n - 1, planes)
                numbers[1:] += _unsigned(least)
                return np.cumsum(numbers, dtype=np.uint64).view(np.int64)
            case kind:
                raise CorruptPayload(f"a sealed integer column has the unknown form {kind}")
    except (struct.error, IndexError):
        raise CorruptPayload("a sealed integer column is cut short") from None


def _words(data: bytes, start: int, n: int, planes: int) -> NDArray[np.uint64]:
    words = unpack_planes(memoryview(data)[start:], n=n, planes=planes, size=8)
    return words.astype(np.uint64, copy=False)


def _least_and_spread(column: Int64s) -> tuple[int, int]:
    if len(column) == 0:
        return 0, 0
    least = int(column.min())
    return least, int(column.max()) - least


def _minus(column: Int64s, least: int) -> NDArray[np.uint64]:
    return column.view(np.uint64) - _unsigned(least)


def _unsigned(number: int) -> np.uint64:
    return np.uint64(number % 2**64)


def _bytes_for(spread: int) -> int:
    return (spread.bit_length() + 7) // 8
