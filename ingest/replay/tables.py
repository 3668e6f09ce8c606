"""Replaying a log into tables that other engines read: Parquet files, or a DuckDB database.

First the runs are folded, which says which experiment each belongs to; then points are
written in the order of the log, file by file, each followed by a note of how far that was.
So an export that was killed goes on after its last note, and one repeated later adds what
came since. The small tables are written anew at the end of every export.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ingest.errors import StoreUnavailable
from ingest.replay.comparing import Comparison, compare_points, head_at, tally_log
from ingest.replay.copying import CopyProgress, LogsDiffer
from ingest.replay.points import write_points
from ingest.replay.selection import Select, Selection, fold_without_metrics
from ingest.replay.sinks import Noted, TableSink
from ingest.replay.sources import Source
from projections.parquet_tables import TABLES, experiments_of_runs, tables_of
from projections.sqlite import open_for_reading

if TYPE_CHECKING:
    from ingest.replay.job import OnProgress, ReplayReport, ReplayRequest

FOLLOW_EVERY_S: Final = 10.0


async def export_tables(
    request: ReplayRequest,
    source: Source,
    select: Select,
    sink: TableSink,
    report: ReplayReport,
    on_progress: OnProgress,
) -> Selection:
    """Write, then count and compare what was written. Raises LogsDiffer."""
    progress = CopyProgress(keeps_positions=False)
    with _scratch() as runs:

        async def export() -> tuple[Selection, int, dict[str, int]]:
            selection = await select()
            fold = runs(selection)
            reached, rows = await _export_once(source, selection, sink, fold, progress, on_progress)
            return selection, reached, rows

        selection, reached, rows = await export()
        while request.follow is not None and not request.follow.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(FOLLOW_EVERY_S):
                    await request.follow.wait()
            try:
                await source.refresh()
                selection, reached, rows = await export()
                progress.trouble = ""
            except StoreUnavailable as error:
                if request.follow.is_set():
                    raise
                progress.trouble = str(error)
                on_progress("exporting", progress)
    report.batches, report.events = progress.batches, progress.events
    report.bytes, report.seconds = progress.bytes, round(progress.elapsed_s, 3)
    report.keeps_positions, report.until = False, max(report.until, reached)
    counted = replace(selection, until=reached)
    if request.compare == "full":
        report.comparison = await _compared(source, sink, counted, rows, on_progress)
    return counted


async def _export_once(
    source: Source,
    selection: Selection,
    sink: TableSink,
    runs_path: Path,
    progress: CopyProgress,
    on_progress: OnProgress,
) -> tuple[int, dict[str, int]]:
    """Write what there is now; return the position it reaches, and the rows of small tables."""
    noted = await sink.noted()
    last = (await source.log.head()).next_position - 1
    progress.head = last if selection.until is None else min(last, selection.until)
    await check_goes_on(source, noted, selection, progress.head)
    bounded = replace(selection, until=progress.head)
    await fold_without_metrics(source.log, runs_path, bounded)
    connection = open_for_reading(runs_path)
    rows: dict[str, int] = {}
    try:
        experiments = experiments_of_runs(connection)
        reached = await write_points(
            source, bounded, sink, noted, experiments, progress, on_progress
        )
        pieces = {name: _counted(connection, name, rows) for name in TABLES}
        await sink.put_tables(pieces, position=reached)
    finally:
        connection.close()
    return reached, rows


async def check_goes_on(source: Source, noted: Noted, selection: Selection, end: int) -> None:
    """Raise LogsDiffer unless what was exported is a part of what is asked for now."""
    if noted.position == 0:
        return
    if await head_at(source.log, noted.position) != noted.head:
        raise LogsDiffer(
            "the tables were made from another log than this one; use an empty destination"
        )
    if noted.position > end:
        raise LogsDiffer(
            f"the tables reach position {noted.position} already, and {end} was asked for; use an "
            "empty destination"
        )
    gone = (noted.run_ids or frozenset()) - (selection.run_ids or frozenset())
    if gone:
        raise LogsDiffer(
            f"the tables have runs that are not selected any more, such as {min(gone)}; use an "
            "empty destination"
        )


def _counted(connection: sqlite3.Connection, name: str, rows: dict[str, int]) -> Iterator[Any]:
    rows[name] = 0
    for table in tables_of(connection, name):
        rows[name] += table.num_rows
        yield table


async def _compared(
    source: Source,
    sink: TableSink,
    selection: Selection,
    rows: Mapping[str, int],
    on_progress: OnProgress,
) -> Comparison:
    def on_position(side: str, done: int, total: int) -> None:
        on_progress(f"comparing {side}", CopyProgress(position=done, head=total))

    tally = await tally_log(
        source.log, selection, side="source", on_position=on_position, with_points=True
    )
    comparison = compare_points(tally.by_run(), await sink.points_by_run())
    for name, expected in rows.items():
        found = await sink.rows_of(name)
        if found != expected:
            comparison.differ(f"table {name!r}: {expected:,} rows became {found:,}")
    return comparison


@contextmanager
def _scratch() -> Iterator[Callable[[Selection], Path]]:
    """Where the runs of a selection are folded; gone with the export.

    While the same runs are selected the fold goes on where it was.
    """
    with tempfile.TemporaryDirectory(prefix="tracker-export-") as folder:
        folds: dict[frozenset[str] | None, Path] = {}

        def path_of(selection: Selection) -> Path:
            name = f"runs-{len(folds)}.sqlite"
            return folds.setdefault(selection.run_ids, Path(folder) / name)

        yield path_of
