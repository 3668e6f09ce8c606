"""What lies in this machine's spool of a run, by whichever process wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracker.events.types import EventType


def facts(spool_dir: Path, run_id: str) -> Iterator[dict[str, Any]]:
    """Every record of the run that is still in the spool, writer by writer."""
    folder = _folder(spool_dir, run_id)
    if folder is not None:
        from tracker.spool.inspection import records_of

        yield from records_of(folder)


def points(spool_dir: Path, run_id: str, key: str) -> Iterator[tuple[int, int, float]]:
    """(step, time in microseconds, value) of every point of the metric in the spool."""
    for row in facts(spool_dir, run_id):
        if row["type"] == EventType.METRICS_LOGGED and key in row["metrics"]:
            yield row["step"], row["time_us"], row["metrics"][key]


def has_unsent(spool_dir: Path, run_id: str) -> bool:
    """Whether anything of the run waits to be confirmed by a server."""
    folder = _folder(spool_dir, run_id)
    if folder is None:
        return False
    from tracker.spool.inspection import summaries

    return any(summary.unsent for summary in summaries(folder))


def _folder(spool_dir: Path, run_id: str) -> Path | None:
    folder = spool_dir / run_id
    return folder if folder.is_dir() else None
