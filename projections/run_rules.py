"""The rules of a run: what each of its events does to it. See the theory in runs_fold.

Every rule takes the greatest (or the smallest) of what was said by some order, so rules
of different writers may be applied in any order with the same outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from projections.columns import DroppedRange
from projections.runs_state import (
    ACTIVE,
    DELETED,
    Guess,
    ParamValue,
    RunDetails,
    RunEntry,
    RunState,
    Said,
    WriterState,
)
from tracker.events.limits import INT64_MAX
from tracker.events.types import Event, EventType, RunStatus

# Guesses are made by servers, one per dead owner; beyond this the oldest are forgotten.
GUESSES_MAX: Final = 64


def started(
    run: RunState, event: Event, order_us: int, writer: WriterState, experiment_id: str
) -> None:
    """The earliest run.started stands for what a run is born with, like a param."""
    data = event.data
    if not run.is_born or (order_us, writer.writer_id) < (run.born_order_us, run.born_writer_id):
        run.born_order_us, run.born_writer_id = order_us, writer.writer_id
        run.experiment_id = experiment_id
        start_us = data.get("start_time_us")
        run.start_us = event.time_us if start_us is None else start_us
        run.parent_run_id = data.get("parent_run_id")
    _say_status(run, order_us, data.get("status") or RunStatus.RUNNING, None)
    _say_name_and_user(run, data, order_us)
    _own(run, order_us, writer.writer_id)


def resumed(run: RunState, event: Event, order_us: int, writer: WriterState) -> None:
    _say_status(run, order_us, RunStatus.RUNNING, None)
    _own(run, order_us, writer.writer_id)


def joined(run: RunState, event: Event, order_us: int, writer: WriterState) -> None:
    writer.about = dict(event.data)


def updated(run: RunState, event: Event, order_us: int, writer: WriterState) -> None:
    data = event.data
    _say_name_and_user(run, data, order_us)
    status, end_us = data.get("status"), data.get("end_time_us")
    if status is not None:
        is_terminal = RunStatus(status).is_terminal
        _say_status(run, order_us, status, _end_of(event) if is_terminal else end_us)
    elif end_us is not None:
        _say_end(run, order_us, end_us)


def ended(run: RunState, event: Event, order_us: int, writer: WriterState) -> None:
    data = event.data
    writer_id = data.get("guessed_writer_id")
    # No reason and an empty one are the same, or which of them stands would be by chance.
    reason, detail = data.get("reason") or None, data.get("detail") or None
    if writer_id is None:
        # Only an ended run has a reason: rows keep one pair, of what is shown.
        if not RunStatus(data["status"]).is_terminal:
            reason = detail = None
        _say_status(run, order_us, data["status"], _end_of(event), reason, detail)
        return
    guess = Guess(
        order_us=order_us,
        status=data["status"],
        end_us=_end_of(event),
        reason=reason,
        detail=detail,
        writer_id=writer_id,
        seq=data.get("guessed_seq") or 0,
    )
    run.guesses = tuple(sorted({*run.guesses, guess}, key=_guess_order))[-GUESSES_MAX:]


def drop_outdated_guesses(run: RunState, next_seq_of: Callable[[str], int]) -> None:
    """Forget the guesses that later truth has refuted; none of them can come true again.

    `next_seq_of` is the end of what was folded of a writer in this run.
    """
    run.guesses = tuple(
        guess
        for guess in run.guesses
        if guess.order_us > run.status_order_us and next_seq_of(guess.writer_id) <= guess.seq
    )


def deleted(run: RunState, event: Event, order_us: int, writer: WriterState) -> None:
    _say_lifecycle(run, order_us, DELETED)


def restored(run: RunState, event: Event, order_us: int, writer: WriterState) -> None:
    _say_lifecycle(run, order_us, ACTIVE)


def events_dropped(run: RunState, event: Event, order_us: int, writer: WriterState) -> None:
    _count_dropped(run, event.data["count"])


def range_dropped(run: RunState, dropped: DroppedRange) -> None:
    _count_dropped(run, dropped.width)


RULES: Final[Mapping[str, Callable[[RunState, Event, int, WriterState], None]]] = {
    EventType.RUN_RESUMED: resumed,
    EventType.RUN_JOINED: joined,
    EventType.RUN_UPDATED: updated,
    EventType.RUN_ENDED: ended,
    EventType.RUN_DELETED: deleted,
    EventType.RUN_RESTORED: restored,
    EventType.EVENTS_DROPPED: events_dropped,
}


def see_time(run: RunState, time_us: int) -> None:
    """Until a run.started says when the run began, it began with its earliest fact."""
    if not run.is_born and time_us < run.start_us:
        run.start_us = time_us


def say_tag(entry: RunEntry, details: RunDetails, key_id: int, said: Said) -> None:
    """The greatest order stands; of one order the greater text, and any text over none."""
    before = details.tags.get(key_id)
    if before is None or said.order_us > before.order_us or is_later(said, before):
        details.tags[key_id] = said
        entry.changed_tags.add(key_id)


def is_later(said: Said, before: Said) -> bool:
    return (said.order_us, said.value is not None, said.value or "") > (
        before.order_us,
        before.value is not None,
        before.value or "",
    )


def say_param(entry: RunEntry, details: RunDetails, key_id: int, said: ParamValue) -> None:
    """The smallest order stands, of one order the smaller text; other values are conflicts."""
    standing = details.params.get(key_id)
    if standing is None:
        details.params[key_id] = said
        entry.changed_params.add(key_id)
        return
    others = details.conflicts.get(key_id, {})
    known = standing if said.value == standing.value else others.get(said.value)
    earliest = said if known is None else _earlier(said, known)
    if earliest is known:
        return
    if earliest.value == standing.value:
        details.params[key_id] = earliest
        entry.changed_params.add(key_id)
        return
    if (earliest.order_us, earliest.value) < (standing.order_us, standing.value):
        details.params[key_id], earliest = earliest, standing
        others.pop(said.value, None)
        entry.changed_params.add(key_id)
    details.conflicts[key_id] = others
    others[earliest.value] = earliest
    entry.changed_conflicts.add(key_id)


def _earlier(said: ParamValue, known: ParamValue) -> ParamValue:
    is_earlier = (said.order_us, said.writer_id) < (known.order_us, known.writer_id)
    return said if is_earlier else known


def _say_status(
    run: RunState,
    order_us: int,
    status: str,
    end_us: int | None,
    reason: str | None = None,
    detail: str | None = None,
) -> None:
    said = (order_us, status, reason or "", detail or "")
    stands = (run.status_order_us, run.base_status, run.base_reason or "", run.base_detail or "")
    if said > stands:
        run.status_order_us, run.base_status = order_us, status
        run.base_reason, run.base_detail = reason, detail
    _say_end(run, order_us, end_us)


def _say_end(run: RunState, order_us: int, end_us: int | None) -> None:
    said = (order_us, end_us is not None, end_us or 0)
    if said > (run.end_order_us, run.base_end_us is not None, run.base_end_us or 0):
        run.end_order_us, run.base_end_us = order_us, end_us


def _say_name_and_user(run: RunState, data: Mapping[str, Any], order_us: int) -> None:
    name, user = data.get("name"), data.get("user")
    if name is not None and (order_us, name) > (run.name_order_us, run.name):
        run.name_order_us, run.name = order_us, name
    if user is not None and (order_us, user) > (run.user_order_us, run.user_id):
        run.user_order_us, run.user_id = order_us, user


def _say_lifecycle(run: RunState, order_us: int, stage: str) -> None:
    if (order_us, stage) > (run.lifecycle_order_us, run.lifecycle_stage):
        run.lifecycle_order_us, run.lifecycle_stage = order_us, stage


def _own(run: RunState, order_us: int, writer_id: str) -> None:
    if (order_us, writer_id) > (run.owner_order_us, run.owner_writer_id or ""):
        run.owner_order_us, run.owner_writer_id = order_us, writer_id


def _end_of(event: Event) -> int:
    end_us = event.data.get("end_time_us")
    return event.time_us if end_us is None else int(end_us)


def _count_dropped(run: RunState, count: int) -> None:
    run.dropped = min(run.dropped + count, INT64_MAX)


def _guess_order(guess: Guess) -> tuple[int, str, int, str, int, str, str]:
    return (
        guess.order_us,
        guess.status,
        guess.end_us,
        guess.writer_id,
        guess.seq,
        guess.reason or "",
        guess.detail or "",
    )
