"""Writing the points of a log into tables: reading, decoding and writing overlap."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ingest.replay.copying import ROUND_BATCHES, ROUND_BYTES, CopyProgress
from ingest.replay.selection import Selection
from ingest.replay.sinks import Noted, TableSink
from ingest.replay.sources import Source
from projections.log import LogHead, StoredBatch
from projections.parquet_points import POINTS_A_FILE, PointsGatherer
from projections.rounds import decoded

if TYPE_CHECKING:
    from ingest.replay.job import OnProgress

_STAGE: Final = "exporting"


async def write_points(
    source: Source,
    selection: Selection,
    sink: TableSink,
    noted: Noted,
    experiments: Mapping[str, str],
    progress: CopyProgress,
    on_progress: OnProgress,
) -> int:
    """Write the points beyond what is noted; return the position they reach."""
    files = _Files(sink, noted, selection.run_ids, experiments)
    after = noted.position
    reading = asyncio.create_task(_read(source, after, progress.head))
    try:
        await _catch_up(source, selection, noted, files, progress)
        while batches := await reading:
            reading = asyncio.create_task(_read(source, batches[-1].last_position, progress.head))
            whole = [batch for batch in batches if not selection.is_over_at(batch)]
            await files.take([batch for batch in whole if selection.takes(batch)], progress)
            if whole:
                last = whole[-1]
                files.reached(LogHead(last.last_position + 1, last.chain_sha256))
            progress.position = files.position
            on_progress(_STAGE, progress)
            await files.write_if_full()
            if len(whole) < len(batches):
                break
        await files.finish()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await files.aclose()
    return files.position


async def _catch_up(
    source: Source, selection: Selection, noted: Noted, files: _Files, progress: CopyProgress
) -> None:
    """Take what came of a run before it was known to be asked for: before its run.started.

    It goes into the first file, which is larger by it.
    """
    for run_id in sorted((selection.run_ids or frozenset()) - (noted.run_ids or frozenset())):
        after = 0
        while after < noted.position:
            batches = await _read(source, after, noted.position, run_id)
            if not batches:
                break
            await files.take(batches, progress)
            after = batches[-1].last_position


class _Files:
    """Gathers points until they fill files, and writes one file while the next is gathered."""

    def __init__(
        self,
        sink: TableSink,
        noted: Noted,
        run_ids: frozenset[str] | None,
        experiments: Mapping[str, str],
    ) -> None:
        self._sink = sink
        self._run_ids = run_ids
        self._experiments = experiments
        self._gatherer = PointsGatherer(experiments)
        self._writing: asyncio.Task[None] | None = None
        self._written = noted.position
        self._head = noted.head

    async def take(self, batches: Sequence[StoredBatch], progress: CopyProgress) -> None:
        def gather() -> None:
            self._gatherer.take(map(decoded, batches))

        await asyncio.to_thread(gather)
        progress.batches += len(batches)
        progress.events += sum(batch.n for batch in batches)
        progress.bytes += sum(len(batch.payload) for batch in batches)

    def reached(self, head: LogHead) -> None:
        """Everything up to there was taken, or is not wanted."""
        self._head = head

    @property
    def position(self) -> int:
        return self._head.next_position - 1

    async def write_if_full(self) -> None:
        if self._gatherer.points >= POINTS_A_FILE:
            await self._settle()
            self._begin_writing()

    async def finish(self) -> None:
        await self._settle()
        if self.position > self._written:
            self._begin_writing()
            await self._settle()

    async def aclose(self) -> None:
        """Break off what is being written; it is not noted then."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def _begin_writing(self) -> None:
        note = Noted(self._head, self._run_ids)
        self._writing = asyncio.create_task(
            _put(self._sink, self._gatherer, after=self._written, note=note)
        )
        self._written, self._gatherer = note.position, PointsGatherer(self._experiments)

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing


async def _put(sink: TableSink, gatherer: PointsGatherer, *, after: int, note: Noted) -> None:
    tables = await asyncio.to_thread(gatherer.tables)
    await sink.put_points(tables, after=after, note=note)


async def _read(
    source: Source, after: int, until: int, run_id: str | None = None
) -> Sequence[StoredBatch]:
    return await source.log.read(
        after=after, batches_max=ROUND_BATCHES, bytes_max=ROUND_BYTES, until=until, run_id=run_id
    )
