"""A run's points are read in pieces, so that a run may be larger than the memory is."""

from __future__ import annotations

import asyncio
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.integrations.mlflow_import.database_runs import RunReader
from tracker.integrations.mlflow_import.folder_files import points_of
from tracker.integrations.mlflow_import.points import PIECE_ROWS, RunPoints
from tracker.integrations.mlflow_import.schema import Schema
from tracker.integrations.mlflow_import.source import Skips
from tracker.integrations.mlflow_import.tables import SqliteTables

Make = Callable[[Path, int], Path]


def a_database(path: Path, count: int) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)")
    connection.executemany(
        "INSERT INTO metrics VALUES (?, ?, ?, 'run', ?, 0)",
        (("b" if n % 2 else "a", n / 7, 1_000 + n, n) for n in reversed(range(count))),
    )
    connection.commit()
    connection.close()
    return path


def a_folder(path: Path, count: int) -> Path:
    path.mkdir()
    for key in ("a", "b"):
        lines = (f"{1_000 + n} {n / 7!r} {n}\n" for n in range(count // 2))
        (path / key).write_text("".join(lines))
    return path


def points_at(path: Path) -> RunPoints:
    if path.is_dir():
        return points_of(path, "run", Skips())
    reader = RunReader(Schema(SqliteTables(path)), Skips())
    return asyncio.run(reader.points("run"))


async def read(points: RunPoints, skip: int = 0) -> list[tuple[str, int, int, float]]:
    return [
        (piece.keys[number], step, time_us, value)
        async for piece in points.pieces(skip=skip)
        for number, step, time_us, value in zip(
            piece.key_numbers, piece.steps, piece.times_us, piece.values, strict=True
        )
    ]


@pytest.mark.parametrize("make", [a_database, a_folder])
@pytest.mark.parametrize("skip", [0, 1, PIECE_ROWS, PIECE_ROWS + 3, 2 * PIECE_ROWS])
def test_points_come_again_in_the_same_order_from_any_place_on(
    tmp_path: Path, make: Make, skip: int
) -> None:
    points = points_at(make(tmp_path / "points", 2 * PIECE_ROWS))

    whole = asyncio.run(read(points))

    assert len(whole) == len(set(whole)) == points.about.points == 2 * PIECE_ROWS
    assert asyncio.run(read(points, skip)) == whole[skip:]
    assert (points.about.keys, points.about.first_ms) == (("a", "b"), 1_000)
    assert points.about.last_step == max(step for _, step, _, _ in whole)


@pytest.mark.parametrize("make", [a_database, a_folder])
def test_memory_does_not_grow_with_the_points_of_a_run(tmp_path: Path, make: Make) -> None:
    async def peak_of(points: RunPoints) -> int:
        tracemalloc.start()
        try:
            read = 0
            async for piece in points.pieces(skip=0):
                read += len(piece)
            assert read == points.about.points
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small = asyncio.run(peak_of(points_at(make(tmp_path / "small", 2 * PIECE_ROWS))))
    large = asyncio.run(peak_of(points_at(make(tmp_path / "large", 6 * PIECE_ROWS))))

    assert large < 1.3 * small
