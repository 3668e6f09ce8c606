"""A nameless file on the server's own disk, for bytes that must be hashed before they can go on.

It has no name from the start, so nothing is left of it however the server ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from ingest.artifact_stores.durable_files import disk_errors, write_all
from ingest.blob_uploads import Digest, digest_of

_CHUNK_BYTES: Final = 1024 * 1024


class WaitingFile:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def receive(self, chunks: AsyncIterator[bytes]) -> tuple[int, Digest]:
        """Write all of `chunks`; return their length and SHA-256. Raises StoreFull."""
        hasher, size = hashlib.sha256(), 0
        async for chunk in chunks:
            with disk_errors():
                await asyncio.to_thread(_take, self._fd, chunk, size, hasher)
            size += len(chunk)
        return size, digest_of(hasher.hexdigest())

    async def chunks(self, size: int) -> AsyncIterator[bytes]:
        for at in range(0, size, _CHUNK_BYTES):
            with disk_errors():
                yield await asyncio.to_thread(os.pread, self._fd, _CHUNK_BYTES, at)


@asynccontextmanager
async def waiting_file() -> AsyncIterator[WaitingFile]:
    """In the folder that TMPDIR names; it is gone with the block. Raises StoreFull."""
    with disk_errors():
        file = await asyncio.to_thread(tempfile.TemporaryFile, "w+b", buffering=0)
    with file:
        yield WaitingFile(file.fileno())


def _take(fd: int, chunk: bytes, offset: int, hasher: Any) -> None:
    hasher.update(chunk)
    write_all(fd, chunk, offset)
