"""A run's metrics, read as often as needed, in pieces, always in the same order.

The order is what lets an import be continued: a point's place in it is its sequence number.
A run may have more points than memory holds, so there is never more than one piece of them.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tracker.events import limits
from tracker.events.errors import InvalidEvent
from tracker.events.types import check_key
from tracker.integrations.mlflow_import.source import Skips

# Rows that a reader hands over at once, and points that are sent at once.
PIECE_ROWS: Final = 20_000
_TIME_MS_MAX: Final = limits.INT64_MAX // 1000


class PointRow(NamedTuple):
    key: str
    step: int
    time_ms: int
    value: float


ReadPieces = Callable[[], AsyncIterator[Sequence[PointRow]]]


@dataclass(slots=True)
class Points:
    """Some points of one run, in order: columns of one length."""

    keys: list[str] = field(default_factory=list)  # the names that key_numbers count from 0
    key_numbers: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    times_us: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.steps)

    def places(self) -> Mapping[int, list[int]]:
        """For each key's number, where its points are."""
        found: dict[int, list[int]] = {}
        for place, number in enumerate(self.key_numbers):
            found.setdefault(number, []).append(place)
        return found


class PointsAbout(NamedTuple):
    """What a run's points are, without them. Equal for equal points."""

    keys: tuple[str, ...] = ()  # in order of code points
    points: int = 0
    first_ms: int = 0
    last_ms: int = 0
    last_step: int = 0


class RunPoints:
    """All points of a run whose keys may be recorded."""

    def __init__(
        self, about: PointsAbout, read: ReadPieces, *, refused: frozenset[str] = frozenset()
    ) -> None:
        self.about = about
        self._read = read
        self._refused = refused

    async def pieces(self, *, skip: int) -> AsyncIterator[Points]:
        """From the point behind the first `skip` on."""
        async for rows in self._read():
            if self._refused:
                rows = [row for row in rows if row.key not in self._refused]
            if skip >= len(rows):
                skip -= len(rows)
                continue
            yield _columns(rows[skip:])
            skip = 0


def _columns(rows: Sequence[PointRow]) -> Points:
    points, numbers = Points(), dict[str, int]()
    for key, step, time_ms, value in rows:
        points.key_numbers.append(numbers.setdefault(key, len(numbers)))
        points.steps.append(step)
        points.times_us.append(time_us(time_ms))
        points.values.append(value)
    points.keys = list(numbers)
    return points


def time_us(time_ms: int) -> int:
    """Microseconds; a time beyond what they reach (the year 294,246) is the last one."""
    return max(-_TIME_MS_MAX, min(_TIME_MS_MAX, time_ms)) * 1000


def refused_keys(counts: Mapping[str, int], run_id: str, skips: Skips) -> frozenset[str]:
    """The keys that no metric can have here; their points are counted as skipped."""
    refused = set()
    for key, count in counts.items():
        try:
            check_key(key, what="metric")
        except InvalidEvent:
            reason = "its key is empty, too long or has control characters"
            skips.add("point", reason, f"{run_id}: {key[:100]!r}", count=count)
            refused.add(key)
    return frozenset(refused)
