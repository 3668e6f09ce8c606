"""What may be done to experiments, and the events that do it.

A name belongs to one active experiment at a time. Deleting an experiment frees its name:
whoever creates it again gets a new experiment with an id of its own, and restoring the old
one is refused while the name is taken. The runs of a deleted experiment are shown as
deleted and come back with it; their own lifecycle stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingest.decisions import Decider
from ingest.errors import (
    ExperimentDeleted,
    ExperimentExists,
    ExperimentNotFound,
    InvalidRequest,
    ProjectionBehind,
)
from ingest.schemas import CreateExperiment, PatchExperiment
from projections.read_models import ExperimentView, RunsReadStore
from tracker.events.ids import DEFAULT_EXPERIMENT_ID, ExperimentId, experiment_id_for
from tracker.events.types import Event, EventType

STREAM = ""


async def create_experiment(
    decider: Decider, command: CreateExperiment
) -> tuple[ExperimentView, int]:
    """(the new experiment, its position). Raises ExperimentExists.

    It may be recorded and not folded yet: whoever was told to send it again would then hear
    that the name is taken, by himself.
    """
    decided: list[ExperimentView] = []

    async def decide(now_us: int) -> Sequence[Event]:
        runs = decider.reads.runs
        await _check_name_is_free(runs, command.name)
        experiment_id, order_us = await _free_id(runs, command.name)
        data: dict[str, Any] = {"experiment_id": experiment_id, "name": command.name}
        if command.artifact_location is not None:
            data["artifact_location"] = command.artifact_location
        if command.tags:
            data["tags"] = command.tags
        time_us = max(now_us, order_us + 1)
        decided.append(
            ExperimentView(
                experiment_id=experiment_id,
                name=command.name,
                lifecycle_stage="active",
                artifact_location=command.artifact_location,
                created_time_us=time_us,
                updated_time_us=time_us,
                tags=command.tags or {},
            )
        )
        return [Event(EventType.EXPERIMENT_CREATED, time_us, data)]

    try:
        position = await decider.take(STREAM, decide)
    except ProjectionBehind as error:
        if "position" not in error.details:
            raise
        position = error.details["position"]
    return decided[-1], position


async def patch_experiment(decider: Decider, experiment_id: str, command: PatchExperiment) -> int:
    """The position at which the changes can be read; all of them or none are made.

    Raises ExperimentNotFound, ExperimentDeleted, ExperimentExists and InvalidRequest.
    """

    async def decide(now_us: int) -> Sequence[Event]:
        runs = decider.reads.runs
        view = await runs.get_experiment(experiment_id)
        if view is None:
            raise ExperimentNotFound(f"there is no experiment {experiment_id[:64]!r}")
        await _check(runs, view, command)
        time_us = max(now_us, view.order_us + 1)
        return [Event(kind, time_us, data) for kind, data in _changes(view, command)]

    return await decider.take(STREAM, decide)


async def _check(runs: RunsReadStore, view: ExperimentView, command: PatchExperiment) -> None:
    is_deleted = view.lifecycle_stage == "deleted"
    is_restored = command.lifecycle_stage == "active"
    if is_deleted and not is_restored and (command.name is not None or command.tags):
        raise ExperimentDeleted(
            f"experiment {view.name!r} is deleted; restore it first",
            experiment_id=view.experiment_id,
        )
    if command.lifecycle_stage == "deleted" and view.experiment_id == DEFAULT_EXPERIMENT_ID:
        raise InvalidRequest(
            "the Default experiment cannot be deleted: runs that name no experiment belong to it"
        )
    name = view.name if command.name is None else command.name
    if (is_deleted and is_restored) or name != view.name:
        await _check_name_is_free(runs, name, except_for=view.experiment_id)


async def _check_name_is_free(
    runs: RunsReadStore, name: str, *, except_for: str | None = None
) -> None:
    taken = await runs.get_experiment_by_name(name)
    if taken is None or taken.lifecycle_stage == "deleted" or taken.experiment_id == except_for:
        return
    raise ExperimentExists(
        f"the name {name!r} is taken by the active experiment {taken.experiment_id}; "
        "rename that one, or choose another name",
        experiment_id=taken.experiment_id,
    )


async def _free_id(runs: RunsReadStore, name: str) -> tuple[ExperimentId, int]:
    """(the id that follows from the name, the clock of what is known of it)."""
    salt = 0
    while True:
        experiment_id = experiment_id_for(name, salt=salt)
        taken = await runs.get_experiment(experiment_id)
        if taken is None:
            return experiment_id, 0
        if taken.name == "" and taken.lifecycle_stage == "active":
            return experiment_id, taken.order_us  # so far known by its id only
        salt += 1


def _changes(
    view: ExperimentView, command: PatchExperiment
) -> list[tuple[EventType, Mapping[str, Any]]]:
    about = {"experiment_id": view.experiment_id}
    changes: list[tuple[EventType, Mapping[str, Any]]] = []
    if command.lifecycle_stage == "active" and view.lifecycle_stage == "deleted":
        changes.append((EventType.EXPERIMENT_RESTORED, about))
    if command.name is not None and command.name != view.name:
        changes.append((EventType.EXPERIMENT_RENAMED, {**about, "name": command.name}))
    tags = command.tags or {}
    set_ = {key: value for key, value in tags.items() if value is not None}
    if any(view.tags.get(key) != value for key, value in set_.items()):
        changes.append((EventType.EXPERIMENT_TAGS_SET, {**about, "tags": set_}))
    for key, value in tags.items():
        if value is None and key in view.tags:
            changes.append((EventType.EXPERIMENT_TAG_DELETED, {**about, "key": key}))
    if command.lifecycle_stage == "deleted" and view.lifecycle_stage == "active":
        changes.append((EventType.EXPERIMENT_DELETED, about))
    return changes
