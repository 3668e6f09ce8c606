"""Looking ahead: what a replay would write, told without writing anything anywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ingest.replay.blobs import named_blobs
from ingest.replay.copying import ROUND_BATCHES, ROUND_BYTES, check_continues
from ingest.replay.destinations import is_to_be_merged
from ingest.replay.places import DuckdbPlace, LogPlace, ParquetPlace, PostgresPlace, SqlitePlace
from ingest.replay.selection import Selection
from ingest.replay.sources import NoArchive, Source, open_source
from projections.log import EventLogReader, StoredBatch

if TYPE_CHECKING:
    from ingest.replay.job import ReplayReport, ReplayRequest

IsThere = Callable[[StoredBatch], bool]


async def look_ahead(
    request: ReplayRequest, source: Source, selection: Selection, report: ReplayReport
) -> None:
    """Count what would be written. Raises LogsDiffer, as the replay itself would."""
    is_there = await _what_is_there(request, source, selection, report)
    async for batch in _batches(source.log, until=report.until):
        if selection.takes(batch) and not is_there(batch):
            report.batches += 1
            report.events += batch.n
            report.bytes += len(batch.payload)
    if request.artifacts:
        sizes = await named_blobs(source, selection)
        report.notes.append(
            f"the trees of what is selected name {len(sizes):,} files, "
            f"{sum(sizes.values()) / 1e6:,.1f} MB; those that the destination lacks are copied"
        )


async def _what_is_there(
    request: ReplayRequest, source: Source, selection: Selection, report: ReplayReport
) -> IsThere:
    place = request.destination
    if isinstance(place, ParquetPlace | DuckdbPlace):
        return await _in_tables(request, source, selection, report)
    async with AsyncExitStack() as opened:
        log = await _log_at(place, source.workspace, request.key_there, opened)
        if log is None:
            report.keeps_positions = not (selection.is_filtered or request.merge)
            return lambda batch: False
        head = await log.head()
        merge = request.merge or await is_to_be_merged(place, source.log, head)
        report.keeps_positions = not (selection.is_filtered or merge)
        if report.keeps_positions:
            await check_continues(source.log, head)
            return lambda batch: batch.first_position < head.next_position
        ends: defaultdict[str, int] = defaultdict(int)
        async for batch in _batches(log, until=head.next_position - 1):
            ends[batch.writer_id] = max(ends[batch.writer_id], batch.first_seq + batch.n)
        return lambda batch: batch.first_seq + batch.n <= ends[batch.writer_id]


async def _in_tables(
    request: ReplayRequest, source: Source, selection: Selection, report: ReplayReport
) -> IsThere:
    from ingest.replay.sinks import look_at_sink
    from ingest.replay.tables import check_goes_on

    report.keeps_positions = False
    noted = await look_at_sink(request, source.workspace)
    await check_goes_on(source, noted, selection, report.until)
    return lambda batch: (
        batch.last_position <= noted.position
        and (noted.run_ids is None or not batch.run_id or batch.run_id in noted.run_ids)
    )


async def _log_at(
    place: LogPlace, workspace: str, api_key: str | None, opened: AsyncExitStack
) -> EventLogReader | None:
    """The destination's log; None when there is none yet."""
    if isinstance(place, SqlitePlace) and not place.path.exists():
        return None
    opening = open_source(place, workspace=workspace, api_key=api_key)
    if isinstance(place, PostgresPlace):
        from ingest.event_stores.postgres_reader import NoSuchWorkspace

        try:
            return (await opened.enter_async_context(opening)).log
        except NoSuchWorkspace:
            return None
    try:
        return (await opened.enter_async_context(opening)).log
    except NoArchive:
        return None


async def _batches(log: EventLogReader, *, until: int) -> AsyncIterator[StoredBatch]:
    after = 0
    while batches := await log.read(
        after=after, batches_max=ROUND_BATCHES, bytes_max=ROUND_BYTES, until=until
    ):
        for batch in batches:
            yield batch
        after = batches[-1].last_position
