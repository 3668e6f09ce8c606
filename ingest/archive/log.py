"""An archive as a log: an EventLogReader over its segments, and the writer that adds to it.

An archive lies in `<location>/<workspace>/log/`, beside the blobs of the same workspace.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ingest.archive.manifest import Manifest, add_segment, load_manifest
from ingest.archive.objects import NoSuchObject, Objects, open_objects
from ingest.archive.segments import (
    SEGMENT_BYTES,
    TRAILER_BYTES,
    Footer,
    Segment,
    decode_footer,
    encode_segment,
    footer_place,
    records_of,
)
from ingest.event_stores.importing import check_follows, checked_import
from projections.log import LogDamaged, LogHead, StoredBatch
from tracker.events.errors import CorruptPayload
from tracker.events.limits import INT64_MAX

_FOOTERS_KEPT: Final = 256
_TAIL_BYTES: Final = 64 * 1024


class ArchiveLog:
    """An EventLogReader; see also `writer`. Used from one event loop."""

    def __init__(self, objects: Objects, manifest: Manifest) -> None:
        self._objects = objects
        self.manifest = manifest
        self._footers: OrderedDict[str, Footer] = OrderedDict()

    async def head(self) -> LogHead:
        return self.manifest.head

    async def refresh(self) -> None:
        """See what others have added since."""
        self.manifest = await load_manifest(self._objects, workspace=self.manifest.workspace)

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        """As an EventLogReader does. Raises LogDamaged, naming the object that is."""
        until = INT64_MAX if until is None else until
        found: list[StoredBatch] = []
        size = 0
        segments = self.manifest.segments
        for segment in segments[self.manifest.index_after(after) :]:
            if segment.first_position > until or len(found) >= batches_max or size >= bytes_max:
                break
            try:
                rows = await self._read_segment(
                    segment, after, until, run_id, batches_max - len(found), bytes_max - size
                )
            except (CorruptPayload, NoSuchObject) as error:
                if found:
                    break  # what is whole is given out; asking for more says what is not
                raise self._damage(segment, error) from error
            found += rows
            size += sum(len(row.payload) for row in rows)
        return found

    async def check(self, segment: Segment) -> None:
        """Read a segment whole and hold it against its digest. Raises LogDamaged."""
        try:
            data = await self._objects.read(segment.key)
            if await asyncio.to_thread(_sha256, data) != segment.sha256:
                raise CorruptPayload("its bytes are not those that were written")
        except (CorruptPayload, NoSuchObject) as error:
            raise self._damage(segment, error) from error

    async def _read_segment(
        self,
        segment: Segment,
        after: int,
        until: int,
        run_id: str | None,
        batches_max: int,
        bytes_max: int,
    ) -> list[StoredBatch]:
        footer = await self._footer(segment)
        ends = [*footer.first_positions[1:], segment.last_position + 1]
        wanted = [
            index
            for index, (first, end) in enumerate(zip(footer.first_positions, ends, strict=True))
            if end > after + 1
            and first <= until
            and (run_id is None or footer.run_ids[index] == run_id)
        ][:batches_max]
        rows: list[StoredBatch] = []
        size = 0
        for start, stop in _stretches(footer, wanted, bytes_max):
            data = await self._objects.read(segment.key, start=start, end=stop)
            if len(data) != stop - start:
                raise CorruptPayload("it is shorter than its footer says")
            rows += records_of(data)
            size += stop - start
            if size >= bytes_max:
                break
        return rows

    async def _footer(self, segment: Segment) -> Footer:
        footer = self._footers.get(segment.key)
        if footer is None:
            footer = self._footers[segment.key] = await self._read_footer(segment)
            if len(self._footers) > _FOOTERS_KEPT:
                self._footers.popitem(last=False)
        self._footers.move_to_end(segment.key)
        return footer

    async def _read_footer(self, segment: Segment) -> Footer:
        if await self._objects.size(segment.key) != segment.bytes:
            raise CorruptPayload("its size is not what was written")
        tail_from = max(0, segment.bytes - _TAIL_BYTES)
        tail = await self._objects.read(segment.key, start=tail_from, end=segment.bytes)
        start, end = footer_place(tail, size=segment.bytes)
        if start < tail_from:
            data = await self._objects.read(segment.key, start=start, end=end)
        else:
            data = tail[start - tail_from : end - tail_from]
        footer = decode_footer(data, tail[-TRAILER_BYTES:])
        if len(footer.offsets) != segment.batches:
            raise CorruptPayload("its footer is not that of the segment")
        return footer

    def _damage(self, segment: Segment, error: Exception) -> LogDamaged:
        address = self._objects.address_of(segment.key)
        why = "is not there" if isinstance(error, NoSuchObject) else f"is damaged: {error}"
        return LogDamaged(
            f"the archive object {address} {why}; it holds the positions "
            f"{segment.first_position} to {segment.last_position}: bring it back from a copy",
            first_position=segment.first_position,
            last_position=segment.last_position,
        )

    # -- writing ------------------------------------------------------------------------------

    async def add(self, batches: Sequence[StoredBatch]) -> Segment:
        """Write one segment that continues the archive at its head.

        When it returns, the object was read back whole and is in the manifest. Raises
        ImportRefused when the batches do not continue it, ArchiveTaken when somebody else did.
        """
        head = self.manifest.head
        workspace = self.manifest.workspace

        def encode() -> tuple[bytes, Segment]:
            checked_import(batches)
            check_follows(batches[0], head)
            return encode_segment(batches, workspace=workspace, previous_chain=head.chain_sha256)

        data, segment = await asyncio.to_thread(encode)
        # The name has the digest in it: an object that is there already is the same one,
        # or damaged, and reading it back tells which.
        await self._objects.create(segment.key, data)
        await self.check(segment)
        self.manifest = await add_segment(self._objects, self.manifest, segment)
        return segment


class SegmentBuffer:
    """Gathers batches until they fill a segment."""

    def __init__(self, archive: ArchiveLog, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._archive = archive
        self._segment_bytes = segment_bytes
        self._batches: list[StoredBatch] = []
        self._size = 0

    @property
    def head(self) -> LogHead:
        """Where what was gathered ends, written or not."""
        if self._batches:
            last = self._batches[-1]
            return LogHead(last.last_position + 1, last.chain_sha256)
        return self._archive.manifest.head

    async def take(self, batches: Sequence[StoredBatch]) -> None:
        for batch in batches:
            self._batches.append(batch)
            self._size += len(batch.payload)
            if self._size >= self._segment_bytes:
                await self.flush()

    async def flush(self) -> None:
        """Write what was gathered, however little it is."""
        if self._batches:
            await self._archive.add(self._batches)
            self._batches, self._size = [], 0


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stretches(footer: Footer, wanted: Sequence[int], bytes_max: int) -> list[tuple[int, int]]:
    """The ranges of bytes that hold the wanted records, neighbours together."""
    stretches: list[tuple[int, int]] = []
    size = 0
    for index in wanted:
        start, end = footer.offsets[index], footer.end_of(index)
        if stretches and stretches[-1][1] == start:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
        size += end - start
        if size >= bytes_max:
            break
    return stretches


def archive_root(location: str, workspace: str) -> str:
    """Where the archive of a workspace lies below a location."""
    return f"{location.rstrip('/')}/{workspace}/log"


@asynccontextmanager
async def open_archive(location: str, *, workspace: str) -> AsyncIterator[ArchiveLog]:
    """The archive of a workspace below a folder or s3://BUCKET/PREFIX; maybe empty."""
    async with open_objects(archive_root(location, workspace)) as objects:
        yield ArchiveLog(objects, await load_manifest(objects, workspace=workspace))
