"""What follows from a writer's death: the run it owned has failed, as far as we know.

The conclusion is an event of the server's own, marked as a guess about that writer: an
event of it that arrives later overrules the guess, in the fold.
"""

from __future__ import annotations

import time
from typing import Final, Literal

from ingest.errors import Busy, ProjectionBehind, StreamMoved
from ingest.event_stores.base import EventStore, WriterState
from ingest.schemas import LeaseRequest
from ingest.state import ReadStores
from projections.read_models import RunView
from tracker.events.types import Event, EventType, RunStatus

# Other writers of the run may append all the time; each attempt reads and decides anew.
ATTEMPTS_MAX: Final = 8
FOLD_TIMEOUT_S: Final = 5.0
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
    for _ in range(ATTEMPTS_MAX):
        # The death is judged on a view that has all of the writer's events in it.
        if not await reads.wait_for(writer.position, timeout_s=FOLD_TIMEOUT_S):
            raise ProjectionBehind("the run is not folded yet; report again", retry_after_s=1.0)
        decided_at = await reads.runs.position()
        run = await reads.runs.get_run(writer.run_id, live_run_ids=frozenset())
        if run is None or run.owner_writer_id != writer.writer_id:
            return "not_owner"
        if RunStatus(run.status).is_terminal:
            return "run_ended"
        try:
            await store.append_decision(
                run_id=run.run_id, events=[_end(lease, writer, run)], decided_at=decided_at
            )
        except StreamMoved as moved:
            await reads.wait_for(moved.details["position"], timeout_s=FOLD_TIMEOUT_S)
            continue
        return "run_ended"
    raise Busy("the run changes faster than it can be ended; report again", retry_after_s=1.0)


def _end(lease: LeaseRequest, writer: WriterState, run: RunView) -> Event:
    # Later than everything the run's clocks have shown, or the fold would not count it:
    # a training machine's clock may be ahead of ours.
    now_us = max(time.time_ns() // 1000, run.start_time_us + 1, run.order_us + 1)
    data = {
        "status": RunStatus.FAILED.value,
        "end_time_us": now_us,
        "reason": lease.reason or REASON_UNKNOWN,
        "guessed_writer_id": writer.writer_id,
        "guessed_seq": writer.next_seq,
    }
    if lease.detail:
        data["detail"] = lease.detail
    return Event(EventType.RUN_ENDED, now_us, data)
