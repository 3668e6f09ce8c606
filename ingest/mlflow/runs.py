"""Runs: create, get, update, delete, restore, and what is taken off them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from ingest.errors import ProjectionBehind
from ingest.messages import json_answer
from ingest.mlflow.bodies import Fields, pairs, read_fields, wrong_value
from ingest.mlflow.entities import artifact_location, run_info_json, run_json
from ingest.mlflow.errors import invalid, no_such
from ingest.mlflow.metric_points import TIMESTAMP_MS_MAX
from ingest.mlflow.names import experiment_id_of
from ingest.mlflow.reading import experiment_not_found, location_of, run_view
from ingest.mlflow.run_changes import Change, change_run, tag_changes
from ingest.mlflow.services import MLFLOW
from ingest.routes.experiments import decider_of
from projections.read_models import ExperimentView, Liveness, RunView
from tracker import tag_names
from tracker.events.ids import is_run_id, new_run_id
from tracker.events.types import Event, EventType, RunStatus
from tracker.names import name_for

# Protobuf's enum may come as its number.
_STATUSES: Final[Mapping[int, str]] = {
    1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED",
}  # fmt: skip


async def create(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    given_id = fields.text("experiment_id")
    start_ms = fields.integer("start_time") or 0
    name = fields.text("run_name") or ""
    tags = dict(pairs(fields.array("tags"), "tags"))
    user = fields.text("user_id") or ""
    if abs(start_ms) > TIMESTAMP_MS_MAX:
        raise wrong_value("start_time", start_ms, "It does not fit 64 bits in microseconds.")
    run_id = new_run_id()
    name = _name(run_id, name, tags)
    tags.setdefault(tag_names.RUN_NAME, name)
    experiment_id = experiment_id_of(given_id)
    decider = decider_of(request)
    experiments: list[ExperimentView] = []

    async def decide(now_us: int) -> Sequence[Event]:
        experiment = await decider.reads.runs.get_experiment(experiment_id)
        if experiment is None:
            raise experiment_not_found(experiment_id)
        _check_active(experiment)
        experiments.append(experiment)
        data = {
            "experiment_id": experiment_id,
            "name": name,
            "user": user,
            "start_time_us": start_ms * 1000,
            "tags": tags,
        }
        parent = tags.get(tag_names.PARENT_RUN_ID)
        if parent is not None and is_run_id(parent):
            data["parent_run_id"] = parent
        return [Event(EventType.RUN_STARTED, now_us, data)]

    try:
        await decider.take(run_id, decide)
    except ProjectionBehind as error:
        if "position" not in error.details:
            raise
        # It is recorded, and must not be created a second time.
    request.app[MLFLOW].active.remember(run_id)
    run = RunView(
        run_id=run_id,
        name=name,
        experiment_id=experiment_id,
        user_id=user,
        status=RunStatus.RUNNING,
        liveness=Liveness.LIVE,
        lifecycle_stage="active",
        start_time_us=start_ms * 1000,
        end_time_us=None,
        end_reason=None,
        end_detail=None,
        parent_run_id=None,
        dropped=0,
        last_position=0,
        params={},
        tags=tags,
        metrics={},
    )
    return json_answer({"run": run_json(run, artifact_location(experiments[-1]))})


def _name(run_id: str, name: str, tags: Mapping[str, str]) -> str:
    tagged = tags.get(tag_names.RUN_NAME)
    if name and tagged and name != tagged:
        raise invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with "
            f"different values (run_name='{name}', mlflow.runName='{tagged}')."
        )
    return name or tagged or name_for(run_id)


def _check_active(experiment: ExperimentView) -> None:
    if experiment.lifecycle_stage != "active":
        raise invalid(
            f"The experiment {experiment.experiment_id} must be in the 'active' state. "
            f"Current state is {experiment.lifecycle_stage}."
        )


async def get(request: web.Request) -> web.Response:
    view = await run_view(request, (await read_fields(request)).run_id())
    return json_answer({"run": run_json(view, await location_of(request, view.experiment_id))})


async def update(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    end_ms, status = fields.integer("end_time"), _status(fields)
    if end_ms is not None and abs(end_ms) > TIMESTAMP_MS_MAX:
        raise wrong_value("end_time", end_ms, "It does not fit 64 bits in microseconds.")
    name = fields.text("run_name")

    def changes(view: RunView) -> list[Change]:
        named = tag_changes(view, {tag_names.RUN_NAME: name}) if name else []
        return [*_status_changes(view, status, end_ms), *named]

    await change_run(request, run_id, changes)
    view = await run_view(request, run_id)
    location = await location_of(request, view.experiment_id)
    return json_answer({"run_info": run_info_json(view, location)})


def _status(fields: Fields) -> str | None:
    value = fields.values.get("status")
    if value is None or (isinstance(value, str) and value in RunStatus.__members__):
        return value
    if isinstance(value, int) and value in _STATUSES:
        return _STATUSES[value]
    fields.text("status")
    raise wrong_value("status", value, f"It is none of {', '.join(RunStatus.__members__)}.")


def _status_changes(view: RunView, status: str | None, end_ms: int | None) -> list[Change]:
    """A terminal status ends the run, at the time given or now; again only if it differs."""
    end: dict[str, Any] = {} if end_ms is None else {"end_time_us": end_ms * 1000}
    is_same_end = end_ms is None or view.end_time_us == end_ms * 1000
    if status is None or status == view.status:
        return [] if is_same_end else [(EventType.RUN_UPDATED, end)]
    if RunStatus(status).is_terminal:
        return [(EventType.RUN_ENDED, {"status": status, **end})]
    return [(EventType.RUN_UPDATED, {"status": status, **end})]


async def delete(request: web.Request) -> web.Response:
    run_id = (await read_fields(request)).run_id()

    def changes(view: RunView) -> list[Change]:
        return [(EventType.RUN_DELETED, {})] if view.lifecycle_stage == "active" else []

    await change_run(request, run_id, changes, must_be_active=False)
    request.app[MLFLOW].active.forget(run_id)
    return json_answer({})


async def restore(request: web.Request) -> web.Response:
    """Restoring twice is fine; a run of a deleted experiment comes back with that."""
    run_id = (await read_fields(request)).run_id()

    def changes(view: RunView) -> list[Change]:
        return [(EventType.RUN_RESTORED, {})] if view.lifecycle_stage == "deleted" else []

    await change_run(request, run_id, changes, must_be_active=False)
    view = await run_view(request, run_id)
    if view.lifecycle_stage == "deleted":
        raise invalid(
            f"Run {run_id} belongs to experiment {view.experiment_id}, which is deleted; "
            "restore that one."
        )
    return json_answer({})


async def delete_tag(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    key = fields.text("key", is_required=True) or ""

    def changes(view: RunView) -> list[Change]:
        if key not in view.tags:
            raise no_such(f"No tag with name: {key} in run with id {run_id}")
        return [(EventType.TAG_DELETED, {"key": key})]

    await change_run(request, run_id, changes)
    return json_answer({})
