"""Proving projections: every row of a serving build equals that of a rebuild from the log."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from projections.builds import Build, Builds
from projections.findings import (
    Fault,
    OnProgress,
    ProjectionProof,
    VerifyProgress,
    VerifyReport,
)
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.rebuild import fold_into
from projections.runs_store import LIVE_TABLES
from projections.sqlite import FileRows, open_for_reading
from projections.table_rows import TableRows, canonical

# Per table; a wrong fold makes every row wrong, and a handful says which.
ROWS_LISTED_MAX: Final = 20

ROWS_PER_PROGRESS: Final = 20_000


async def verify_build(
    kind: ProjectionKind,
    build: Build,
    log: EventLogReader,
    *,
    builds: Builds,
    report: VerifyReport,
    on_progress: OnProgress,
) -> None:
    """Rebuild into a temporary file up to the build's position, and compare row by row.

    The build may be live: it is compared as one snapshot shows it. Most of the rebuild is
    done before the snapshot is taken, as a long one would let the live file's WAL grow.
    """
    head = (await log.head()).next_position - 1
    with ExitStack() as stack:
        try:
            live = open_for_reading(build.path)
            stack.callback(live.close)
            position = position_of(live, kind.name)
        except sqlite3.Error as error:
            report.add(Fault.PROJECTION_UNREADABLE, f"{build.path} cannot be read: {error}")
            return
        if position > head:
            report.add(
                Fault.PROJECTION_AHEAD,
                f"projection {kind.name} is at {position}, beyond the log's end at {head}",
                position=position,
            )
            return
        rebuilt_path = stack.enter_context(scratch(builds)) / build.path.name
        projection = kind.open(rebuilt_path, log)

        def on_position(done: int) -> None:
            on_progress(VerifyProgress(kind.name, done, max(position, done)))

        try:
            await fold_into(projection, log, until=position, on_position=on_position)
            live.execute("BEGIN")
            position = position_of(live, kind.name)
            await fold_into(projection, log, until=position, on_position=on_position)
        except Exception as error:  # noqa: BLE001 - whatever stops it is the finding
            report.add(
                Fault.PROJECTION_CANNOT_BE_REBUILT,
                f"projection {kind.name} cannot be rebuilt: {type(error).__name__}: {error}",
            )
            return
        finally:
            await projection.aclose()
        rebuilt = sqlite3.connect(rebuilt_path)
        stack.callback(rebuilt.close)
        try:
            proof = ProjectionProof(kind.name, build.version, position, 0, {})
            compare(FileRows(live), FileRows(rebuilt), proof, report, on_progress)
            report.projections.append(proof)
        except sqlite3.Error as error:
            report.add(Fault.PROJECTION_UNREADABLE, f"{build.path} cannot be read: {error}")


def compare(
    live: TableRows,
    rebuilt: TableRows,
    proof: ProjectionProof,
    report: VerifyReport,
    on_progress: OnProgress,
) -> None:
    """Compare all tables of two builds, streaming both in order of their primary keys."""
    tables, expected_tables = live.tables(), rebuilt.tables()
    for table in sorted(expected_tables.keys() | tables.keys()):
        if table in LIVE_TABLES:
            _report_letters(live, report)
            continue
        if tables.get(table) != expected_tables.get(table):
            report.add(
                Fault.PROJECTION_ROW_WRONG,
                f"{proof.name}: table {table} has columns {tables.get(table)}, "
                f"not {expected_tables.get(table)}",
            )
            continue
        _compare_table(live, rebuilt, table, tables[table], proof, report, on_progress)


def _compare_table(
    live: TableRows,
    rebuilt: TableRows,
    table: str,
    columns: tuple[str, ...],
    proof: ProjectionProof,
    report: VerifyReport,
    on_progress: OnProgress,
) -> None:
    digest = sha256()
    wrong = 0
    keys = live.key_length(table)
    pairs = _paired(live.rows(table), rebuilt.rows(table), keys_length=keys)
    for row, expected in pairs:
        if row is not None:
            proof.rows += 1
            if proof.rows % ROWS_PER_PROGRESS == 0:
                on_progress(VerifyProgress(f"{proof.name} rows", proof.rows, proof.rows))
            encoded = canonical(row)
            digest.update(encoded)
            if expected is not None and encoded == canonical(expected):
                continue
        wrong += 1
        if wrong <= ROWS_LISTED_MAX:
            report.add(
                Fault.PROJECTION_ROW_WRONG,
                f"{proof.name}: {table} {_difference(columns, keys, row, expected)}",
            )
    if wrong > ROWS_LISTED_MAX:
        report.add(
            Fault.PROJECTION_ROW_WRONG,
            f"{proof.name}: {table} has {wrong - ROWS_LISTED_MAX} more rows that are wrong",
        )
    proof.hashes[table] = digest.hexdigest()


def _paired(
    live: Iterator[tuple[Any, ...]], rebuilt: Iterator[tuple[Any, ...]], *, keys_length: int
) -> Iterator[tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]]:
    """Merge two streams, ordered by key, into pairs of one key; None where a side has none."""
    row, expected = next(live, None), next(rebuilt, None)
    while row is not None or expected is not None:
        if row is not None and expected is not None:
            key, expected_key = row[:keys_length], expected[:keys_length]
            is_here = key == expected_key or _sorts_before(key, expected_key)
            is_there = key == expected_key or not is_here
        else:
            is_here, is_there = row is not None, expected is not None
        yield (row if is_here else None, expected if is_there else None)
        row = next(live, None) if is_here else row
        expected = next(rebuilt, None) if is_there else expected


def _sorts_before(key: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """SQLite's order: NULL, numbers, text by its UTF-8 bytes, blobs."""
    return [_rank(value) for value in key] < [_rank(value) for value in other]


def _rank(value: Any) -> tuple[int, Any]:
    match value:
        case None:
            return (0, 0)
        case int() | float():
            return (1, value)
        case str():
            return (2, value.encode("utf-8", "surrogatepass"))
        case _:
            return (3, bytes(value))


def _difference(
    columns: tuple[str, ...],
    keys_length: int,
    row: tuple[Any, ...] | None,
    expected: tuple[Any, ...] | None,
) -> str:
    of = row if row is not None else expected
    assert of is not None
    key = ", ".join(f"{columns[i]}={of[i]!r}" for i in range(keys_length))
    if row is None:
        return f"({key}) is missing"
    if expected is None:
        return f"({key}) should not be there"
    wrong = [
        f"{name} is {found!r}, should be {should!r}"
        for name, found, should in zip_longest(columns, row, expected)
        if canonical((found,)) != canonical((should,))
    ]
    return f"({key}): {'; '.join(wrong)}"


def _report_letters(live: TableRows, report: VerifyReport) -> None:
    for position, reason, run_id in live.rows("dead_letter"):
        report.add(
            Fault.DEAD_LETTER,
            f"the batch at position {position} of run {run_id!r} could not be folded: {reason}",
            position=position,
        )


def position_of(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT position FROM projection WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def scratch(builds: Builds) -> Iterator[Path]:
    """A temporary folder on the store's own disk, or elsewhere where that cannot be written."""
    prefix = f"verify-{os.getpid()}-"
    try:
        builds.folder.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=builds.folder)
    except OSError:
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    with folder as name:
        yield Path(name)
