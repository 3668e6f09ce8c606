"""What may be done to runs from outside their own writers, and the events that do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingest.decisions import Decider
from ingest.errors import ExperimentDeleted, ParamChanged, RunDeleted, RunNotFound
from ingest.schemas import PatchRun
from projections.read_models import RunView
from tracker.events.types import Event, EventType, RunStatus


async def patch_run(decider: Decider, run_id: str, command: PatchRun) -> int:
    """The position at which the changes can be read; all of them or none are made.

    Raises RunNotFound, RunDeleted, ExperimentDeleted and ParamChanged.
    """

    async def decide(now_us: int) -> Sequence[Event]:
        view = await decider.reads.runs.get_run(run_id, live_run_ids=frozenset())
        if view is None:
            raise RunNotFound(f"there is no run {run_id[:64]!r}")
        await _check(decider, view, command)
        # Later than every clock the run has shown, so the edit wins over what it saw.
        time_us = max(now_us, view.order_us + 1)
        return [Event(kind, time_us, data) for kind, data in _changes(view, command, now_us)]

    return await decider.take(run_id, decide)


async def _check(decider: Decider, view: RunView, command: PatchRun) -> None:
    is_deleted = view.lifecycle_stage == "deleted"
    if is_deleted and command.lifecycle_stage is None:
        raise RunDeleted(f"run {view.run_id} is deleted; restore it first", run_id=view.run_id)
    if is_deleted and command.lifecycle_stage == "active":
        experiment = await decider.reads.runs.get_experiment(view.experiment_id)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise ExperimentDeleted(
                f"run {view.run_id} was deleted with its experiment {experiment.name!r}; "
                "restore that one",
                experiment_id=experiment.experiment_id,
            )
    for key, value in (command.params or {}).items():
        if view.params.get(key, value) != value:
            raise ParamChanged(
                f"param {key!r} of run {view.run_id} is {view.params[key][:200]!r} already and "
                f"cannot become {value[:200]!r}; log another key, or a tag",
                key=key,
            )


def _changes(
    view: RunView, command: PatchRun, now_us: int
) -> list[tuple[EventType, Mapping[str, Any]]]:
    changes: list[tuple[EventType, Mapping[str, Any]]] = []
    if command.lifecycle_stage == "active" and view.lifecycle_stage == "deleted":
        changes.append((EventType.RUN_RESTORED, {}))
    if command.name is not None and command.name != view.name:
        changes.append((EventType.RUN_UPDATED, {"name": command.name}))
    changes.extend(_status_changes(view, command, now_us))
    params = {k: v for k, v in (command.params or {}).items() if k not in view.params}
    if params:
        changes.append((EventType.PARAMS_LOGGED, {"params": params}))
    tags = command.tags or {}
    set_ = {key: value for key, value in tags.items() if value is not None}
    if any(view.tags.get(key) != value for key, value in set_.items()):
        changes.append((EventType.TAGS_SET, {"tags": set_}))
    for key, value in tags.items():
        if value is None and key in view.tags:
            changes.append((EventType.TAG_DELETED, {"key": key}))
    if command.lifecycle_stage == "deleted" and view.lifecycle_stage == "active":
        changes.append((EventType.RUN_DELETED, {}))
    return changes


def _status_changes(
    view: RunView, command: PatchRun, now_us: int
) -> list[tuple[EventType, Mapping[str, Any]]]:
    """A terminal status ends the run, at the time given or now; it is said again if given."""
    if command.status is None:
        if command.end_time_us is None or command.end_time_us == view.end_time_us:
            return []
        return [(EventType.RUN_UPDATED, {"end_time_us": command.end_time_us})]
    if not RunStatus(command.status).is_terminal:
        data: dict[str, Any] = {"status": command.status}
        if command.end_time_us is not None:
            data["end_time_us"] = command.end_time_us
        return [(EventType.RUN_UPDATED, data)]
    if command.status == view.status and command.end_time_us in (None, view.end_time_us):
        return []
    end_time_us = now_us if command.end_time_us is None else command.end_time_us
    return [(EventType.RUN_ENDED, {"status": command.status, "end_time_us": end_time_us})]
