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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from zlib import crc32

from tracker.events import wire
from tracker.events.errors import TrackerError
from tracker.events.types import Event
from tracker.integrations.mlflow_import.points import Points, RunPoints
from tracker.shipper.backoff import Backoff
from tracker.shipper.transmit import BatchRefused, SequenceExpected, Transmitter, Unreachable

EVENTS_PER_BATCH: Final = 5_000
BATCH_CHARACTERS: Final = 4 * 1024 * 1024
# A server that restarts is waited for, about this many seconds in all.
_TRIES: Final = 8

T = TypeVar("T")


class ImportInterrupted(TrackerError):
    """The server is away. What was sent is stored, and the same import goes on there."""


def writer_id(kind: str, *parts: object) -> str:
    """The id of the writer that says exactly this."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return f"import-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def facts_writer(kind: str, owner: str, events: Sequence[Event]) -> str:
    """The id of the writer that says exactly these events about `owner`."""
    said = [[event.type, event.time_us, dict(event.data)] for event in events]
    return writer_id(kind, owner, said)


class Sender:
    """Says things to one destination, and counts the records."""

    def __init__(self, transmitter: Transmitter, *, workspace: str) -> None:
        self.transmitter = transmitter
        self.workspace = workspace
        self.records = 0

    async def ask(self, path: str) -> Any:
        """The JSON that a GET answers. Raises ImportInterrupted for any other answer."""
        status, answer = await self._ask(path)
        if status != 200:
            raise ImportInterrupted(f"{self.transmitter.uri}{path} answers {_said(status, answer)}")
        return answer

    async def run(self, run_id: str) -> Mapping[str, Any]:
        """What the server says of a run; nothing when it has none of that id."""
        status, answer = await self._ask(f"/api/v1/runs/{run_id}")
        if status == 404:
            return {}
        if status != 200:
            raise BatchRefused(_said(status, answer))
        found: Mapping[str, Any] = answer
        return found

    async def _ask(self, path: str) -> tuple[int, Any]:
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
        self,
        run_id: str,
        writer: str,
        events: Sequence[Event],
        *,
        next_seq: int,
    ) -> int:
        """Append what is missing of a writer's events; how many were."""
        began = next_seq
        while next_seq <= len(events):
            part = _part(events[next_seq - 1 :])
            frame = wire.events_frame(offsets=range(len(part)), events=part)
            next_seq = await self._append(run_id, writer, next_seq, len(part), [frame])
        self.records += next_seq - began
        return next_seq - began

    async def points(self, run_id: str, writer: str, points: RunPoints, *, next_seq: int) -> int:
        """Append what is missing of a run's metrics, one record a point; how many were."""
        began = next_seq
        if began > points.about.points:
            return 0
        async for piece in points.pieces(skip=next_seq - 1):
            frames = await asyncio.to_thread(_frames, piece)
            first_seq, next_seq = next_seq, next_seq + len(piece)
            stored = await self._append(run_id, writer, first_seq, len(piece), frames)
            if stored < next_seq:
                raise ImportInterrupted(
                    f"the server has less of run {run_id} than it said before ({stored - 1} "
                    f"records, not {first_seq - 1}); run the same command again to go on"
                )
            self.records += len(piece)
        return next_seq - began

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


def _said(status: int, answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return f"HTTP {status}: {message}" if message else f"HTTP {status}"


def _part(events: Sequence[Event]) -> Sequence[Event]:
    """The first events, as many as make a batch."""
    size = 0
    for index, event in enumerate(events[:EVENTS_PER_BATCH]):
        size += len(json.dumps(event.data))
        if size > BATCH_CHARACTERS and index:
            return events[:index]
    return events[:EVENTS_PER_BATCH]


def _frames(points: Points) -> list[Any]:
    """A frame for each metric among the points, at the places the points have."""
    return [
        wire.metrics_frame(
            offsets=places,
            keys=[points.keys[number]],
            steps=array("q", (points.steps[place] for place in places)),
            times=array("q", (points.times_us[place] for place in places)),
            values=[array("d", (points.values[place] for place in places))],
        )
        for number, places in points.places().items()
    ]
