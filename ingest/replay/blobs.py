"""Copying the bytes of artifacts along with a replay: what the trees name, verified."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.blob_uploads import Digest, digest_of
from ingest.errors import BlobNotFound, DigestMismatch
from ingest.replay.blob_places import Blobs, open_blobs
from ingest.replay.selection import Selection, fold_without_metrics
from ingest.replay.sources import Source
from projections.sqlite import open_for_reading

if TYPE_CHECKING:
    from ingest.replay.job import ReplayRequest

MISSING_LISTED_MAX: Final = 100

OnBytes = Callable[[int, int], None]
"""(done, total), in bytes, as far as their sizes are known."""


@dataclass(slots=True)
class BlobReport:
    """`missing` are blobs that a tree names and the source has not, at most 100 of them."""

    copied: int = 0
    present: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list)


async def copy_blobs(
    request: ReplayRequest, source: Source, selection: Selection, on_bytes: OnBytes
) -> BlobReport:
    """Copy every blob that the selected trees name and the destination lacks."""
    sizes = await named_blobs(source, selection)
    workspace = source.workspace
    async with (
        open_blobs(request.source_blobs, workspace, request.api_key) as old,
        open_blobs(request.destination_blobs, workspace, request.key_there) as new,
    ):
        copying = _Copying(old, new, sum(sizes.values()), on_bytes)
        for digest, size in sizes.items():
            await copying.copy(digest, size)
    return copying.report


async def named_blobs(source: Source, selection: Selection) -> Mapping[Digest, int]:
    """The digests in the trees of the selected runs and their models, with sizes in bytes."""
    with tempfile.TemporaryDirectory(prefix="tracker-replay-") as folder:
        path = Path(folder) / "runs.sqlite"
        await fold_without_metrics(source.log, path, selection)
        connection = open_for_reading(path)
        try:
            rows = connection.execute(
                "SELECT digest, max(coalesce(size, 0)) FROM artifact"
                " WHERE digest IS NOT NULL AND is_deleted = 0 GROUP BY digest ORDER BY digest"
            )
            return {digest_of(digest): size for digest, size in rows}
        finally:
            connection.close()


class _Copying:
    def __init__(self, old: Blobs, new: Blobs, total: int, on_bytes: OnBytes) -> None:
        self._old, self._new = old, new
        self._done, self._total = 0, total
        self._on_bytes = on_bytes
        self.report = BlobReport()

    async def copy(self, digest: Digest, size: int) -> None:
        report, before = self.report, self._done
        if await self._new.has(digest):
            report.present += 1
        else:
            try:
                async with self._old.open(digest) as chunks:
                    await self._new.put(digest, self._counted(chunks))
                report.copied += 1
            except (BlobNotFound, DigestMismatch):
                if len(report.missing) < MISSING_LISTED_MAX:
                    report.missing.append(digest)
        self._done = before + size
        self._on_bytes(self._done, self._total)

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.report.bytes += len(chunk)
            self._done += len(chunk)
            self._on_bytes(self._done, self._total)
            yield chunk
