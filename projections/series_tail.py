"""Tails as readers see them: the newest points of a run, straight from its log.

A tail's batches are read once and kept packed, up to a bound over all runs; a further
query reads what came since. So to look at twenty charts of a live run again and again
costs a few decoded columns, not its whole tail each time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from projections.columns import PackedFrame, unpack_frames
from projections.log import EventLogReader, StoredBatch
from projections.series_fold import PlacedFrame, cohorts
from projections.series_points import NO_POINTS, Points
from tracker.events.errors import CorruptPayload

TAILS_BYTES_MAX: Final = 64 * 1024 * 1024
_READ_BATCHES: Final = 256
_READ_BYTES: Final = 4 * 1024 * 1024
# What Python's objects around a packed column take.
_COLUMN_BYTES: Final = 150

_KeyPlaces = dict[tuple[str, ...], dict[str, int]]


@dataclass(frozen=True, slots=True)
class _Frame:
    first_position: int
    last_position: int  # of the batch
    packed: PackedFrame
    places: dict[str, int]


@dataclass(slots=True)
class _Kept:
    """The frames of the batches in (after, until]."""

    after: int
    until: int
    frames: list[_Frame] = field(default_factory=list)
    bytes: int = 0
    places: _KeyPlaces = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class TailReader:
    """Used from one event loop."""

    def __init__(self, log: EventLogReader, *, bytes_max: int = TAILS_BYTES_MAX) -> None:
        self._log = log
        self._bytes_max = bytes_max
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def points(self, run_id: str, key: str, *, after: int, until: int) -> Points:
        """A metric's points in the run's batches that end in (after, until], in order."""
        frames = await self._frames(run_id, after, until)
        chosen = [frame for frame in frames if key in frame.places]
        return await asyncio.to_thread(_points_of, chosen, key) if chosen else NO_POINTS

    async def _frames(self, run_id: str, after: int, until: int) -> list[_Frame]:
        kept = self._kept.get(run_id)
        if kept is None or not kept.after <= after <= kept.until:
            kept = self._kept[run_id] = _Kept(after, after)
        async with kept.lock:
            if until > kept.until:
                await self._read_on(kept, run_id, until)
            if after > kept.after:
                kept.after = after
                kept.frames = [frame for frame in kept.frames if frame.last_position > after]
                kept.bytes = sum(map(_size_of, kept.frames))
            frames = [frame for frame in kept.frames if frame.last_position <= until]
        if run_id in self._kept:
            self._kept.move_to_end(run_id)
        total = sum(kept.bytes for kept in self._kept.values())
        while total > self._bytes_max and self._kept:
            total -= self._kept.popitem(last=False)[1].bytes
        return frames

    async def _read_on(self, kept: _Kept, run_id: str, until: int) -> None:
        position = kept.until
        while position < until:
            batches = await self._log.read(
                after=position,
                batches_max=_READ_BATCHES,
                bytes_max=_READ_BYTES,
                run_id=run_id,
                until=until,
            )
            if not batches:
                break
            position = batches[-1].last_position
            frames = await asyncio.to_thread(_frames_of, batches, kept.places)
            kept.frames.extend(frames)
            kept.bytes += sum(map(_size_of, frames))
            kept.until = position
        kept.until = until


def _frames_of(batches: Sequence[StoredBatch], places: _KeyPlaces) -> list[_Frame]:
    frames = []
    for stored in batches:
        if hashlib.sha256(stored.payload).digest() != stored.payload_sha256:
            continue  # a dead letter of the projection, which met it first
        try:
            unpacked = unpack_frames(stored.payload)
        except CorruptPayload:
            continue  # likewise
        for packed in unpacked:
            at = places.get(packed.keys)
            if at is None:
                at = places[packed.keys] = {key: i for i, key in enumerate(packed.keys)}
            frames.append(_Frame(stored.first_position, stored.last_position, packed, at))
    return frames


def _points_of(frames: Sequence[_Frame], key: str) -> Points:
    placed: list[PlacedFrame] = [
        (frame.first_position, frame.packed.unpack(frame.places[key])) for frame in frames
    ]
    (cohort,) = cohorts(placed)
    return Points(cohort.steps, cohort.times_us, cohort.values[0])


def _size_of(frame: _Frame) -> int:
    columns = 3 + len(frame.packed.keys)
    return columns * (_COLUMN_BYTES + 4 * frame.packed.n)
