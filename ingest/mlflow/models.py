"""MLflow 3's logged models over its REST API. Facts about models lie in the workspace's stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from ingest.errors import ProjectionBehind
from ingest.messages import json_answer
from ingest.mlflow.bodies import SEE_DOCS, missing, pairs, read_fields, wrong_value
from ingest.mlflow.entities import key_values, metric_json
from ingest.mlflow.errors import invalid, no_such
from ingest.mlflow.models_search import matches, parse_filter, sort_key
from ingest.mlflow.names import experiment_id_of, too_long
from ingest.mlflow.reading import current_runs, experiment_view, locations_of
from ingest.mlflow.services import MLFLOW
from ingest.routes.experiments import decider_of
from projections.models_queries import ModelMetric, ModelView
from tracker.events.ids import is_run_id
from tracker.events.types import Event, EventType
from tracker.names import name_for

STREAM: Final = ""
_NAME_CHARACTERS_MAX: Final = 500
_KEY_CHARACTERS_MAX: Final = 250
_PARAM_CHARACTERS_MAX: Final = 6_000
_TAG_CHARACTERS_MAX: Final = 5_000
_PARAMS_MAX: Final = 1_000
_RESULTS_DEFAULT: Final = 100
_RESULTS_MAX: Final = 1_000
_STATUS_SAID: Final = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
_STATUS_OF: Final[Mapping[Any, str]] = {
    **{said: status for status, said in _STATUS_SAID.items()},
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
    return json_answer({"model": await _json(request, model)})


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


async def search(request: web.Request) -> web.Response:
    """Pages by place: a token is how many models come before."""
    fields = await read_fields(request)
    experiment_ids = [experiment_id_of(text) for text in fields.texts("experiment_ids")]
    if not experiment_ids:
        raise invalid(missing("experiment_ids") + SEE_DOCS)
    clauses = parse_filter(fields.text("filter") or "")
    datasets = _datasets(fields.array("datasets"))
    limit = fields.integer("max_results") or _RESULTS_DEFAULT
    if not 0 < limit <= _RESULTS_MAX:
        raise wrong_value("max_results", limit, f"It must be between 1 and {_RESULTS_MAX}.")
    start = _place(fields.text("page_token"))
    found = await (await current_runs(request)).models_of(experiment_ids)
    kept = [model for model in found if matches(model, clauses, datasets)]
    kept.sort(key=lambda model: (-model.created_time_us, model.model_id))
    for order in reversed(fields.array("order_by")):
        key, is_ascending = sort_key(order)
        # What has no value comes last in either direction.
        kept.sort(key=key, reverse=not is_ascending)
        kept.sort(key=lambda model: key(model)[0] is None, reverse=False)
    page = kept[start : start + limit]
    answer: dict[str, Any] = {"models": [await _json(request, model) for model in page]}
    if start + limit < len(kept):
        answer["next_page_token"] = str(start + limit)
    return json_answer(answer)


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
    return json_answer({"model": await _json(request, model)})


async def _json(request: web.Request, model: ModelView) -> dict[str, Any]:
    location = (await locations_of(request, [model.experiment_id]))[model.experiment_id]
    info: dict[str, Any] = {
        "model_id": model.model_id,
        "experiment_id": model.experiment_id,
        "name": model.name,
        "creation_timestamp_ms": model.created_time_us // 1000,
        "last_updated_timestamp_ms": model.updated_time_us // 1000,
        "artifact_uri": f"{location.rstrip('/')}/models/{model.model_id}/artifacts",
        "status": _STATUS_SAID[model.status],
    }
    said = {
        "model_type": model.model_type,
        "source_run_id": model.source_run_id,
        "status_message": model.status_message,
        "tags": key_values(model.tags),
    }
    info |= {key: value for key, value in said.items() if value}
    data: dict[str, Any] = {}
    if model.params:
        data["params"] = key_values(model.params)
    if model.metrics:
        data["metrics"] = [_metric(model.model_id, metric) for metric in model.metrics]
    return {"info": info, "data": data}


def _metric(model_id: str, metric: ModelMetric) -> dict[str, Any]:
    answer = metric_json(metric.key, metric.value, metric.time_us // 1000, metric.step)
    about = {
        "dataset_name": metric.dataset_name,
        "dataset_digest": metric.dataset_digest,
        "model_id": model_id,
        "run_id": metric.run_id,
    }
    return answer | {key: value for key, value in about.items() if value}


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


def _datasets(items: Sequence[Any]) -> list[tuple[str, str | None]]:
    """(name, digest or None) of the datasets that metric conditions are about."""
    found = []
    for item in items:
        name = item.get("dataset_name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            raise invalid(missing("datasets.dataset_name") + SEE_DOCS)
        found.append((name, item.get("dataset_digest") or None))
    return found


def _place(token: str | None) -> int:
    if not token:
        return 0
    if not token.isdecimal() or len(token) > 9:
        raise wrong_value("page_token", token)
    return int(token)
