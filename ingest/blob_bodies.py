"""Blobs on the wire: bodies in and out in bounded chunks, and not too many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from ingest.artifact_modes import not_served
from ingest.components import COUNTERS
from ingest.counters import ServerCounters
from ingest.errors import BodyStalled, Busy, TooLarge
from ingest.logs import SERVER_LOG
from ingest.middleware import expect
from tracker.events.errors import TrackerError

# Fewer hops between threads per byte, and still little memory: times transfers_max.
CHUNK_BYTES: Final = 1024 * 1024
TRANSFERS_MAX: Final = 64
# A sender who has gone, and whose network did not say so, holds a place no longer than this.
BODY_SILENCE_S_MAX: Final = 60.0
# A reader of 28 kbit/s takes a chunk in time.
CHUNK_SENT_S_MAX: Final = 300.0


class Transfers:
    """How many blobs are on their way. A server that transfers is not idle.

    Every transfer takes its place here, so this is also where a server refuses that carries
    no bytes (`is_served` False).
    """

    def __init__(self, counters: ServerCounters, *, is_served: bool = True) -> None:
        self.under_way = 0
        self.is_served = is_served
        self._counters = counters

    @contextmanager
    def one(self) -> Iterator[None]:
        """Takes a place for the length of the block. Raises Busy and ArtifactsNotServed."""
        if not self.is_served:
            raise not_served()
        if self.under_way >= TRANSFERS_MAX:
            raise Busy(
                f"{TRANSFERS_MAX} blobs are being transferred (transfers_max); try again",
                retry_after_s=1.0,
            )
        self.under_way += 1
        self._counters.open_streams += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self._counters.open_streams -= 1


BLOB_TRANSFERS: web.AppKey[Transfers] = web.AppKey("blob_transfers", Transfers)


async def body_of(request: web.Request, *, bytes_max: int, limit: str) -> AsyncIterator[bytes]:
    """The body in chunks of about 1 MiB. Raises TooLarge, naming `limit`, and BodyStalled."""
    length = request.content_length
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max, limit)
    await expect(request)
    held: list[bytes] = []
    size = total = 0
    while piece := await next_piece(request):
        held.append(piece)
        request.app[COUNTERS].blob_bytes_in += len(piece)
        size += len(piece)
        total += len(piece)
        if total > bytes_max:
            raise _too_large(bytes_max, limit)
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


async def next_piece(request: web.Request) -> bytes:
    """What has arrived of the body; b"" at its end. Raises BodyStalled."""
    try:
        async with asyncio.timeout(BODY_SILENCE_S_MAX):
            return await request.content.readany()
    except TimeoutError:
        raise BodyStalled(
            f"nothing of the body has arrived for {BODY_SILENCE_S_MAX:g} s; send it again",
            retry_after_s=1.0,
        ) from None
    except PayloadEncodingError as error:
        raise ConnectionResetError("the body broke off") from error


def _too_large(bytes_max: int, limit: str) -> TooLarge:
    return TooLarge(f"the body has more than {bytes_max} bytes ({limit})")


async def send(
    request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Answer with `chunks`. When they fail, all that can still be said is a cut connection."""
    await response.prepare(request)
    try:
        async for chunk in chunks:
            async with asyncio.timeout(CHUNK_SENT_S_MAX):
                await response.write(chunk)
            request.app[COUNTERS].blob_bytes_out += len(chunk)
        await response.write_eof()
    except (TrackerError, TimeoutError) as error:
        SERVER_LOG.warning("a download broke off", extra={"fields": {"reason": str(error)}})
        if request.transport is not None:
            request.transport.abort()
    return response
