"""Archiving a log: write sealed ranges as segments, then let the database forget them.

The order makes that nothing is lost whenever it stops: a segment's object is created and
read back; then the manifest names it; then, if asked, every segment that is to be detached
is read back once more; then the database notes that reads go to the archive; only then are
rows removed. Each step may be repeated, and a later call goes on where an earlier stopped.

The batch that ends the log is never detached: the next append's clock comes after its.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from ingest.archive.log import ArchiveLog, SegmentBuffer
from ingest.archive.manifest import ArchiveMismatch
from projections.log import EventLogReader, LogHead

_READ_BATCHES: Final = 2_000
_READ_BYTES: Final = 8 * 1024 * 1024

OnProgress = Callable[[str, int, int], None]
"""(stage, done, total), in positions."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Up to `last_position`, 0 for nothing; so many rows of batches."""

    last_position: int
    batches: int


class DetachableStore(EventLogReader, Protocol):
    """A database that can forget the beginning of its log."""

    async def detach_below(self, location: str, head: LogHead) -> Removed:
        """Note that what is below `head` is read from `location`, then remove its rows.

        A database may remove less than it was asked to. Called again, it removes what an
        earlier call that was killed has left.
        """
        ...


@dataclass(slots=True)
class ArchiveReport:
    """Positions are last ones; `detached` is 0 when nothing is."""

    location: str
    archived: int = 0
    segments: int = 0
    segments_written: int = 0
    bytes_written: int = 0
    detached: int = 0
    batches_removed: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def archive_log(
    log: EventLogReader,
    archive: ArchiveLog,
    *,
    location: str,
    keep: int = 0,
    is_to_detach: bool = False,
    on_progress: OnProgress,
) -> ArchiveReport:
    """Write what the archive lacks, all but the last `keep` positions.

    `is_to_detach` leaves out the last batch, which is never detached, nor its segment.

    Raises ArchiveMismatch when the archive is of another log, ArchiveTaken when somebody
    else writes to it.
    """
    head = await log.head()
    until = max(0, head.next_position - 1 - keep)
    if is_to_detach and until == head.next_position - 1:
        last = await log.read(after=until - 1, batches_max=1, bytes_max=1)
        until = last[0].first_position - 1 if last else 0
    there = archive.manifest.head
    await _check_is_beginning(log, there, location)
    report = ArchiveReport(location)
    before = len(archive.manifest.segments)
    buffer = SegmentBuffer(archive)
    after = there.next_position - 1
    while after < until:
        batches = await log.read(
            after=after, batches_max=_READ_BATCHES, bytes_max=_READ_BYTES, until=until
        )
        whole = [batch for batch in batches if batch.last_position <= until]
        await buffer.take(whole)
        if len(whole) < len(batches) or not batches:
            break
        after = batches[-1].last_position
        on_progress("archiving", after, until)
    await buffer.flush()
    segments = archive.manifest.segments
    report.archived = archive.manifest.head.next_position - 1
    report.segments, report.segments_written = len(segments), len(segments) - before
    report.bytes_written = sum(segment.bytes for segment in segments[before:])
    return report


async def detach_archived(
    store: DetachableStore,
    archive: ArchiveLog,
    report: ArchiveReport,
    *,
    keep: int = 0,
    on_progress: OnProgress,
) -> None:
    """Let the store forget what the archive has, all but the last batch and `keep` positions."""
    head = await store.head()
    most = head.next_position - 1 - keep
    sealed = [segment for segment in archive.manifest.segments if segment.last_position <= most]
    if sealed and sealed[-1].last_position == head.next_position - 1:
        sealed.pop()  # the segment that holds the log's last batch
    if not sealed:
        return
    last = sealed[-1]
    target = LogHead(last.last_position + 1, bytes.fromhex(last.chain))
    await _check_is_beginning(store, target, report.location)
    for segment in sealed:
        await archive.check(segment)
        on_progress("verifying", segment.last_position, last.last_position)
    removed = await store.detach_below(report.location, target)
    report.detached, report.batches_removed = removed.last_position, removed.batches


async def _check_is_beginning(log: EventLogReader, there: LogHead, location: str) -> None:
    if there.next_position == 1:
        return
    last = there.next_position - 1
    found = await log.read(after=last - 1, batches_max=1, bytes_max=1)
    if not found or (found[0].last_position, found[0].chain_sha256) != (last, there.chain_sha256):
        raise ArchiveMismatch(
            f"the archive at {location} is no beginning of this log: they differ at or before "
            f"position {last}; give another place for this log's archive"
        )
