"""What the S3 store does to bytes on their way: cut them into parts, and hash them."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from typing import Any, Final

URL_EXPIRES_S: Final = 3600
_HASHED_INLINE_MAX: Final = 64 * 1024


def expires_us(seconds: int) -> int:
    return time.time_ns() // 1000 + seconds * 1_000_000


async def in_parts(
    chunks: AsyncIterator[bytes], hasher: Any, part_bytes: int
) -> AsyncIterator[bytes]:
    """`chunks` in pieces of exactly `part_bytes`, the last one shorter; hashed on the way."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        await hash_chunk(hasher, chunk)
        while size + len(chunk) >= part_bytes:
            room = part_bytes - size
            held.append(chunk[:room])
            size, chunk = 0, chunk[room:]
            yield _joined(held)
        held.append(chunk)
        size += len(chunk)
    if size:
        yield _joined(held)


def file_of(pieces: list[bytes]) -> io.BytesIO:
    """`pieces` as a file, and emptied: a body of bytes would be copied to the socket whole."""
    return io.BytesIO(_joined(pieces))


def _joined(pieces: list[bytes]) -> bytes:
    joined = b"".join(pieces)
    pieces.clear()
    return joined


async def hash_chunk(hasher: Any, chunk: bytes) -> None:
    if len(chunk) <= _HASHED_INLINE_MAX:
        hasher.update(chunk)
    else:
        await asyncio.to_thread(hasher.update, chunk)
