"""Takes runs down: the last fact, the disk, a bounded wait for delivery, one line.

Several runs that end together (at exit) share one wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tracker import delivery, notices
from tracker.config import ClientSettings
from tracker.delivery import Patience
from tracker.destination import LOCAL
from tracker.events.types import EventType
from tracker.exits import Outcome
from tracker.recording import Writer
from tracker.run import Run
from tracker.starting import given

# Staged files are on the disk within moments, and git answers in one; a disk that hangs must not
# hold the exit.
_STAGING_WAIT_S: Final = 5.0


class _Closing(NamedTuple):
    run: Run
    outcome: Outcome
    writer: Writer
    was_owner: bool
    artifacts: Writer | None


def take_down(
    runs: Sequence[Run],
    outcome: Outcome,
    *,
    settings: ClientSettings,
    patience: Patience,
    timeout_s: float | None = None,
) -> None:
    """End the runs this process owns, leave the others; the records of all are on disk."""
    closing = [each for each in (_close(run, outcome) for run in runs) if each is not None]
    if not closing:
        return
    shipped = []
    for each in closing:
        if _is_shipped(each, settings):
            shipped += [writer for writer in (each.writer, each.artifacts) if writer is not None]
    if shipped:
        patience.wait(shipped, timeout_s=settings.exit_wait_s if timeout_s is None else timeout_s)
    for each in closing:
        line = _line(each, settings)
        each.writer.close()
        if each.artifacts is not None:
            each.artifacts.close()
        if each.was_owner:
            notices.notices.say(line, is_quiet=settings.is_quiet)


def _close(run: Run, outcome: Outcome) -> _Closing | None:
    was_owner = run.is_owner
    outcome = run.mark_ended(outcome)
    fact = {
        "status": outcome.status,
        "end_time_us": outcome.end_time_us,
        "reason": outcome.reason,
        "detail": outcome.detail,
    }
    kind = EventType.RUN_ENDED if was_owner else None
    artifacts = None
    if not run.finish_artifacts(_STAGING_WAIT_S):
        notices.notices.warn_once(
            "staging at the end",
            f"the snapshot or files of run {run.name} were not on the disk {_STAGING_WAIT_S:g} s "
            "after its end; what this process does not live to finish is missing from the run",
        )
    if run.opened_artifacts is not None:
        artifacts = run.opened_artifacts.recording.close_with(None, {})
    writer = run.recording.close_with(kind, given(fact))
    if writer is None:
        if artifacts is not None:
            artifacts.close()
        return None
    return _Closing(run, outcome, writer, was_owner, artifacts)


def _is_shipped(closing: _Closing, settings: ClientSettings) -> bool:
    """Whether it makes sense to wait: somebody listens, or is being started."""
    plan = closing.run.recording.plan
    if plan.mode != "online":
        return False
    if closing.writer.ring_doorbell():
        return True
    return plan.uri != LOCAL and settings.shipper != "none"


def _line(closing: _Closing, settings: ClientSettings) -> str:
    plan = closing.run.recording.plan
    return notices.ended(
        name=closing.run.name,
        status=closing.outcome.status,
        logged=delivery.logged(closing.writer),
        waiting=delivery.waiting(closing.writer),
        files_waiting=0 if closing.artifacts is None else delivery.waiting(closing.artifacts),
        destination=plan.uri,
        spool=plan.spool_dir / plan.run_id,
        mode=plan.mode,
        shipper=settings.shipper,
    )
