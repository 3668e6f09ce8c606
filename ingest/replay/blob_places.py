"""Where the blobs of either side of a replay lie, and how they are read and written there."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import aiohttp

from ingest.artifact_stores.base import ArtifactStore, PutOutcome
from ingest.artifact_stores.open import open_artifact_store
from ingest.blob_uploads import Digest
from ingest.errors import BlobNotFound, DigestMismatch
from ingest.replay.places import (
    ArchivePlace,
    DuckdbPlace,
    ParquetPlace,
    Place,
    PlaceNotUnderstood,
    PostgresPlace,
    ServerPlace,
    SqlitePlace,
)
from ingest.replay.server_log import reaching

CHUNK_BYTES: Final = 1024 * 1024


class Blobs(Protocol):
    """Where blobs are read from and written to."""

    async def has(self, digest: Digest) -> bool: ...

    def open(self, digest: Digest) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Entering raises BlobNotFound."""
        ...

    async def put(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """Raises DigestMismatch when the bytes are others than their name says."""
        ...


class _StoreBlobs:
    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def has(self, digest: Digest) -> bool:
        return await self._store.stat(digest) is not None

    def open(self, digest: Digest) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._store.open(digest)

    async def put(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        outcome = await self._store.put(digest, chunks)
        assert outcome in PutOutcome


class _ServerBlobs:
    def __init__(self, session: aiohttp.ClientSession, uri: str) -> None:
        self._session = session
        self._uri = uri

    async def has(self, digest: Digest) -> bool:
        with reaching(self._uri):
            async with self._session.head(f"{self._uri}/api/v1/blobs/{digest}") as answer:
                if answer.status not in (200, 404):
                    answer.raise_for_status()
                return answer.status == 200

    @asynccontextmanager
    async def open(self, digest: Digest) -> AsyncIterator[AsyncIterator[bytes]]:
        with reaching(self._uri):
            async with self._session.get(f"{self._uri}/api/v1/blobs/{digest}") as answer:
                if answer.status == 404:
                    raise BlobNotFound(f"{self._uri} has no blob {digest}")
                answer.raise_for_status()
                yield answer.content.iter_chunked(CHUNK_BYTES)

    async def put(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        hasher = hashlib.sha256()

        async def hashed() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                hasher.update(chunk)
                yield chunk

        url = f"{self._uri}/api/v1/blobs/{digest}"
        with reaching(self._uri):
            async with self._session.put(url, data=hashed()) as answer:
                if answer.status == 422:
                    raise DigestMismatch(f"the source's bytes of {digest} are {hasher.hexdigest()}")
                answer.raise_for_status()


@asynccontextmanager
async def open_blobs(
    where: str | ServerPlace, workspace: str, api_key: str | None
) -> AsyncIterator[Blobs]:
    """The blobs of a server, or those that lie at a location."""
    if isinstance(where, ServerPlace):
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = aiohttp.ClientTimeout(total=None, connect=5.0, sock_read=90.0)
        async with aiohttp.ClientSession(
            headers=headers, timeout=timeout, trust_env=True
        ) as session:
            yield _ServerBlobs(session, where.uri)
        return
    async with open_artifact_store(where, workspace=workspace) as store:
        yield _StoreBlobs(store)


def blobs_of(place: Place, location: str | None, flag: str) -> str | ServerPlace:
    """Where the blobs of a place lie: as `flag` says, or where they are looked for.

    Raises PlaceNotUnderstood where nobody can tell.
    """
    if location is not None:
        return location
    match place:
        case ServerPlace():
            return place
        case ArchivePlace(where):
            return where
        case ParquetPlace(where):
            return f"{where}/_artifacts"  # engines leave out names that begin so
        case SqlitePlace(path) | DuckdbPlace(path):
            return str(path.parent / "artifacts")
        case PostgresPlace():
            raise PlaceNotUnderstood(
                f"{place} does not say where its artifacts lie: give {flag} FOLDER, or "
                f"{flag} s3://BUCKET/PREFIX"
            )
