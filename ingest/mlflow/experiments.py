"""Experiments: create, get, rename, tag, delete, restore.

A name that any experiment has is taken, be it deleted: so it is with MLflow, whose clients
count on it. (The native API frees the name of a deleted experiment.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from aiohttp import web

from ingest.errors import ExperimentExists, ProjectionBehind
from ingest.experiment_decisions import create_experiment, patch_experiment
from ingest.messages import json_answer
from ingest.mlflow import names
from ingest.mlflow.bodies import pairs, read_fields
from ingest.mlflow.entities import experiment_json
from ingest.mlflow.errors import (
    INVALID_STATE,
    RESOURCE_ALREADY_EXISTS,
    MlflowRefusal,
    invalid,
    no_such,
)
from ingest.mlflow.reading import current_runs, experiment_not_found, experiment_view
from ingest.mlflow.services import MLFLOW
from ingest.routes.experiments import decider_of
from ingest.schemas import CreateExperiment, PatchExperiment
from projections.read_models import ExperimentView
from tracker.events.types import Event, EventType

LOCATION_CHARACTERS_MAX: Final = 2048
STREAM: Final = ""

Change = tuple[EventType, Mapping[str, Any]]


async def create(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    name = fields.text("name", is_required=True) or ""
    location = fields.text("artifact_location") or None
    tags = dict(pairs(fields.array("tags"), "tags"))
    names.check_experiment_name(name)
    if location is not None:
        location = _location(location)
    for key, value in tags.items():
        names.check_experiment_tag(key, value)
    async with request.app[MLFLOW].locks.of(STREAM):
        if await (await current_runs(request)).get_experiment_by_name(name) is not None:
            raise _exists(name)
        command = CreateExperiment(name=name, artifact_location=location, tags=tags)
        try:
            created, _ = await create_experiment(decider_of(request), command)
        except ExperimentExists:
            raise _exists(name) from None
    return json_answer({"experiment_id": created.experiment_id})


def _exists(name: str) -> Exception:
    return MlflowRefusal(f"Experiment(name={name}) already exists.", RESOURCE_ALREADY_EXISTS)


def _location(uri: str) -> str:
    """Where artifacts go instead of here; a local path is made absolute, as MLflow does."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise invalid(f"'artifact_location' is no URI: {uri[:200]!r}.") from None
    if parts.fragment or ";" in parts.path:
        raise invalid("'artifact_location' URL can't include fragments or params.")
    if ".." in unquote(unquote(parts.query)).split("/"):
        raise invalid(f"Invalid query string: {parts.query[:200]}")
    if uri.startswith("runs:"):
        raise invalid(f"Artifact location cannot be a runs:/ URI. Given: '{uri[:200]}'")
    if len(uri) > LOCATION_CHARACTERS_MAX:
        raise invalid(
            "Invalid artifact path length. The length of the artifact path cannot be "
            f"greater than {LOCATION_CHARACTERS_MAX} characters."
        )
    is_relative = not parts.scheme and not parts.path.startswith("/")
    return Path.cwd().joinpath(uri).as_posix() if is_relative else uri


async def get(request: web.Request) -> web.Response:
    experiment_id = (await read_fields(request)).text("experiment_id", is_required=True)
    return json_answer(
        {"experiment": experiment_json(await experiment_view(request, experiment_id))}
    )


async def get_by_name(request: web.Request) -> web.Response:
    name = (await read_fields(request)).text("experiment_name", is_required=True) or ""
    view = await (await current_runs(request)).get_experiment_by_name(name)
    if view is None:
        raise no_such(f"Could not find experiment with name '{name[:500]}'")
    return json_answer({"experiment": experiment_json(view)})


async def update(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    given_id = fields.text("experiment_id", is_required=True)
    name = fields.text("new_name", is_required=True) or ""
    names.check_experiment_name(name)
    view = await experiment_view(request, given_id)
    if view.lifecycle_stage != "active":
        raise MlflowRefusal("Cannot rename a non-active experiment.", INVALID_STATE)
    taken = await (await current_runs(request)).get_experiment_by_name(name)
    if taken is not None and taken.experiment_id != view.experiment_id:
        raise _exists(name)
    await _patch(request, view.experiment_id, PatchExperiment(name=name))
    return json_answer({})


async def delete(request: web.Request) -> web.Response:
    view = await _in_stage(request, "active")
    await _patch(request, view.experiment_id, PatchExperiment(lifecycle_stage="deleted"))
    request.app[MLFLOW].active.forget_all()
    return json_answer({})


async def restore(request: web.Request) -> web.Response:
    view = await _in_stage(request, "deleted")
    await _patch(request, view.experiment_id, PatchExperiment(lifecycle_stage="active"))
    return json_answer({})


async def _in_stage(request: web.Request, stage: str) -> ExperimentView:
    """One that is in another stage is not there, to MLflow."""
    given_id = (await read_fields(request)).text("experiment_id", is_required=True)
    view = await experiment_view(request, given_id)
    if view.lifecycle_stage != stage:
        raise experiment_not_found(view.experiment_id)
    return view


async def _patch(request: web.Request, experiment_id: str, command: PatchExperiment) -> None:
    async with request.app[MLFLOW].locks.of(STREAM):
        with _recorded_is_done():
            await patch_experiment(decider_of(request), experiment_id, command)


@contextmanager
def _recorded_is_done() -> Iterator[None]:
    """What is recorded and not folded yet must not be sent again."""
    try:
        yield
    except ProjectionBehind as error:
        if "position" not in error.details:
            raise


async def set_tag(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    given_id = fields.text("experiment_id", is_required=True)
    key = fields.text("key", is_required=True) or ""
    value = fields.text("value") or ""
    names.check_experiment_tag(key, value)

    def changes(view: ExperimentView) -> list[Change]:
        if view.tags.get(key) == value:
            return []
        data = {"experiment_id": view.experiment_id, "tags": {key: value}}
        return [(EventType.EXPERIMENT_TAGS_SET, data)]

    await _change_active(request, given_id, changes)
    return json_answer({})


async def delete_tag(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    given_id = fields.text("experiment_id", is_required=True)
    key = fields.text("key", is_required=True) or ""

    def changes(view: ExperimentView) -> list[Change]:
        if key not in view.tags:
            raise no_such(f"No tag with name: {key} in experiment with id {view.experiment_id}")
        data = {"experiment_id": view.experiment_id, "key": key}
        return [(EventType.EXPERIMENT_TAG_DELETED, data)]

    await _change_active(request, given_id, changes)
    return json_answer({})


async def _change_active(
    request: web.Request,
    given_id: str | None,
    changes: Callable[[ExperimentView], list[Change]],
) -> None:
    """Take a decision about an experiment, which must be active."""
    experiment_id = names.experiment_id_of(given_id)
    decider = decider_of(request)

    async def decide(now_us: int) -> Sequence[Event]:
        view = await decider.reads.runs.get_experiment(experiment_id)
        if view is None:
            raise experiment_not_found(experiment_id)
        if view.lifecycle_stage != "active":
            raise invalid(
                f"The experiment {experiment_id} must be in the 'active' state. "
                f"Current state is {view.lifecycle_stage}."
            )
        time_us = max(now_us, view.order_us + 1)
        return [Event(kind, time_us, data) for kind, data in changes(view)]

    async with request.app[MLFLOW].locks.of(STREAM):
        with _recorded_is_done():
            await decider.take(STREAM, decide)
