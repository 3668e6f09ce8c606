"""Byte planes under zstd: the layer below every column of a sealed chunk.

A column of n words is cut into its bytes: all lowest bytes, then all second bytes, and so
on. Each plane is a zstd block of its own, so noise (the low bytes of a float) is stored
as it is, in nearly no time, and does not spoil the Huffman table of the planes that do
compress: 3.10 bytes a value for a float32 loss against 3.27 in one block (4,096 points).
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracker.events.compression import LEVEL
from tracker.events.errors import CorruptPayload

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Words = NDArray[Any]

# Below this many words a block's own header costs more than its own table saves.
_SPLIT_WORDS_MIN: Final = 256

_local = threading.local()


def pack_planes(words: Words, *, planes: int) -> bytes:
    """The lowest `planes` bytes of every word, compressed; the others must be zero."""
    size = words.itemsize
    little = words.astype(words.dtype.newbyteorder("<"), copy=False)
    transposed = np.ascontiguousarray(little.view(np.uint8).reshape(len(words), size).T)
    compressor = _compressor()
    if len(words) < _SPLIT_WORDS_MIN:
        return compressor.compress(transposed[:planes].tobytes(), compressor.FLUSH_FRAME)
    parts = [
        compressor.compress(plane.data, compressor.FLUSH_BLOCK)
        for plane in transposed[: planes - 1]
    ]
    parts.append(compressor.compress(transposed[planes - 1].data, compressor.FLUSH_FRAME))
    return b"".join(parts)


def unpack_planes(data: bytes | memoryview, *, n: int, planes: int, size: int) -> Words:
    """n words of `size` bytes, as `pack_planes` was given them. Raises CorruptPayload."""
    unpacked = np.frombuffer(unpack_bytes(data, n * planes), np.uint8).reshape(planes, n)
    rows = np.zeros((n, size), np.uint8) if planes < size else np.empty((n, size), np.uint8)
    for i in range(planes):
        rows[:, i] = unpacked[i]
    words: Words = rows.reshape(-1).view(f"<u{size}")
    return words


def pack_bytes(data: bytes) -> bytes:
    compressor = _compressor()
    return compressor.compress(data, compressor.FLUSH_FRAME)


def unpack_bytes(data: bytes | memoryview, size: int) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    try:
        unpacked = decompressor.decompress(data, size + 1)
    except zstd.ZstdError as error:
        raise CorruptPayload(f"a sealed column is not a zstd frame: {error}") from None
    if len(unpacked) != size or not decompressor.eof:
        raise CorruptPayload(f"a sealed column does not unpack to {size} bytes")
    return unpacked


def _compressor() -> zstd.ZstdCompressor:
    # Making one costs as much as compressing a whole chunk with it; one per thread, as a
    # frame is written in several calls.
    compressor: zstd.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstd.ZstdCompressor(LEVEL)
    return compressor
