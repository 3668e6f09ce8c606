"""Copying the bytes of artifacts along with a replay: what the trees name, verified."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp

from ingest.artifact_stores.base import ArtifactStore, PutOutcome
from ingest.artifact_stores.open import open_artifact_store
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import BlobNotFound, DigestMismatch
from ingest.replay.places import ArchivePlace, Place, PlaceNotUnderstood, ServerPlace, SqlitePlace
from ingest.replay.selection import Selection, fold_without_metrics
from ingest.replay.sources import Source
from projections.sqlite import open_for_reading

if TYPE_CHECKING:
    from ingest.replay.job import ReplayRequest

CHUNK_BYTES: Final = 1024 * 1024
MISSING_LISTED_MAX: Final = 100


@dataclass(slots=True)
class BlobReport:
    """`missing` are blobs that a tree names and the source has not, at most 100 of them."""

    copied: int = 0
    present: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list)


class Blobs(Protocol):
    """Where blobs are read from and written to."""

    async def has(self, digest: Digest) -> bool: ...

    def open(self, digest: Digest) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Entering raises BlobNotFound."""
        ...

    async def put(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """Raises DigestMismatch when the bytes are others than their name says."""
        ...


async def copy_blobs(request: ReplayRequest, source: Source, selection: Selection) -> BlobReport:
    """Copy every blob that the selected trees name and the destination lacks."""
    report = BlobReport()
    digests = await _named(source, selection)
    workspace = source.workspace
    key, other_key = request.api_key, request.destination_api_key or request.api_key
    async with (
        _open(request.source, request.source_artifacts, workspace, key, "--src-artifacts") as old,
        _open(
            request.destination, request.destination_artifacts, workspace, other_key,
            "--dst-artifacts",
        ) as new,
    ):  # fmt: skip
        for digest in digests:
            if await new.has(digest):
                report.present += 1
                continue
            try:
                async with old.open(digest) as chunks:
                    await new.put(digest, _counted(chunks, report))
                report.copied += 1
            except (BlobNotFound, DigestMismatch):
                if len(report.missing) < MISSING_LISTED_MAX:
                    report.missing.append(digest)
    return report


async def _named(source: Source, selection: Selection) -> list[Digest]:
    """The digests that stand in the trees of the selected runs and their models."""
    with tempfile.TemporaryDirectory(prefix="tracker-replay-") as folder:
        path = Path(folder) / "runs.sqlite"
        await fold_without_metrics(source.log, path, until=selection.until)
        connection = open_for_reading(path)
        try:
            rows = connection.execute(
                "SELECT DISTINCT digest, owner FROM artifact WHERE digest IS NOT NULL"
                " AND is_deleted = 0 ORDER BY digest"
            ).fetchall()
            runs = {row[0] for row in connection.execute("SELECT run_id FROM run")}
        finally:
            connection.close()
    wanted = {
        digest
        for digest, owner in rows
        # A model's owner is no run: its files come along whenever any are asked for.
        if selection.run_ids is None or owner in selection.run_ids or owner not in runs
    }
    return [digest_of(digest) for digest in sorted(wanted)]


async def _counted(chunks: AsyncIterator[bytes], report: BlobReport) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        report.bytes += len(chunk)
        yield chunk


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
        async with self._session.head(f"{self._uri}/api/v1/blobs/{digest}") as answer:
            return answer.status == 200

    @asynccontextmanager
    async def open(self, digest: Digest) -> AsyncIterator[AsyncIterator[bytes]]:
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
        async with self._session.put(url, data=hashed()) as answer:
            if answer.status == 422:
                raise DigestMismatch(f"the source's bytes of {digest} are {hasher.hexdigest()}")
            answer.raise_for_status()


@asynccontextmanager
async def _open(
    place: Place, location: str | None, workspace: str, api_key: str | None, flag: str
) -> AsyncIterator[Blobs]:
    if location is None and isinstance(place, ServerPlace):
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = aiohttp.ClientTimeout(total=None, connect=5.0, sock_read=90.0)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            yield _ServerBlobs(session, place.uri)
        return
    if location is None:
        location = _beside(place, flag)
    async with open_artifact_store(location, workspace=workspace) as store:
        yield _StoreBlobs(store)


def _beside(place: Place, flag: str) -> str:
    """Where a store's blobs lie when nobody says: where `tracker server` puts them."""
    match place:
        case ArchivePlace(location):
            return location
        case SqlitePlace(path):
            return str(path.parent / "artifacts")
        case _:
            raise PlaceNotUnderstood(
                f"{place} does not say where its artifacts lie: give {flag} FOLDER, or "
                f"{flag} s3://BUCKET/PREFIX"
            )
