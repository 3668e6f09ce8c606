"""What of a log is replayed: up to where, and which runs."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from projections.columns import decode_without_metrics
from projections.log import EventLogReader, StoredBatch
from projections.projection import DecodedBatch
from projections.rounds import ROUND_BATCHES_MAX, ROUND_BYTES_MAX, check_digest, groups_of
from projections.runs_store import RunsProjection
from projections.sqlite import open_for_reading
from tracker.events.errors import TrackerError


class NothingSelected(TrackerError):
    """A run or an experiment that was asked for is not in the log."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`run_ids` None: everything. Facts of the workspace always come along.

    `until` cuts between batches: one that ends beyond it is left out whole, as a part of a
    batch has neither the checksum nor the link in the chain that the whole one has.
    """

    until: int | None = None
    run_ids: frozenset[str] | None = None

    @property
    def is_filtered(self) -> bool:
        return self.run_ids is not None

    def takes(self, batch: StoredBatch) -> bool:
        is_in_time = self.until is None or batch.last_position <= self.until
        is_asked_for = self.run_ids is None or not batch.run_id or batch.run_id in self.run_ids
        return is_in_time and is_asked_for

    def is_over_at(self, batch: StoredBatch) -> bool:
        """Whether neither this batch nor any after it is wanted."""
        return self.until is not None and batch.last_position > self.until


Select = Callable[[], Awaitable[Selection]]
"""What is selected now: an experiment that is followed gets further runs."""


@asynccontextmanager
async def selecting(
    log: EventLogReader,
    *,
    until: int | None,
    run_ids: Sequence[str],
    experiments: Sequence[str],
) -> AsyncIterator[Select]:
    """Resolve names, again whenever it is asked and the log has grown.

    Asking raises NothingSelected when one of them is not in the log.
    """
    known: Selection | None = None
    seen = -1

    async def select() -> Selection:
        nonlocal known, seen
        last = (await log.head()).next_position - 1
        if known is None or last > seen:
            seen = last
            known = Selection(until, await _selected(log, path, until, run_ids, experiments))
        return known

    with tempfile.TemporaryDirectory(prefix="tracker-replay-") as folder:
        path = Path(folder) / "runs.sqlite"
        yield select


async def _selected(
    log: EventLogReader,
    path: Path,
    until: int | None,
    run_ids: Sequence[str],
    experiments: Sequence[str],
) -> frozenset[str] | None:
    if not run_ids and not experiments:
        return None
    for run_id in run_ids:
        if not await log.read(after=0, batches_max=1, bytes_max=1, run_id=run_id, until=until):
            raise NothingSelected(f"the log has no run {run_id!r}")
    if not experiments:
        return frozenset(run_ids)
    await fold_without_metrics(log, path, Selection(until))
    connection = open_for_reading(path)
    try:
        found = (_runs_of(connection, experiment) for experiment in experiments)
        return frozenset(run_ids).union(*found)
    finally:
        connection.close()


def _runs_of(connection: sqlite3.Connection, experiment: str) -> set[str]:
    """The runs of an experiment named by id or name."""
    ids = connection.execute(
        "SELECT experiment_id FROM experiment WHERE experiment_id = :asked OR name = :asked",
        {"asked": experiment},
    ).fetchall()
    if not ids:
        raise NothingSelected(f"the log has no experiment {experiment!r}")
    runs: set[str] = set()
    for row in ids:
        found = connection.execute("SELECT run_id FROM run WHERE experiment_id = ?", row)
        runs.update(run_id for (run_id,) in found)
    return runs


async def fold_without_metrics(log: EventLogReader, path: Path, selection: Selection) -> None:
    """Fold what is selected, all but points, into a file; goes on where it ended.

    Of each batch's metrics one record is folded, so that a run that has nothing else exists;
    the summaries of metrics in the file mean nothing. Raises CorruptPayload.
    """
    projection = RunsProjection(path)
    until = selection.until
    try:
        after = await projection.position()
        while batches := await log.read(
            after=after, batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX, until=until
        ):
            for group in groups_of(map(_without_metrics, filter(selection.takes, batches))):
                await projection.apply(group)
                await asyncio.sleep(0)
            after = batches[-1].last_position
    finally:
        await projection.aclose()


def _without_metrics(batch: StoredBatch) -> DecodedBatch:
    check_digest(batch)
    return batch, decode_without_metrics(batch.payload, n=batch.n)
