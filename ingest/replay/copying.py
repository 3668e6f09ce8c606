"""The copying itself: read the source in rounds, write them, say how it goes.

Theory
------
A copy that is whole keeps everything: positions, ids, clocks and chain. Its own head says
how far it is, and that its chain is the source's there proves that it is a beginning of the
source and of nothing else; so a copy that was killed at any moment goes on where its last
transaction ended, and one that is up to date does nothing.

A copy of some runs, or into a log that has others already, cannot keep positions and chain.
It hands over batches as their writers would have sent them, with (writer, epoch, sequence);
the destination's watermarks say what is there already. So it too may be killed and repeated.

Reading goes one round ahead of writing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ingest.replay.destinations import LogDestination, continues
from ingest.replay.selection import Select, Selection
from ingest.replay.sources import Source
from projections.log import EventLogReader, LogHead, StoredBatch
from tracker.events.errors import TrackerError

ROUND_BATCHES: Final = 4_000
ROUND_BYTES: Final = 8 * 1024 * 1024


class LogsDiffer(TrackerError):
    """The destination holds another log than the source's beginning."""


@dataclass(slots=True)
class CopyProgress:
    """`position` of `head` in the source; what was written, counted by the copy.

    `selection` is what was selected in the end.
    """

    selection: Selection = field(default_factory=Selection)
    position: int = 0
    head: int = 0
    batches: int = 0
    events: int = 0
    bytes: int = 0
    keeps_positions: bool = True
    started_s: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return max(time.monotonic() - self.started_s, 1e-9)


OnProgress = Callable[[CopyProgress], None]


async def copy_log(
    source: Source,
    destination: LogDestination,
    select: Select,
    *,
    merge: bool,
    follow: asyncio.Event | None,
    on_progress: OnProgress,
) -> CopyProgress:
    """Copy until the source's end; with `follow`, go on until that event is set.

    Raises LogsDiffer when the destination is no beginning of the source, and neither
    `merge` nor a filter asks for something else.
    """
    selection = await select()
    head = await destination.head()
    keeps = not (selection.is_filtered or merge)
    if keeps:
        await check_continues(source.log, head)
    progress = CopyProgress(keeps_positions=keeps)
    writer = _Importing(destination) if keeps else _Appending(destination)
    after = head.next_position - 1 if keeps else 0
    progress.position = after
    while True:
        after = await _copy_round(source, selection, writer, after, progress, on_progress)
        if follow is None or follow.is_set() or _is_complete(selection, after):
            break
        await destination.flush()
        try:
            async with asyncio.timeout(source.poll_s):
                await follow.wait()
        except TimeoutError:
            await source.refresh()
        grown = await select()
        for run_id in sorted((grown.run_ids or set()) - (selection.run_ids or set())):
            await _catch_up(source.log, run_id, after, writer, progress)
        selection = grown
    await destination.flush()
    progress.selection = selection
    return progress


async def check_continues(source: EventLogReader, head: LogHead) -> None:
    """Raise LogsDiffer unless a log that ends at `head` is a beginning of the source."""
    if not await continues(source, head):
        raise LogsDiffer(
            f"the destination's log, {head.next_position - 1} positions long, is no beginning of "
            "the source's; use an empty destination, or --merge to append what it lacks at new "
            "positions"
        )


async def _catch_up(
    log: EventLogReader,
    run_id: str,
    until: int,
    writer: _Importing | _Appending,
    progress: CopyProgress,
) -> None:
    """Copy what came of a run before it was known to be asked for."""
    after = 0
    while batches := await _read(log, after, until, run_id=run_id):
        await writer.write(batches, progress)
        after = batches[-1].last_position


async def _copy_round(
    source: Source,
    selection: Selection,
    writer: _Importing | _Appending,
    after: int,
    progress: CopyProgress,
    on_progress: OnProgress,
) -> int:
    """Copy everything there is now; return how far that was."""
    progress.head = await _end_of(source.log, selection)
    reading = asyncio.create_task(_read(source.log, after, progress.head))
    try:
        while batches := await reading:
            reading = asyncio.create_task(
                _read(source.log, batches[-1].last_position, progress.head)
            )
            is_over = selection.is_over_at(batches[-1])
            wanted = [batch for batch in batches if selection.takes(batch)]
            await writer.write(wanted, progress)
            after = progress.position = batches[-1].last_position if not is_over else progress.head
            on_progress(progress)
            if is_over:
                break
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return after


async def _read(
    log: EventLogReader, after: int, until: int, run_id: str | None = None
) -> Sequence[StoredBatch]:
    return await log.read(
        after=after, batches_max=ROUND_BATCHES, bytes_max=ROUND_BYTES, until=until, run_id=run_id
    )


async def _end_of(log: EventLogReader, selection: Selection) -> int:
    last = (await log.head()).next_position - 1
    return last if selection.until is None else min(last, selection.until)


def _is_complete(selection: Selection, after: int) -> bool:
    return selection.until is not None and after >= selection.until


class _Importing:
    def __init__(self, destination: LogDestination) -> None:
        self._destination = destination

    async def write(self, batches: Sequence[StoredBatch], progress: CopyProgress) -> None:
        if batches:
            await self._destination.import_batches(batches)
            _count(batches, progress)


class _Appending:
    def __init__(self, destination: LogDestination) -> None:
        self._destination = destination
        self._next_seqs: dict[str, int] = {}

    async def write(self, batches: Sequence[StoredBatch], progress: CopyProgress) -> None:
        new = [batch for batch in batches if await self._is_new(batch)]
        if new:
            await self._destination.append(new)
            _count(new, progress)

    async def _is_new(self, batch: StoredBatch) -> bool:
        next_seq = self._next_seqs.get(batch.writer_id)
        if next_seq is None:
            next_seq = await self._destination.next_seq(batch.run_id, batch.writer_id)
        end = batch.first_seq + batch.n
        self._next_seqs[batch.writer_id] = max(next_seq, end)
        return end > next_seq


def _count(batches: Sequence[StoredBatch], progress: CopyProgress) -> None:
    progress.batches += len(batches)
    progress.events += sum(batch.n for batch in batches)
    progress.bytes += sum(len(batch.payload) for batch in batches)
