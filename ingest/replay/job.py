"""One replay from its beginning to its comparison: what `tracker replay` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, TypeAlias

from ingest.replay.blob_places import blobs_of
from ingest.replay.blobs import BlobReport, copy_blobs
from ingest.replay.comparing import Comparison, compare_heads, compare_logs
from ingest.replay.copying import CopyProgress, copy_log
from ingest.replay.destinations import LogDestination, is_to_be_merged, open_destination
from ingest.replay.looking import look_ahead
from ingest.replay.places import (
    DuckdbPlace,
    LogPlace,
    ParquetPlace,
    Place,
    PlaceNotUnderstood,
    ServerPlace,
    is_same,
)
from ingest.replay.selection import Select, Selection, selecting
from ingest.replay.sources import Source, open_source
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

    @property
    def key_there(self) -> str | None:
        return self.destination_api_key or self.api_key

    @property
    def source_blobs(self) -> str | ServerPlace:
        return blobs_of(self.source, self.source_artifacts, "--src-artifacts")

    @property
    def destination_blobs(self) -> str | ServerPlace:
        return blobs_of(self.destination, self.destination_artifacts, "--dst-artifacts")

    def check(self) -> None:
        """Raise PlaceNotUnderstood, before anything is written, where it cannot be done."""
        if is_same(self.source, self.destination):
            raise PlaceNotUnderstood(
                f"{self.source} is both source and destination; there is nothing to replay"
            )
        has_end = self.until_position is not None or self.until_time_us is not None
        if self.follow is not None and has_end:
            raise PlaceNotUnderstood(
                "--follow has no end: leave out --until-position and --until-time"
            )
        if self.artifacts and self.source_blobs == self.destination_blobs:
            raise PlaceNotUnderstood(
                f"both sides have their artifacts at {self.source_blobs}: leave out --artifacts"
            )


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
    request.check()
    async with open_source(
        request.source, workspace=request.workspace, api_key=request.api_key
    ) as source:
        until = await _until(request, source)
        async with selecting(
            source.log, until=until, run_ids=request.run_ids, experiments=request.experiments
        ) as select:
            report = ReplayReport(workspace=source.workspace, dry_run=request.dry_run)
            report.until = (await source.log.head()).next_position - 1
            if until is not None:
                report.until = min(report.until, until)
            if request.dry_run:
                await look_ahead(request, source, await select(), report)
                return report
            if isinstance(request.destination, ParquetPlace | DuckdbPlace):
                selection = await _into_tables(request, source, select, report, on_progress)
            else:
                place = request.destination
                selection = await _into_log(request, place, source, select, report, on_progress)
        if request.artifacts:

            def on_bytes(done: int, total: int) -> None:
                on_progress("artifacts, bytes", CopyProgress(position=done, head=total))

            report.artifacts = await copy_blobs(request, source, selection, on_bytes)
    return report


async def _into_tables(
    request: ReplayRequest,
    source: Source,
    select: Select,
    report: ReplayReport,
    on_progress: OnProgress,
) -> Selection:
    from ingest.replay.sinks import open_sink
    from ingest.replay.tables import export_tables

    async with open_sink(request, source.workspace) as sink:
        return await export_tables(request, source, select, sink, report, on_progress)


async def _into_log(
    request: ReplayRequest,
    place: LogPlace,
    source: Source,
    select: Select,
    report: ReplayReport,
    on_progress: OnProgress,
) -> Selection:
    """Returns what had been selected, and copied, in the end."""
    async with open_destination(
        place, workspace=source.workspace, api_key=request.key_there
    ) as destination:
        merge = request.merge or await is_to_be_merged(place, source.log, await destination.head())
        progress = await copy_log(
            source,
            destination,
            select,
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
        selection = progress.selection
        if request.follow is not None:
            # The source goes on: what is compared is what had been copied.
            selection = replace(selection, until=progress.position)
        report.comparison = await _compared(
            request, source, destination, selection, progress, on_progress
        )
    return selection


async def _compared(
    request: ReplayRequest,
    source: Source,
    destination: LogDestination,
    selection: Selection,
    progress: CopyProgress,
    on_progress: OnProgress,
) -> Comparison:
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


async def _until(request: ReplayRequest, source: Source) -> int | None:
    """The position that both --until-position and --until-time allow; None for no end."""
    until = request.until_position
    if request.until_time_us is None:
        return until
    then = await position_at(source.log, request.until_time_us)
    return then if until is None else min(until, then)


def _fill(report: ReplayReport, progress: CopyProgress) -> None:
    report.batches, report.events = progress.batches, progress.events
    report.bytes, report.seconds = progress.bytes, round(progress.elapsed_s, 3)
    report.keeps_positions = progress.keeps_positions
    report.until = max(report.until, progress.position)
