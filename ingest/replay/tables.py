"""Replaying a log into tables that other engines read: Parquet files, or a DuckDB database.

First the runs are folded, which says which experiment each belongs to; then points are
written in the order of the log, file by file, each followed by a note of how far that was.
So an export that was killed goes on after its last note, and one repeated later adds what
came since. The small tables are written anew at the end of every export.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ingest.replay.comparing import Comparison, head_at, tally_log
from ingest.replay.copying import ROUND_BATCHES, ROUND_BYTES, CopyProgress, LogsDiffer
from ingest.replay.places import DuckdbPlace, ParquetPlace
from ingest.replay.selection import Selection, fold_without_metrics
from ingest.replay.sources import Source
from ingest.replay.tally import Count
from projections.log import LogHead, StoredBatch
from projections.parquet_points import POINTS_A_FILE, PointsGatherer
from projections.parquet_tables import TABLES, experiments_of_runs, tables_of
from projections.rounds import decoded
from projections.sqlite import open_for_reading
from tracker.events.errors import TrackerError

if TYPE_CHECKING:
    from ingest.replay.job import OnProgress, ReplayReport, ReplayRequest

FOLLOW_EVERY_S: Final = 10.0


class ExportUnavailable(TrackerError):
    """A package that writes tables is not installed."""


class TableSink(Protocol):
    """Takes tables; what it has noted is durable."""

    async def noted(self) -> LogHead:
        """How far an earlier export came, and the chain there; position 1 for a new one."""
        ...

    async def put_points(self, tables: Mapping[str, Any], *, after: int, head: LogHead) -> None:
        """Points by experiment, of the positions (after, head); noted with them."""
        ...

    async def put_table(self, name: str, tables: list[Any], *, head: LogHead) -> None:
        """Replace one of the small tables."""
        ...

    async def points_by_run(self) -> dict[str, Count]:
        """What there is now: points and points_hash of every run."""
        ...


async def export_tables(
    request: ReplayRequest,
    source: Source,
    selection: Selection,
    report: ReplayReport,
    on_progress: OnProgress,
) -> None:
    """Write, then count and compare what was written. Raises ExportUnavailable, LogsDiffer."""
    async with _open_sink(request, source.workspace, selection) as sink, _scratch() as runs_path:
        progress = CopyProgress(keeps_positions=False)
        while True:
            reached = await _export_once(source, selection, sink, runs_path, progress, on_progress)
            if request.follow is None or request.follow.is_set():
                break
            try:
                async with asyncio.timeout(FOLLOW_EVERY_S):
                    await request.follow.wait()
            except TimeoutError:
                await source.refresh()
        report.batches, report.events = progress.batches, progress.events
        report.bytes, report.seconds = progress.bytes, round(progress.elapsed_s, 3)
        report.keeps_positions, report.until = False, max(report.until, reached)

        def on_position(side: str, done: int, total: int) -> None:
            on_progress(f"comparing {side}", CopyProgress(position=done, head=total))

        if request.compare == "full":
            counted = replace(selection, until=reached)
            tally = await tally_log(
                source.log, counted, side="source", on_position=on_position, with_points=True
            )
            report.comparison = _compared(tally.by_run(), await sink.points_by_run())


async def _export_once(
    source: Source,
    selection: Selection,
    sink: TableSink,
    runs_path: Path,
    progress: CopyProgress,
    on_progress: OnProgress,
) -> int:
    """Write what there is now; return the position it reaches. `runs_path` keeps the fold."""
    noted = await sink.noted()
    after = noted.next_position - 1
    if await head_at(source.log, after) != noted:
        raise LogsDiffer(
            "the tables were made from another log than this one; use an empty destination"
        )
    last = (await source.log.head()).next_position - 1
    progress.head = last if selection.until is None else min(last, selection.until)
    bounded = replace(selection, until=progress.head)
    await fold_without_metrics(source.log, runs_path, until=progress.head)
    connection = open_for_reading(runs_path)
    try:
        experiments = experiments_of_runs(connection)
        head = await _write_points(source, bounded, sink, noted, experiments, progress, on_progress)
        for name in TABLES:
            pieces = list(tables_of(connection, name, run_ids=selection.run_ids))
            await sink.put_table(name, pieces, head=head)
    finally:
        connection.close()
    return head.next_position - 1


async def _write_points(
    source: Source,
    selection: Selection,
    sink: TableSink,
    noted: LogHead,
    experiments: Mapping[str, str],
    progress: CopyProgress,
    on_progress: OnProgress,
) -> LogHead:
    """Reading, decoding and writing overlap: each file is written while the next is gathered."""
    after = written = noted.next_position - 1
    head = noted
    gatherer = PointsGatherer(experiments)
    writing: asyncio.Task[None] | None = None
    reading = asyncio.create_task(_read(source, after, progress.head))
    try:
        while batches := await reading:
            reading = asyncio.create_task(_read(source, batches[-1].last_position, progress.head))
            whole = [batch for batch in batches if not selection.is_over_at(batch)]
            wanted = [batch for batch in whole if selection.takes(batch)]
            await asyncio.to_thread(lambda rows, to: to.take(map(decoded, rows)), wanted, gatherer)
            if whole:
                head = LogHead(whole[-1].last_position + 1, whole[-1].chain_sha256)
            progress.batches += len(wanted)
            progress.events += sum(batch.n for batch in wanted)
            progress.bytes += sum(len(batch.payload) for batch in wanted)
            progress.position = head.next_position - 1
            on_progress("exporting", progress)
            if gatherer.points >= POINTS_A_FILE:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(_put(sink, gatherer, written, head))
                written, gatherer = head.next_position - 1, PointsGatherer(experiments)
            if len(whole) < len(batches):
                break
        if writing is not None:
            await writing
            writing = None
        if head.next_position - 1 > written:
            await _put(sink, gatherer, written, head)
    finally:
        for task in (reading, writing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    return head


async def _put(sink: TableSink, gatherer: PointsGatherer, after: int, head: LogHead) -> None:
    tables = await asyncio.to_thread(gatherer.tables)
    await sink.put_points(tables, after=after, head=head)


async def _read(source: Source, after: int, until: int) -> list[StoredBatch]:
    return list(
        await source.log.read(
            after=after, batches_max=ROUND_BATCHES, bytes_max=ROUND_BYTES, until=until
        )
    )


def _compared(expected: Mapping[str, Count], found: Mapping[str, Count]) -> Comparison:
    comparison = Comparison()
    total = Count()
    for run_id, count in sorted(expected.items()):
        comparison.runs += bool(run_id)
        total.add(count)
        other = found.get(run_id, Count())
        comparison.hashes[run_id] = f"{count.points_hash:016x}"
        if (count.points, count.points_hash) != (other.points, other.points_hash):
            comparison.differ(
                f"run {run_id!r}: {count.points:,} points ({count.points_hash:016x}) became "
                f"{other.points:,} ({other.points_hash:016x})"
            )
    for run_id in sorted(found.keys() - expected.keys()):
        comparison.differ(f"run {run_id!r} is in the tables and not in the source")
    comparison.events, comparison.points = total.events, total.points
    comparison.dropped, comparison.state_hash = total.dropped, f"{total.points_hash:016x}"
    return comparison


@asynccontextmanager
async def _scratch() -> AsyncIterator[Path]:
    """Where the runs are folded; gone with the export."""
    with tempfile.TemporaryDirectory(prefix="tracker-export-") as folder:
        yield Path(folder) / "runs.sqlite"


@asynccontextmanager
async def _open_sink(
    request: ReplayRequest, workspace: str, selection: Selection
) -> AsyncIterator[TableSink]:
    place = request.destination
    about = {
        "workspace": workspace,
        "runs": None if selection.run_ids is None else sorted(selection.run_ids),
    }
    match place:
        case ParquetPlace(location):
            needed("pyarrow")
            from ingest.archive.objects import open_objects
            from ingest.replay.parquet_sink import ParquetSink

            async with open_objects(location) as objects:
                yield await ParquetSink.open(objects, about)
        case DuckdbPlace(path):
            needed("pyarrow", "duckdb")
            from ingest.replay.duckdb_sink import DuckdbSink

            sink = await asyncio.to_thread(DuckdbSink, path, about)
            try:
                yield sink
            finally:
                sink.close()
        case _:
            raise AssertionError(place)


def needed(*packages: str, find: Callable[[str], object] | None = None) -> None:
    """Raise ExportUnavailable, with what to install, unless all of them are there."""
    from importlib.util import find_spec

    missing = [name for name in packages if (find or find_spec)(name) is None]
    if missing:
        raise ExportUnavailable(
            f"writing these tables needs the package {' and '.join(missing)}: "
            "pip install 'tracker[export]'"
        )
