"""One replay from its beginning to its comparison: what `tracker replay` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias

from ingest.archive.log import open_archive
from ingest.replay.blobs import BlobReport, copy_blobs
from ingest.replay.comparing import Comparison, compare_heads, compare_logs
from ingest.replay.copying import CopyProgress, copy_log
from ingest.replay.destinations import LogDestination, continues, open_destination
from ingest.replay.places import (
    ArchivePlace,
    DuckdbPlace,
    LogPlace,
    ParquetPlace,
    Place,
    PlaceNotUnderstood,
    ServerPlace,
    SqlitePlace,
    is_same,
)
from ingest.replay.selection import Selection, select
from ingest.replay.sources import Source, open_source
from projections.log import LogHead
from projections.past_positions import position_at

OnProgress: TypeAlias = Callable[[str, CopyProgress], None]
"""(stage, progress): copying, then comparing source and destination."""

FULL: Final = "full"
QUICK: Final = "quick"


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What to replay. `follow` is set by whoever wants the copy to stop following."""

    source: LogPlace
    destination: Place
    workspace: str | None = None
    api_key: str | None = None
    destination_api_key: str | None = None
    until_position: int | None = None
    until_time_us: int | None = None
    run_ids: Sequence[str] = ()
    experiments: Sequence[str] = ()
    merge: bool = False
    compare: str = FULL
    dry_run: bool = False
    artifacts: bool = False
    source_artifacts: str | None = None
    destination_artifacts: str | None = None
    follow: asyncio.Event | None = None


@dataclass(slots=True)
class ReplayReport:
    """What was done. `until` is the last position of the source that was asked for."""

    workspace: str = ""
    until: int = 0
    batches: int = 0
    events: int = 0
    bytes: int = 0
    seconds: float = 0.0
    keeps_positions: bool = True
    dry_run: bool = False
    comparison: Comparison | None = None
    artifacts: BlobReport | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        has_all = self.artifacts is None or not self.artifacts.missing
        return has_all and (self.comparison is None or self.comparison.is_equal)

    def as_json(self) -> dict[str, Any]:
        said = {
            name: getattr(self, name)
            for name in (
                "workspace", "until", "batches", "events", "bytes", "seconds",
                "keeps_positions", "dry_run", "notes",
            )
        }  # fmt: skip
        said["comparison"] = None if self.comparison is None else self.comparison.as_json()
        said["artifacts"] = None if self.artifacts is None else asdict(self.artifacts)
        said["equal"] = self.is_equal
        return said


async def replay(request: ReplayRequest, on_progress: OnProgress) -> ReplayReport:
    """Copy, then compare. May be killed at any moment and called again.

    Raises PlaceNotUnderstood, LogsDiffer, NothingSelected, and what the stores raise.
    """
    if is_same(request.source, request.destination):
        raise PlaceNotUnderstood(
            f"{request.source} is both source and destination; there is nothing to replay"
        )
    if request.follow is not None and _has_end(request):
        raise PlaceNotUnderstood("--follow has no end: leave out --until-position and --until-time")
    async with open_source(
        request.source, workspace=request.workspace, api_key=request.api_key
    ) as source:
        selection = await _select(request, source)
        report = ReplayReport(workspace=source.workspace, dry_run=request.dry_run)
        report.until = (await source.log.head()).next_position - 1
        if selection.until is not None:
            report.until = min(report.until, selection.until)
        if request.dry_run:
            await _look_ahead(request, source, selection, report)
            return report
        if isinstance(request.destination, ParquetPlace | DuckdbPlace):
            from ingest.replay.tables import export_tables

            await export_tables(request, source, selection, report, on_progress)
        else:
            await _into_log(request, request.destination, source, selection, report, on_progress)
        if request.artifacts:
            report.artifacts = await copy_blobs(request, source, selection)
    return report


