"""Decisions about one run in MLflow's terms: what it refuses, and the events that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from ingest.errors import ProjectionBehind
from ingest.mlflow.errors import invalid
from ingest.mlflow.reading import run_not_found, run_view
from ingest.mlflow.services import MLFLOW
from ingest.routes.experiments import decider_of
from ingest.state import READ_STORES
from projections.read_models import RunView
from tracker import tag_names
from tracker.events.types import Event, EventType

Change = tuple[EventType, Mapping[str, Any]]
Changes = Callable[[RunView], Sequence[Change]]
"""What follows from the run as it is; raises to refuse."""


async def change_run(
    request: web.Request, run_id: str, changes: Changes, *, must_be_active: bool = True
) -> None:
    """Take a decision about a run, and return when its outcome can be read."""
    decider, services = decider_of(request), request.app[MLFLOW]

    async def decide(now_us: int) -> Sequence[Event]:
        view = await decider.reads.runs.get_run(run_id, live_run_ids=frozenset())
        if view is None:
            raise run_not_found(run_id)
        if must_be_active:
            check_active(view)
            services.active.remember(run_id)
        # Later than every clock the run has shown, so this is the last word on what it says.
        time_us = max(now_us, view.order_us + 1)
        return [Event(kind, time_us, data) for kind, data in changes(view)]

    async with services.locks.of(run_id):
        try:
            await decider.take(run_id, decide)
        except ProjectionBehind as error:
            # It is recorded: a client that was told to send it again would only be confused.
            if "position" not in error.details:
                raise


def check_active(view: RunView) -> None:
    if view.lifecycle_stage != "active":
        raise invalid(
            f"The run {view.run_id} must be in the 'active' state. "
            f"Current state is {view.lifecycle_stage}."
        )


async def check_run_takes(request: web.Request, run_id: str) -> None:
    """Raise unless the run exists and is active; see services.ActiveRuns.

    ProjectionBehind when that is not known yet: a run that is not folded is not one that is
    not there, and nobody sends again what was answered with 404.
    """
    services = request.app[MLFLOW]
    if services.active.is_known(run_id):
        return
    view = await request.app[READ_STORES].runs.get_run(run_id, live_run_ids=frozenset())
    if view is None:
        # It may be in the log already: told by another server, or a native client just now.
        view = await run_view(request, run_id)
    check_active(view)
    services.active.remember(run_id)


def param_changes(view: RunView, params: Mapping[str, str], *, is_batch: bool) -> list[Change]:
    """New params; one that has another value already is refused in MLflow's words."""
    wrong = {key: value for key, value in params.items() if view.params.get(key, value) != value}
    if wrong and is_batch:
        said = [
            {"key": key, "old_value": view.params[key], "new_value": value}
            for key, value in wrong.items()
        ]
        raise invalid(
            "Changing param values is not allowed. Params were already"
            f" logged='{said}' for run ID='{view.run_id}'."
        )
    for key, value in wrong.items():
        raise invalid(
            f"Changing param values is not allowed. Param with key='{key}' was already"
            f" logged with value='{view.params[key]}' for run ID='{view.run_id}'. "
            f"Attempted logging new value '{value}'."
        )
    new = {key: value for key, value in params.items() if key not in view.params}
    return [(EventType.PARAMS_LOGGED, {"params": new})] if new else []


def tag_changes(view: RunView, tags: Mapping[str, str]) -> list[Change]:
    """Tags that are new or have another value; the run's name is one of them."""
    changes: list[Change] = []
    name = tags.get(tag_names.RUN_NAME)
    if name and name != view.name:
        changes.append((EventType.RUN_UPDATED, {"name": name}))
    new = {key: value for key, value in tags.items() if view.tags.get(key) != value}
    if new:
        changes.append((EventType.TAGS_SET, {"tags": new}))
    return changes
