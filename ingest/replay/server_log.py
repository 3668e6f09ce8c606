"""The log of a running server, read and continued through its HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp

from ingest.errors import StoreUnavailable
from ingest.replay.records import LOG_CONTENT_TYPE, RecordReader, encode_record
from projections.log import LogHead, StoredBatch
from tracker.events import wire
from tracker.events.errors import TrackerError

T = TypeVar("T")

_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_CHUNK_BYTES: Final = 1024 * 1024
_RETRYABLE: Final = frozenset({429, 502, 503, 504})


class ServerSaid(TrackerError):
    """The server refused; `code` is its word for why."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class ServerHead:
    workspace: str
    head: LogHead


class ServerLog:
    """An EventLogReader over HTTP. One stream is read ahead and consumed in order.

    `read` continues the open stream when it is asked for what follows; anything else opens
    another one. A connection that breaks is opened again after what was received whole.
    """

    def __init__(self, session: aiohttp.ClientSession, uri: str) -> None:
        self._session = session
        self._uri = uri
        self._stream: _Stream | None = None

    async def server_head(self) -> ServerHead:
        said = await self._json("GET", "/api/v1/log/head")
        chain = bytes.fromhex(said["chain"])
        return ServerHead(said["workspace"], LogHead(said["position"] + 1, chain))

    async def head(self) -> LogHead:
        return (await self.server_head()).head

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        async def work() -> Sequence[StoredBatch]:
            try:
                with reaching(self._uri):
                    stream = await self._stream_at(after, run_id, until)
                    return await stream.take(batches_max, bytes_max)
            except StoreUnavailable:
                await self._drop()
                raise

        return await _patiently(work)

    async def import_batches(self, batches: Sequence[StoredBatch]) -> LogHead:
        """See EventStore.import_batches; a lost answer is settled by asking for the head."""
        body = b"".join(map(encode_record, batches))
        last = batches[-1]
        wanted = LogHead(last.last_position + 1, last.chain_sha256)

        async def work() -> LogHead:
            try:
                await self._json("POST", "/api/v1/log", body, LOG_CONTENT_TYPE)
            except (StoreUnavailable, ServerSaid):
                if not await self._reached(wanted):
                    raise
            return wanted

        return await _patiently(work)

    async def append(self, batch: StoredBatch) -> None:
        """Send one batch as its writer would have; what is there already changes nothing."""
        header = wire.BatchHeader(
            batch.run_id,
            batch.writer_id,
            batch.epoch,
            batch.first_seq,
            batch.n,
            batch.records_crc,
        )
        body = wire.encode_batch(header, batch.payload)
        await _patiently(
            lambda: self._json("POST", "/api/v1/append", body, wire.BATCH_CONTENT_TYPE)
        )

    async def next_seq(self, writer_id: str) -> int:
        """What the writer may append next; 1 for one that is not known."""
        try:
            said = await self._json("GET", f"/api/v1/writers/{writer_id}")
        except ServerSaid as error:
            if error.code != "writer_not_found":
                raise
            return 1
        return int(said["next_seq"])

    async def aclose(self) -> None:
        await self._drop()

    async def _reached(self, wanted: LogHead) -> bool:
        try:
            return await self.head() == wanted
        except TrackerError:
            return False

    async def _stream_at(self, after: int, run_id: str | None, until: int | None) -> _Stream:
        stream = self._stream
        if stream is not None and stream.goes_on(after, run_id, until):
            return stream
        await self._drop()
        parameters = {"after": str(after)}
        if run_id is not None:
            parameters["run_id"] = run_id
        if until is not None:
            parameters["until"] = str(until)
        response = await self._session.get(f"{self._uri}/api/v1/log", params=parameters)
        await _check(response)
        self._stream = _Stream(response, after=after, run_id=run_id, until=until)
        return self._stream

    async def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _json(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> Any:
        headers = {"Content-Type": content_type} if content_type else {}
        with reaching(self._uri):
            async with self._session.request(
                method, f"{self._uri}{path}", data=body, headers=headers
            ) as response:
                await _check(response)
                return await response.json()


class _Stream:
    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        after: int,
        run_id: str | None,
        until: int | None,
    ) -> None:
        self._response = response
        self._rows = RecordReader()
        self._ready: list[StoredBatch] = []
        self._is_over = False
        self.after, self.run_id, self.until = after, run_id, until

    def goes_on(self, after: int, run_id: str | None, until: int | None) -> bool:
        # A stream that is over ended at the head as it was: there may be more by now.
        is_used_up = self._is_over and not self._ready
        return (after, run_id, until) == (self.after, self.run_id, self.until) and not is_used_up

    async def take(self, batches_max: int, bytes_max: int) -> list[StoredBatch]:
        size = sum(len(batch.payload) for batch in self._ready)
        while not self._is_over and len(self._ready) < batches_max and size < bytes_max:
            data = await self._response.content.read(_CHUNK_BYTES)
            if not data:
                self._is_over = True
                if not self._rows.is_between_records:
                    raise aiohttp.ClientPayloadError("the stream ended within a record")
                break
            rows = list(self._rows.feed(data))
            self._ready += rows
            size += sum(len(row.payload) for row in rows)
        taken, size = [], 0
        for batch in self._ready[:batches_max]:
            taken.append(batch)
            size += len(batch.payload)
            if size >= bytes_max:
                break
        del self._ready[: len(taken)]
        if taken:
            self.after = taken[-1].last_position
        return taken

    def close(self) -> None:
        self._response.close()


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Again and again while the server is away, for some ten seconds in all."""
    for delay_s in _DELAYS_S:
        try:
            return await work()
        except StoreUnavailable:
            await asyncio.sleep(delay_s)
    return await work()


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """What the network says becomes StoreUnavailable."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise StoreUnavailable(f"{uri} cannot be reached: {why}") from error


@asynccontextmanager
async def server_log(uri: str, *, api_key: str | None) -> AsyncIterator[ServerLog]:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = aiohttp.ClientTimeout(total=None, connect=5.0, sock_read=90.0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=True) as session:
        log = ServerLog(session, uri.rstrip("/"))
        try:
            yield log
        finally:
            await log.aclose()


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    try:
        said = (await response.json(content_type=None))["error"]
        code, message = str(said["code"]), str(said["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "not_a_tracker", f"answered {response.status}, and nothing of ours"
    url = str(response.url.origin())
    response.release()
    if response.status in _RETRYABLE:
        raise StoreUnavailable(f"{url}: {message}")
    raise ServerSaid(f"{url}: {message}", status=response.status, code=code)
