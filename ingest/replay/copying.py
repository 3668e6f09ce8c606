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
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ingest.errors import StoreUnavailable
from ingest.replay.destinations import LogDestination, continues
from ingest.replay.selection import Select, Selection
from ingest.replay.sources import Source
from projections.log import EventLogReader, LogHead, StoredBatch
from tracker.events.errors import TrackerError

ROUND_BATCHES: Final = 4_000
ROUND_BYTES: Final = 8 * 1024 * 1024
AWAY_WAIT_S: Final = 30.0


class LogsDiffer(TrackerError):
    """The destination holds another log than the source's beginning."""


@dataclass(slots=True)
class CopyProgress:
    """`position` of `head` in the source; what was written, counted by the copy.

    `selection` is what was selected last; `trouble` what a copy that follows waits for.
    """

    selection: Selection = field(default_factory=Selection)
    position: int = 0
    head: int = 0
    batches: int = 0
    events: int = 0
    bytes: int = 0
    keeps_positions: bool = True
    trouble: str = ""
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
    progress = CopyProgress(selection, keeps_positions=keeps)
    copy = _Copy(source, destination, progress, on_progress)
    await copy.go_on()
    if follow is not None:
        await copy.follow(select, follow)
    return progress


async def check_continues(source: EventLogReader, head: LogHead) -> None:
    """Raise LogsDiffer unless a log that ends at `head` is a beginning of the source."""
    if not await continues(source, head):
        raise LogsDiffer(
            f"the destination's log, {head.next_position - 1} positions long, is no beginning of "
            "the source's; use an empty destination, or --merge to append what it lacks at new "
            "positions"
        )


class _Copy:
    """Where a copy is; without a writer, the next step asks the destination."""

    def __init__(
        self,
        source: Source,
        destination: LogDestination,
        progress: CopyProgress,
        on_progress: OnProgress,
    ) -> None:
        self._source, self._destination = source, destination
        self._progress, self._on_progress = progress, on_progress
        self._after = 0
        self._writer: _Importing | _Appending | None = None

    async def go_on(self) -> None:
        """Copy everything there is now, durably."""
        await self._round(await self._begun())
        await self._destination.flush()

    async def follow(self, select: Select, stop: asyncio.Event) -> None:
        """Copy what comes until `stop` is set; what is away meanwhile is waited for."""
        progress, every_s = self._progress, max(self._source.poll_s, self._destination.every_s)
        delay_s = every_s
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await stop.wait()
            try:
                await self._source.refresh()
                await self._take_up(await select())
                await self.go_on()
                delay_s, progress.trouble = every_s, ""
            except StoreUnavailable as error:
                if stop.is_set():
                    raise
                self._writer = None
                delay_s, progress.trouble = min(max(1.0, 2 * delay_s), AWAY_WAIT_S), str(error)
                self._on_progress(progress)

    async def _begun(self) -> _Importing | _Appending:
        if self._writer is None:
            if self._progress.keeps_positions:
                self._after = (await self._destination.head()).next_position - 1
                self._writer = _Importing(self._destination)
            else:
                self._writer = _Appending(self._destination)
            self._progress.position = self._after
        return self._writer

    async def _take_up(self, selection: Selection) -> None:
        """Copy what came of a run before it was known to be asked for."""
        known = self._progress.selection
        for run_id in sorted((selection.run_ids or set()) - (known.run_ids or set())):
            writer, after = await self._begun(), 0
            while batches := await _read(self._source.log, after, self._after, run_id=run_id):
                await writer.write(batches, self._progress)
                after = batches[-1].last_position
        self._progress.selection = selection

    async def _round(self, writer: _Importing | _Appending) -> None:
        progress, selection, log = self._progress, self._progress.selection, self._source.log
        progress.head = await _end_of(log, selection)
        reading = asyncio.create_task(_read(log, self._after, progress.head))
        try:
            while batches := await reading:
                reading = asyncio.create_task(_read(log, batches[-1].last_position, progress.head))
                is_over = selection.is_over_at(batches[-1])
                await writer.write([each for each in batches if selection.takes(each)], progress)
                self._after = progress.head if is_over else batches[-1].last_position
                progress.position = self._after
                self._on_progress(progress)
                if is_over:
                    break
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(
    log: EventLogReader, after: int, until: int, run_id: str | None = None
) -> Sequence[StoredBatch]:
    return await log.read(
        after=after, batches_max=ROUND_BATCHES, bytes_max=ROUND_BYTES, until=until, run_id=run_id
    )


async def _end_of(log: EventLogReader, selection: Selection) -> int:
    last = (await log.head()).next_position - 1
    return last if selection.until is None else min(last, selection.until)


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
