"""Sends an import by ordinary appends, each writer from where the server stands.

A writer's id follows from what it says. So an import that is repeated finds every writer
complete and sends nothing; one that was killed goes on with the record behind the last one
stored; and what was changed at the source since has another writer. A point is a record of
its own, so that any number of them may be stored already.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar
from zlib import crc32

from tracker.events import wire
from tracker.events.errors import TrackerError
from tracker.events.types import Event
from tracker.integrations.mlflow_import.source import Points
from tracker.shipper.backoff import Backoff
from tracker.shipper.transmit import SequenceExpected, Transmitter, Unreachable

POINTS_PER_BATCH: Final = 20_000
EVENTS_PER_BATCH: Final = 5_000
BATCH_CHARACTERS: Final = 4 * 1024 * 1024
# A server that restarts is waited for, about this many seconds in all.
_TRIES: Final = 8
_US_PER_MS: Final = 1000

T = TypeVar("T")


class ImportInterrupted(TrackerError):
    """The server is away. What was sent is stored, and the same import goes on there."""


def writer_id(kind: str, *parts: object) -> str:
    """The id of the writer that says exactly this."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return f"import-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class Sender:
    """One destination. `known` holds what the server said of writers, to ask only once."""

    def __init__(self, transmitter: Transmitter, *, workspace: str) -> None:
        self.transmitter = transmitter
        self.workspace = workspace
        self.records = 0

    async def ask(self, path: str) -> tuple[int, Any]:
        """(status, JSON) of a GET."""

        async def asked() -> tuple[int, Any]:
            status, answer, retry_after = await self.transmitter.ask(
                "GET", path, workspace=self.workspace
            )
            if status in (408, 429, 500, 502, 503, 504):
                raise Unreachable(f"HTTP {status}", retry_after_s=retry_after)
            return status, answer

        return await self.patiently(asked)

    async def next_seq(self, writer: str) -> int:
        return await self.patiently(
            lambda: self.transmitter.next_seq(writer, workspace=self.workspace)
        )

    async def events(
        self, run_id: str, writer: str, events: Sequence[Event], *, next_seq: int
    ) -> None:
        """Append what is missing of a writer's events."""
        while next_seq <= len(events):
            part = _part(events[next_seq - 1 :])
            frame = wire.events_frame(offsets=range(len(part)), events=part)
            next_seq = await self._append(run_id, writer, next_seq, len(part), [frame])
            self.records += len(part)

    async def points(self, run_id: str, writer: str, points: Points, *, next_seq: int) -> None:
        """Append what is missing of a run's metrics, one record a point."""
        while next_seq <= len(points):
            start = next_seq - 1
            stop = min(start + POINTS_PER_BATCH, len(points))
            frames = await asyncio.to_thread(_frames, points, start, stop)
            next_seq = await self._append(run_id, writer, next_seq, stop - start, frames)
            self.records += stop - start

    async def _append(
        self, run_id: str, writer: str, first_seq: int, n: int, frames: list[Any]
    ) -> int:
        payload = wire.encode_payload(frames)
        header = wire.BatchHeader(run_id, writer, 1, first_seq, n, crc32(payload))
        body = wire.encode_batch(header, payload)
        try:
            return await self.patiently(
                lambda: self.transmitter.append(body, workspace=self.workspace)
            )
        except SequenceExpected as expected:
            return expected.next_seq

    async def patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the server answers. Raises ImportInterrupted when it stays away."""
        backoff = Backoff()
        while True:
            try:
                return await attempt()
            except Unreachable as error:
                if backoff.failures >= _TRIES:
                    raise ImportInterrupted(
                        f"{error}; run the same command again to go on"
                    ) from None
                await asyncio.sleep(backoff.next_s(retry_after_s=error.retry_after_s))


def _part(events: Sequence[Event]) -> Sequence[Event]:
    """The first events, as many as make a batch."""
    size = 0
    for index, event in enumerate(events[:EVENTS_PER_BATCH]):
        size += len(json.dumps(event.data))
        if size > BATCH_CHARACTERS and index:
            return events[:index]
    return events[:EVENTS_PER_BATCH]


def _frames(points: Points, start: int, stop: int) -> list[Any]:
    """A frame for each metric among the points, at the places the points have."""
    return [
        wire.metrics_frame(
            offsets=offsets,
            keys=[points.keys[number]],
            steps=array("q", (points.steps[start + i] for i in offsets)),
            times=array("q", (points.times_ms[start + i] * _US_PER_MS for i in offsets)),
            values=[array("d", (points.values[start + i] for i in offsets))],
        )
        for number, offsets in _places(points, start, stop)
    ]


def _places(points: Points, start: int, stop: int) -> Iterator[tuple[int, list[int]]]:
    places: dict[int, list[int]] = {}
    for offset, number in enumerate(points.key_numbers[start:stop]):
        places.setdefault(number, []).append(offset)
    yield from places.items()