async def _into_log(
    request: ReplayRequest,
    place: LogPlace,
    source: Source,
    selection: Selection,
    report: ReplayReport,
    on_progress: OnProgress,
) -> None:
    api_key = request.destination_api_key or request.api_key
    async with open_destination(place, workspace=source.workspace, api_key=api_key) as destination:
        merge = request.merge or await _server_has_others(request, source, destination)
        progress = await copy_log(
            source,
            destination,
            selection,
            merge=merge,
            follow=request.follow,
            on_progress=lambda progress: on_progress("copying", progress),
        )
        _fill(report, progress)
        if not progress.keeps_positions:
            report.notes.append(
                "the copy has positions, arrival times and a hash chain of its own; run ids, "
                "writers, sequence numbers and recorded times are the source's"
            )
        report.comparison = await _compared(
            request, source, destination, selection, progress, on_progress
        )


async def _compared(
    request: ReplayRequest,
    source: Source,
    destination: LogDestination,
    selection: Selection,
    progress: CopyProgress,
    on_progress: OnProgress,
) -> Comparison:
    if request.follow is not None:
        # The source goes on: what is compared is what had been copied.
        selection = Selection(progress.position, selection.run_ids)
    if request.compare == QUICK and progress.keeps_positions:
        comparison = Comparison(events=progress.events)
        await compare_heads(source.log, destination.log, selection, comparison)
        return comparison

    def on_position(side: str, done: int, total: int) -> None:
        on_progress(f"comparing {side}", CopyProgress(position=done, head=total))

    return await compare_logs(
        source.log,
        destination.log,
        selection,
        keeps_positions=progress.keeps_positions,
        on_position=on_position,
    )


async def _server_has_others(
    request: ReplayRequest, source: Source, destination: LogDestination
) -> bool:
    """A server that has runs of its own gets what it lacks; another log must be asked to."""
    is_server = isinstance(request.destination, ServerPlace)
    return is_server and not await continues(source.log, await destination.head())


async def _select(request: ReplayRequest, source: Source) -> Selection:
    until = request.until_position
    if request.until_time_us is not None:
        then = await position_at(source.log, request.until_time_us)
        until = then if until is None else min(until, then)
    return await select(
        source.log, until=until, run_ids=request.run_ids, experiments=request.experiments
    )


async def _look_ahead(
    request: ReplayRequest, source: Source, selection: Selection, report: ReplayReport
) -> None:
    """Count what would be written, and change nothing."""
    after = 0
    if not selection.is_filtered and not request.merge:
        after = (await _head_there(request, source)).next_position - 1
    while batches := await source.log.read(
        after=after, batches_max=4_000, bytes_max=8 * 1024 * 1024, until=report.until
    ):
        for batch in batches:
            if selection.takes(batch):
                report.batches += 1
                report.events += batch.n
                report.bytes += len(batch.payload)
        after = batches[-1].last_position
    report.keeps_positions = not (selection.is_filtered or request.merge)


async def _head_there(request: ReplayRequest, source: Source) -> LogHead:
    """Where the destination's log ends, as far as there is one."""
    place = request.destination
    if isinstance(place, ParquetPlace | DuckdbPlace):
        return LogHead()
    if isinstance(place, SqlitePlace) and not place.path.exists():
        return LogHead()
    if isinstance(place, ArchivePlace):
        async with open_archive(place.location, workspace=source.workspace) as archive:
            return await archive.head()
    api_key = request.destination_api_key or request.api_key
    async with open_source(place, workspace=source.workspace, api_key=api_key) as there:
        return await there.log.head()


def _has_end(request: ReplayRequest) -> bool:
    return request.until_position is not None or request.until_time_us is not None


def _fill(report: ReplayReport, progress: CopyProgress) -> None:
    report.batches, report.events = progress.batches, progress.events
    report.bytes, report.seconds = progress.bytes, round(progress.elapsed_s, 3)
    report.keeps_positions = progress.keeps_positions
    report.until = max(report.until, progress.position)
