"""A run as it was: the fold of its events up to a position, or up to a time of receipt.

The same fold as that of the live projection, over the run's own batches, into a database
in memory that is thrown away. Its cost is that of reading the run's events once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from projections import sql
from projections.columns import decode_payload
from projections.log import EventLogReader, StoredBatch
from projections.past_log import beginning_of
from projections.read_models import RunView
from projections.runs_fold import RunsFold
from projections.runs_rows import SqlRunsLoader
from projections.runs_store import put_changes
from projections.runs_views import run_view
from tracker.events.errors import CorruptPayload, InvalidEvent

_BATCHES_A_READ: Final = 256
_BYTES_A_READ: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PastRun:
    """`position` is that of the last event folded."""

    run: RunView
    position: int


async def run_as_of(
    log: EventLogReader, run_id: str, *, position: int | None = None, time_us: int | None = None
) -> PastRun | None:
    """The run after the events up to `position`, or received up to `time_us`; None if none.

    Whether anybody reported then is not known: a run that had not ended is called live.
    The experiment is the one that its name follows to in an empty store.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="past-run") as thread:
        loop = asyncio.get_running_loop()
        past = await loop.run_in_executor(thread, _Past, run_id)
        after = 0
        while True:
            batches = await log.read(
                after=after,
                until=position,
                run_id=run_id,
                batches_max=_BATCHES_A_READ,
                bytes_max=_BYTES_A_READ,
            )
            kept = _received_until(batches, time_us)
            if kept:
                after = kept[-1].last_position
                await loop.run_in_executor(thread, past.fold, kept, position)
            if not batches or len(kept) < len(batches):
                return await loop.run_in_executor(thread, past.end)


def _received_until(batches: Sequence[StoredBatch], time_us: int | None) -> Sequence[StoredBatch]:
    """The first batches, up to one that was received later: always a beginning of the log."""
    if time_us is None:
        return batches
    for index, batch in enumerate(batches):
        if batch.received_at_us > time_us:
            return batches[:index]
    return batches


class _Past:
    """The fold and its tables. Made, used and ended in one thread."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.executescript(sql.load("runs_schema.sql"))
        loader = SqlRunsLoader(self._connection)
        self._fold = RunsFold(loader, runs_count=0, keys_count=0, skipped=Counter())
        self._position = 0

    def fold(self, batches: Sequence[StoredBatch], position: int | None) -> None:
        decoded = []
        for batch in batches:
            try:
                columns = decode_payload(batch.payload, n=batch.n, is_trusted=True)
            except (CorruptPayload, InvalidEvent):
                continue  # a dead letter of the live projection, too
            count = batch.n if position is None else position - batch.first_position + 1
            decoded.append((batch, columns if count >= batch.n else beginning_of(columns, count)))
            self._position = batch.first_position + min(count, batch.n) - 1
        self._fold.fold(decoded)
        changes = self._fold.take_changes()
        put_changes(self._connection, changes)
        self._fold.settle(changes)

    def end(self) -> PastRun | None:
        try:
            run = run_view(self._connection, self._run_id, frozenset({self._run_id}))
        finally:
            self._connection.close()
        return None if run is None else PastRun(run, self._position)
