"""Exact history: chunks that may overlap in steps become one ordered stream.

Theory
------
Sources (chunks and the tail) are taken in order of (first step, number). Once all sources
up to some step are at hand, whatever lies below that step can be given out, and of the
step itself what arrived before the next source. Without overlap, that is a chunk at a time.

With overlap, the sources at hand are the overlap's depth. Each window of the output takes
the same stretch of steps from all of them and sorts it once. When they hold more points
than memory should, they are read again for each window, and windows are larger: twelve
hundred chunks over the same steps are read ten times, not held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from projections.columns import Int64s
from projections.connection import Connection
from projections.series_points import Points, merged
from projections.series_snapshot import Chunk, StepRange, ask_for_points, points_of
from tracker.events.limits import INT64_MAX

WINDOW_POINTS: Final = 65_536
DEEP_WINDOW_POINTS: Final = 524_288
HELD_POINTS_MAX: Final = 1_048_576
_SAMPLE_EVERY: Final = 64
_LOAD_AT_ONCE: Final = 16
_ASKED_AHEAD: Final = 16


@dataclass(slots=True)
class Source:
    """A sorted part of a series. `given` of its points were given out."""

    number: int
    step_first: int
    n: int
    chunk: Chunk | None = None
    points: Points | None = None
    given: int = 0
    samples: Int64s = field(default_factory=lambda: np.empty(0, np.int64))

    def load(self, connection: Connection, steps: StepRange) -> Points:
        if self.points is None:
            assert self.chunk is not None
            self.points = points_of(connection, self.chunk, steps)
            self.n = len(self.points)
            self.samples = self.points.steps[::_SAMPLE_EVERY].copy()
        return self.points

    def release(self) -> None:
        if self.chunk is not None:
            self.points = None


class Sweep:
    """Give it all sources of a series; call `window` until it returns None."""

    def __init__(self, chunks: Sequence[Chunk], tail: Points, steps: StepRange) -> None:
        sources = [Source(chunk.chunk_no, chunk.step_first, chunk.n, chunk) for chunk in chunks]
        if len(tail):
            number = 1 + max((chunk.chunk_no for chunk in chunks), default=-1)
            sources.append(Source(number, int(tail.steps[0]), len(tail), points=tail))
        self._waiting = sorted(sources, key=lambda s: (s.step_first, s.number), reverse=True)
        self._at_hand: list[Source] = []
        self._steps = steps

    def window(self, connection: Connection) -> Points | None:
        """The next points, in order; None at the end. Blocks."""
        parts: list[Points] = []
        load, given = _LOAD_AT_ONCE, 0
        while (self._waiting or self._at_hand) and given < WINDOW_POINTS // 2:
            self._take(connection, load)
            points = self._give(connection)
            if len(points):
                parts.append(points)
                given += len(points)
            # Little could be given out: what waits overlaps what is at hand.
            load *= 2
        return merged(parts) if parts else None

    def _take(self, connection: Connection, count: int) -> None:
        """Bring sources to hand until a window's worth of points is there, `count` at most."""
        held = sum(source.n - source.given for source in self._at_hand)
        coming = [source.chunk for source in self._waiting[-_ASKED_AHEAD:] if source.chunk]
        ask_for_points(connection, coming)
        while self._waiting and count and (held < WINDOW_POINTS or count > _LOAD_AT_ONCE):
            source = self._waiting.pop()
            held += len(source.load(connection, self._steps))
            if source.n:
                self._at_hand.append(source)
            count -= 1
            if held > HELD_POINTS_MAX:
                source.release()

    def _give(self, connection: Connection) -> Points:
        """What comes before everything that waits, up to a window, in order."""
        below = self._stretch()
        taken, left, held = [], [], 0
        for source in sorted(self._at_hand, key=lambda source: source.number):
            points = source.load(connection, self._steps)
            stop = self._stop_in(source, points, below)
            if stop > source.given:
                taken.append(points.cut(source.given, stop))
                source.given = stop
            if source.given < source.n:
                left.append(source)
                held += source.n
                if held > HELD_POINTS_MAX:
                    source.release()
        self._at_hand = left
        return merged(taken)

    def _stop_in(self, source: Source, points: Points, below: int | None) -> int:
        stop = source.n if below is None else int(points.steps.searchsorted(below, "left"))
        if not self._waiting:
            return stop
        waiting = self._waiting[-1]
        is_earlier = source.number < waiting.number
        settled = points.steps.searchsorted(waiting.step_first, "right" if is_earlier else "left")
        return min(stop, int(settled))

    def _stretch(self) -> int | None:
        """The step up to which to give out, so that a window is of bounded size."""
        left = sum(source.n - source.given for source in self._at_hand)
        most = WINDOW_POINTS if left <= HELD_POINTS_MAX else DEEP_WINDOW_POINTS
        if left <= 2 * most:
            return None
        samples = np.concatenate(
            [source.samples[-(-source.given // _SAMPLE_EVERY) :] for source in self._at_hand]
        )
        at = most // _SAMPLE_EVERY
        if at >= len(samples):
            return None
        step = int(np.partition(samples, at)[at])
        return step + 1 if step < INT64_MAX else None
