"""Comparing both sides of a replay, run by run, from what each of them holds now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ingest.replay.selection import Selection
from ingest.replay.tally import Count, Tally
from projections.log import EventLogReader, LogHead
from projections.rounds import ROUND_BATCHES_MAX, ROUND_BYTES_MAX, decoded

OnPosition = Callable[[str, int, int], None]
"""(side, done, total)"""

DIFFERENCES_LISTED_MAX: Final = 100


@dataclass(slots=True)
class Comparison:
    """`differences` are sentences, at most 100 of `differences_count`."""

    runs: int = 0
    events: int = 0
    points: int = 0
    dropped: int = 0
    state_hash: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    differences_count: int = 0

    @property
    def is_equal(self) -> bool:
        return self.differences_count == 0

    def differ(self, sentence: str) -> None:
        self.differences_count += 1
        if len(self.differences) < DIFFERENCES_LISTED_MAX:
            self.differences.append(sentence)

    def as_json(self) -> dict[str, Any]:
        return {
            "equal": self.is_equal,
            "runs": self.runs,
            "events": self.events,
            "points": self.points,
            "dropped": self.dropped,
            "state_hash": self.state_hash,
            "run_hashes": self.hashes,
            "differences": self.differences,
            "differences_count": self.differences_count,
        }


async def tally_log(
    log: EventLogReader,
    selection: Selection,
    *,
    side: str,
    on_position: OnPosition,
    with_points: bool = False,
) -> Tally:
    """Read a log up to its head now, or to the selection's end. Raises CorruptPayload."""
    tally = Tally(with_points=with_points)
    last = (await log.head()).next_position - 1
    if selection.until is not None:
        last = min(last, selection.until)
    after = 0
    while after < last:
        batches = await log.read(
            after=after, batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX, until=last
        )
        if not batches:
            break
        wanted = [batch for batch in batches if selection.takes(batch)]
        await asyncio.to_thread(lambda rows: tally.take(map(decoded, rows)), wanted)
        after = batches[-1].last_position
        on_position(side, min(after, last), last)
    return tally


async def compare_logs(
    source: EventLogReader,
    destination: EventLogReader,
    selection: Selection,
    *,
    keeps_positions: bool,
    on_position: OnPosition,
) -> Comparison:
    """Read both whole; every writer of the source must be in the destination, record for record."""
    expected = await tally_log(source, selection, side="source", on_position=on_position)
    there = Selection(selection.until if keeps_positions else None, selection.run_ids)
    found = await tally_log(destination, there, side="destination", on_position=on_position)
    comparison = compare_tallies(expected, found)
    if keeps_positions:
        await compare_heads(source, destination, selection, comparison)
        extra = found.by_writer.keys() - expected.by_writer.keys()
        for run_id, writer_id in sorted(extra)[:DIFFERENCES_LISTED_MAX]:
            comparison.differ(f"run {run_id!r}: writer {writer_id} is not in the source")
    return comparison


def compare_tallies(expected: Tally, found: Tally) -> Comparison:
    comparison = Comparison()
    total = Count()
    there = found.by_run(expected.by_writer)
    for run_id, count in sorted(expected.by_run().items()):
        comparison.runs += bool(run_id)
        comparison.hashes[run_id] = f"{count.hash:016x}"
        total.add(count)
        other = there.get(run_id)
        if other is None:
            comparison.differ(f"run {run_id!r} is missing in the destination")
        elif (other.events, other.points, other.dropped, other.hash) != (
            count.events,
            count.points,
            count.dropped,
            count.hash,
        ):
            comparison.differ(f"run {run_id!r}: {_said(count)} became {_said(other)}")
    comparison.events, comparison.points = total.events, total.points
    comparison.dropped, comparison.state_hash = total.dropped, f"{total.hash:016x}"
    return comparison


def compare_points(expected: Mapping[str, Count], found: Mapping[str, Count]) -> Comparison:
    """The points of a log, by run, with those of tables: how many, and which."""
    comparison = Comparison()
    total = Count()
    for run_id, count in sorted(expected.items()):
        comparison.runs += bool(run_id)
        comparison.hashes[run_id] = f"{count.points_hash:016x}"
        total.add(count)
        other = found.get(run_id, Count())
        if (count.points, count.points_hash) != (other.points, other.points_hash):
            comparison.differ(
                f"run {run_id!r}: {count.points:,} points ({count.points_hash:016x}) became "
                f"{other.points:,} ({other.points_hash:016x})"
            )
    for run_id in sorted(found.keys() - expected.keys()):
        comparison.differ(f"run {run_id!r} is in the tables and not in the source")
    comparison.events, comparison.points = total.events, total.points
    comparison.dropped, comparison.state_hash = total.dropped, f"{total.points_hash:016x}"
    return comparison


async def compare_heads(
    source: EventLogReader,
    destination: EventLogReader,
    selection: Selection,
    comparison: Comparison,
) -> None:
    """Add a difference unless the destination is the source's log up to the selection's end."""
    head = await destination.head()
    expected = await head_at(source, head.next_position - 1)
    if expected is None or expected.chain_sha256 != head.chain_sha256:
        comparison.differ(
            f"the hash chains differ at position {head.next_position - 1}: one of the two logs "
            "was written to in the meantime, or is damaged"
        )
    last = (await source.head()).next_position - 1
    wanted = last if selection.until is None else min(last, selection.until)
    behind = await source.read(after=head.next_position - 1, batches_max=1, bytes_max=1)
    if behind and behind[0].last_position <= wanted:
        comparison.differ(
            f"the destination ends at position {head.next_position - 1}, the source at {wanted}"
        )


async def head_at(log: EventLogReader, position: int) -> LogHead | None:
    """The head as it was when a batch ended at `position`; None when none did."""
    if position == 0:
        return LogHead()
    found = await log.read(after=position - 1, batches_max=1, bytes_max=1)
    if not found or found[0].last_position != position:
        return None
    return LogHead(position + 1, found[0].chain_sha256)


def _said(count: Count) -> str:
    dropped = f", {count.dropped:,} dropped" if count.dropped else ""
    return f"{count.events:,} events, {count.points:,} points{dropped} ({count.hash:016x})"
