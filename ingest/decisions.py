"""The decider: read at a position, decide, append unless the stream has moved since.

Commands that need a decision (a name must be free, a param must not change) are taken on a
view that has folded the whole log, and appended with the position of that view. If the
run's stream has moved in between, the store refuses, and everything is read and decided
again. Metrics do not count as a move: a run that trains would never hold still. Telemetry
needs no decision and never comes through here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ingest.errors import Busy, ProjectionBehind, StoreUnavailable, StreamMoved
from ingest.event_stores.base import EventStore
from ingest.event_stores.group import LOOKED_THROUGH_MAX, is_decision_writer
from ingest.state import ReadStores
from projections.columns import decode_payload
from tracker.events.types import Event, validate

# Other writers of a run may append all the time; each attempt reads and decides anew.
ATTEMPTS_MAX: Final = 8
FOLD_TIMEOUT_S: Final = 5.0
# An append whose answer was lost is repeated after so long.
AGAIN_S: Final = (0.1, 0.3, 0.8, 2.0)
READ_BYTES: Final = 4 * 1024 * 1024

Decide = Callable[[int], Awaitable[Sequence[Event]]]
"""Events that follow from what the read stores show now; the argument is the server's clock."""


def clock_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Decider:
    """Takes decisions about one stream: a run's, or '' for the workspace's own."""

    store: EventStore
    reads: ReadStores
    clock_us: Callable[[], int] = clock_us

    async def take(self, stream: str, decide: Decide) -> int:
        """Append what `decide` returns; return a position at which it can be read.

        `decide` may be called several times and raises to refuse. No events: nothing is
        appended. Raises InvalidEvent, ProjectionBehind and Busy; the last two say that
        nothing was decided, except where ProjectionBehind's details have a position.
        """
        for _ in range(ATTEMPTS_MAX):
            head = (await self.store.head()).next_position - 1
            if not await self.reads.wait_for(head, timeout_s=FOLD_TIMEOUT_S):
                raise ProjectionBehind(
                    "the log is not folded yet, so nothing was decided; try again",
                    retry_after_s=1.0,
                )
            events = await decide(self.clock_us())
            if not events:
                return head
            for event in events:
                validate(event)
            try:
                position = await self._append(stream, events, head)
            except StreamMoved:
                continue
            await self._wait_until_folded(position)
            return position
        raise Busy(
            "events arrive faster than the decision can be taken; try again", retry_after_s=1.0
        )

    async def _append(self, stream: str, events: Sequence[Event], decided_at: int) -> int:
        """Append them once, and return their position.

        When the store's answer is lost, they may be stored or not. Who was told to send it
        again would decide anew, and a run would be created twice; so the same append is
        repeated here, and refused with StreamMoved when it had come through.
        """
        is_unknown = False
        for delay_s in (*AGAIN_S, None):
            try:
                result = await self.store.append_decision(
                    run_id=stream, events=events, decided_at=decided_at
                )
            except StreamMoved:
                position = await self._found(stream, events, decided_at) if is_unknown else None
                if position is None:
                    raise
                return position
            except StoreUnavailable:
                if delay_s is None:
                    raise
                is_unknown = True
                await asyncio.sleep(delay_s)
            else:
                return result.position
        raise AssertionError("unreachable")

    async def _found(self, stream: str, events: Sequence[Event], after: int) -> int | None:
        """Where the log has this very decision; None when it has not."""
        while batches := await self.store.read(
            after=after, batches_max=LOOKED_THROUGH_MAX, bytes_max=READ_BYTES, run_id=stream
        ):
            for batch in batches:
                if not is_decision_writer(batch.writer_id):
                    continue
                columns = decode_payload(batch.payload, n=batch.n, is_trusted=True)
                if [item.event for item in columns.events] == list(events):
                    return batch.last_position
            after = batches[-1].last_position
        return None

    async def _wait_until_folded(self, position: int) -> None:
        if not await self.reads.wait_for(position, timeout_s=FOLD_TIMEOUT_S):
            raise ProjectionBehind(
                f"it is recorded at position {position}, but not folded yet; "
                f"read with min_position={position}",
                retry_after_s=1.0,
                position=position,
            )
