"""How blobs get into the store on somebody's behalf: the one door beside uploads in parts.

Whoever is told that a blob is present need not send it, so before that is said, the blob is
kept from garbage collection (`ingest.artifact_stores.ledger`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ingest.artifact_stores.base import ArtifactStore, PutOutcome
from ingest.artifact_stores.ledger import keep
from ingest.blob_uploads import Digest
from ingest.errors import DigestMismatch


async def present_size(store: ArtifactStore, digest: Digest) -> int | None:
    """The size of a blob that may be relied on from now on; None when there is none.

    Raises Busy while it is being removed.
    """
    size = await store.stat(digest)
    if size is not None:
        await keep(store.ledger, digest)
    return size


async def receive(store: ArtifactStore, digest: Digest, chunks: AsyncIterator[bytes]) -> PutOutcome:
    """Store bytes whose SHA-256 is known. Raises DigestMismatch and Busy."""
    return await kept(store, digest, await store.put(digest, chunks))


async def receive_unnamed(
    store: ArtifactStore, chunks: AsyncIterator[bytes]
) -> tuple[Digest, int, PutOutcome]:
    """Store bytes whatever their SHA-256; return it and their length. Raises Busy."""
    digest, size, outcome = await store.put_unnamed(chunks)
    return digest, size, await kept(store, digest, outcome)


async def receive_many(
    store: ArtifactStore, blobs: Sequence[tuple[Digest, memoryview]]
) -> Sequence[PutOutcome | DigestMismatch]:
    """Store small blobs; say of each what became of it. Raises Busy."""
    outcomes = await store.put_many(blobs)
    for (digest, _), outcome in zip(blobs, outcomes, strict=True):
        if isinstance(outcome, PutOutcome):
            await kept(store, digest, outcome)
    return outcomes


async def kept(store: ArtifactStore, digest: Digest, outcome: PutOutcome) -> PutOutcome:
    if outcome is PutOutcome.PRESENT:
        await keep(store.ledger, digest)
    return outcome
