"""The files of a folder `mlruns` that hold params, tags and metrics: one for each key.

A metric's file has a line for each point, `time value step` and more for models. Points are
read key by key, each file in its own order. What cannot be read is put into `skips`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from tracker.events.limits import INT64_MAX, INT64_MIN
from tracker.integrations.mlflow_import.points import (
    PIECE_ROWS,
    PointRow,
    PointsAbout,
    RunPoints,
    refused_keys,
)
from tracker.integrations.mlflow_import.source import ModelPoint, Skips

# No param and no tag of MLflow's is so long; whatever else lies there is none.
_TEXT_BYTES_MAX: Final = 1024 * 1024
_LINE_CHARACTERS_MAX: Final = 4096


def texts_of(folder: Path, skips: Skips) -> dict[str, str]:
    found = {}
    for key, path in _named_files(folder):
        try:
            if path.stat().st_size > _TEXT_BYTES_MAX:
                reason = f"it is larger than {_TEXT_BYTES_MAX} bytes"
                skips.add("file", reason, str(path))
                continue
            found[key] = path.read_bytes().decode()
        except (OSError, ValueError) as error:
            skips.add("file", f"it cannot be read: {type(error).__name__}", str(path))
    return found


def points_of(folder: Path, run_id: str, skips: Skips) -> RunPoints:
    counts, first_ms, last_ms, last_step = Counter[str](), INT64_MAX, INT64_MIN, INT64_MIN
    for row in _point_rows(folder, run_id, skips):
        counts[row.key] += 1
        first_ms, last_ms = min(first_ms, row.time_ms), max(last_ms, row.time_ms)
        last_step = max(last_step, row.step)
    refused = refused_keys(counts, run_id, skips)
    keys = tuple(sorted(counts.keys() - refused))
    count = sum(counts[key] for key in keys)
    about = PointsAbout(keys, count, first_ms, last_ms, last_step) if count else PointsAbout()

    async def pieces() -> AsyncIterator[Sequence[PointRow]]:
        # What cannot be read was counted above.
        rows = _point_rows(folder, run_id, Skips())
        while piece := list(islice(rows, PIECE_ROWS)):
            yield piece

    return RunPoints(about, pieces, refused=refused)


def model_points_of(folder: Path, skips: Skips) -> Iterator[ModelPoint]:
    for key, path in _named_files(folder / "metrics"):
        for line in _lines(path, skips):
            row = _point_row(key, line)
            if row is None:
                what = f"{folder.name}: {key}"
                skips.add("model point", "a line that is no point", what)
                continue
            run_id, name, digest = (*line.split(" ")[3:6], "", "", "")[:3]
            yield ModelPoint(
                key, row.value, row.step, row.time_ms, run_id, name or None, digest or None
            )


def _point_rows(folder: Path, run_id: str, skips: Skips) -> Iterator[PointRow]:
    for key, path in _named_files(folder):
        for line in _lines(path, skips):
            row = _point_row(key, line)
            if row is None:
                skips.add("point", "a line that is no point", f"{run_id}: {key}")
            else:
                yield row


def _lines(path: Path, skips: Skips) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            while line := file.readline(_LINE_CHARACTERS_MAX):
                if not line.isspace():
                    yield line.strip()
    except (OSError, ValueError) as error:
        skips.add("file", f"it cannot be read: {type(error).__name__}", str(path))


def _named_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(key, file): a key with slashes lies in folders of its own."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink() and path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _point_row(key: str, line: str) -> PointRow | None:
    fields = line.split(" ")
    try:
        time_ms, value = int(fields[0]), float(fields[1])
        step = int(fields[2]) if len(fields) > 2 else 0
    except (ValueError, IndexError):
        return None
    if not (INT64_MIN <= step <= INT64_MAX and INT64_MIN <= time_ms <= INT64_MAX):
        return None
    return PointRow(key, step, time_ms, value)
