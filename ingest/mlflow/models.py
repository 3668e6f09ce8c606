"""MLflow 3's logged models over its REST API. Facts about models lie in the workspace's stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from ingest.errors import ProjectionBehind
from ingest.messages import json_answer
from ingest.mlflow.bodies import pairs, read_fields, wrong_value
from ingest.mlflow.errors import invalid, no_such
from ingest.mlflow.models_json import STATUS_SAID, model_json
from ingest.mlflow.names import experiment_id_of, too_long
from ingest.mlflow.reading import current_runs, experiment_view
from ingest.mlflow.services import MLFLOW
from ingest.routes.experiments import decider_of
from projections.models_queries import ModelView
from tracker.events.ids import is_run_id
from tracker.events.types import Event, EventType
from tracker.names import name_for

STREAM: Final = ""
_NAME_CHARACTERS_MAX: Final = 500
_KEY_CHARACTERS_MAX: Final = 250
_PARAM_CHARACTERS_MAX: Final = 6_000
_TAG_CHARACTERS_MAX: Final = 5_000
_PARAMS_MAX: Final = 1_000
_STATUS_OF: Final[Mapping[Any, str]] = {
    **{said: status for status, said in STATUS_SAID.items()},
    1: "PENDING",
    2: "READY",
    3: "FAILED",
}

Changes = Callable[[ModelView], Sequence[tuple[EventType, Mapping[str, Any]]]]


async def create(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    experiment_id = experiment_id_of(fields.text("experiment_id", is_required=True))
    name = fields.text("name") or ""
    _check_name(name)
    experiment = await experiment_view(request, experiment_id)
    if experiment.lifecycle_stage != "active":
        raise invalid(f"The experiment {experiment_id} must be in the 'active' state.")
    model_id = f"m-{os.urandom(16).hex()}"
    given = {
        "name": name or name_for(model_id),
        "source_run_id": fields.text("source_run_id"),
        "model_type": fields.text("model_type"),
    }
    fact: dict[str, Any] = {"model_id": model_id, "experiment_id": experiment_id}
    fact |= {key: value for key, value in given.items() if value}
    if fact.get("source_run_id") and not is_run_id(fact["source_run_id"]):
        raise wrong_value("source_run_id", fact["source_run_id"])
    fact["params"] = _params(fields.array("params"))
    fact["tags"] = _tags(fields.array("tags"))

    async def decide(now_us: int) -> Sequence[Event]:
        return [Event(EventType.MODEL_CREATED, now_us, fact)]

    await _take(request, decide)
    return await _answer(request, model_id)


async def get(request: web.Request) -> web.Response:
    allows_deleted = request.query.get("allow_deleted", "").lower() == "true"
    model = await _model(request, allows_deleted=allows_deleted)
    return json_answer({"model": await model_json(request, model)})


async def delete(request: web.Request) -> web.Response:
    await _change(request, lambda view: [(EventType.MODEL_DELETED, {})])
    return json_answer({})


async def finalize(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    status = _STATUS_OF.get(fields.required("status"))
    if status is None:
        raise wrong_value("status", fields.values["status"])
    message = fields.text("status_message")
    fact = {"status": status} | ({"message": message} if message else {})
    await _change(request, lambda view: [(EventType.MODEL_FINALIZED, fact)])
    return await _answer(request, request.match_info["model_id"])


async def set_tags(request: web.Request) -> web.Response:
    tags = _tags((await read_fields(request)).array("tags"))
    await _change(request, lambda view: [(EventType.MODEL_TAGS_SET, {"tags": tags})])
    return await _answer(request, request.match_info["model_id"])


async def delete_tag(request: web.Request) -> web.Response:
    key = request.match_info["key"]

    def changes(view: ModelView) -> Sequence[tuple[EventType, Mapping[str, Any]]]:
        if key not in view.tags:
            raise no_such(
                f"No tag with key {key[:250]!r} found for model with ID {view.model_id!r}."
            )
        return [(EventType.MODEL_TAG_DELETED, {"key": key})]

    await _change(request, changes)
    return json_answer({})


async def log_params(request: web.Request) -> web.Response:
    params = _params((await read_fields(request)).array("params"))

    def changes(view: ModelView) -> Sequence[tuple[EventType, Mapping[str, Any]]]:
        for key, value in params.items():
            if view.params.get(key, value) != value:
                raise invalid(
                    f"Changing param values is not allowed. Param with key='{key}' was already "
                    f"logged with value='{view.params[key]}' for model ID='{view.model_id}'. "
                    f"Attempted logging new value '{value}'."
                )
        new = {key: value for key, value in params.items() if key not in view.params}
        return [(EventType.MODEL_PARAMS_LOGGED, {"params": new})] if new else []

    await _change(request, changes)
    return await _answer(request, request.match_info["model_id"])


async def _model(request: web.Request, *, allows_deleted: bool = False) -> ModelView:
    model_id = request.match_info["model_id"]
    model = await (await current_runs(request)).get_model(model_id)
    if model is None or (model.is_deleted and not allows_deleted):
        raise no_such(f"Logged model with ID '{model_id[:256]}' not found.")
    return model


async def _change(request: web.Request, changes: Changes) -> None:
    model_id = request.match_info["model_id"]

    async def decide(now_us: int) -> Sequence[Event]:
        view = await decider_of(request).reads.runs.get_model(model_id)
        if view is None or view.is_deleted:
            raise no_such(f"Logged model with ID '{model_id[:256]}' not found.")
        time_us = max(now_us, view.order_us + 1)
        return [
            Event(kind, time_us, {"model_id": model_id, **data}) for kind, data in changes(view)
        ]

    await _take(request, decide)


async def _take(request: web.Request, decide: Any) -> None:
    async with request.app[MLFLOW].locks.of(STREAM):
        try:
            await decider_of(request).take(STREAM, decide)
        except ProjectionBehind as error:
            if "position" not in error.details:  # else it is recorded, and read later
                raise


async def _answer(request: web.Request, model_id: str) -> web.Response:
    model = await (await current_runs(request)).get_model(model_id)
    if model is None:
        raise no_such(f"Logged model with ID '{model_id[:256]}' not found.")
    return json_answer({"model": await model_json(request, model)})


def _check_name(name: str) -> None:
    if len(name) > _NAME_CHARACTERS_MAX:
        raise too_long("name", _NAME_CHARACTERS_MAX)
    if any(c in name for c in "/:.%\"'"):
        raise invalid(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and "
            "cannot contain the following characters: ('/', ':', '.', '%', '\"', \"'\")"
        )


def _params(items: Sequence[Any]) -> dict[str, str]:
    if len(items) > _PARAMS_MAX:
        raise invalid(f"A request has {len(items)} params; at most {_PARAMS_MAX} are allowed.")
    return _checked(dict(pairs(items, "params")), _PARAM_CHARACTERS_MAX)


def _tags(items: Sequence[Any]) -> dict[str, str]:
    return _checked(dict(pairs(items, "tags")), _TAG_CHARACTERS_MAX)


def _checked(entries: dict[str, str], value_max: int) -> dict[str, str]:
    for key, value in entries.items():
        if len(key) > _KEY_CHARACTERS_MAX:
            raise too_long("key", _KEY_CHARACTERS_MAX)
        if len(value) > value_max:
            raise too_long("value", value_max)
    return entries
