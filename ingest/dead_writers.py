"""What follows from a writer's death: the run it owned has failed, as far as we know.

The conclusion is an event of the server's own, marked as a guess about that writer: an
event of it that arrives later overrules the guess, in the fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ingest.decisions import Decider
from ingest.event_stores.base import EventStore, WriterState
from ingest.schemas import LeaseRequest
from ingest.state import ReadStores
from projections.read_models import RunView
from tracker.events.types import Event, EventType, RunStatus

REASON_UNKNOWN: Final = "lost"

Outcome = Literal["run_ended", "not_owner", "behind", "unknown_writer"]


async def bury(lease: LeaseRequest, *, store: EventStore, reads: ReadStores) -> Outcome:
    """End the run that the dead writer owned. Repeating it changes nothing.

    `behind`: not everything the writer spooled has arrived, deliver it first. Raises
    ProjectionBehind and Busy, both to be tried again.
    """
    writer = await store.writer(lease.writer_id)
    if writer is None:
        return "unknown_writer"
    if lease.next_seq is not None and writer.next_seq < lease.next_seq:
        return "behind"
    if not writer.run_id:
        return "not_owner"
    outcome: Outcome = "not_owner"

    async def decide(now_us: int) -> Sequence[Event]:
        nonlocal outcome
        run = await reads.runs.get_run(writer.run_id, live_run_ids=frozenset())
        if run is None or run.owner_writer_id != writer.writer_id:
            outcome = "not_owner"
            return ()
        outcome = "run_ended"
        if RunStatus(run.status).is_terminal:
            return ()
        return [_end(lease, writer, run, now_us=now_us)]

    await Decider(store, reads).take(writer.run_id, decide)
    return outcome


def _end(lease: LeaseRequest, writer: WriterState, run: RunView, *, now_us: int) -> Event:
    # Later than everything the run's clocks have shown, or the fold would not count it:
    # a training machine's clock may be ahead of ours.
    time_us = max(now_us, run.start_time_us + 1, run.order_us + 1)
    data = {
        "status": RunStatus.FAILED.value,
        "end_time_us": time_us,
        "reason": lease.reason or REASON_UNKNOWN,
        "guessed_writer_id": writer.writer_id,
        "guessed_seq": writer.next_seq,
    }
    if lease.detail:
        data["detail"] = lease.detail
    return Event(EventType.RUN_ENDED, time_us, data)
