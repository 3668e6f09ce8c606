"""/api/v1/models: logged models. Their files are in `artifacts`; MLflow's clients write them."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from ingest.errors import InvalidRequest, ModelNotFound
from ingest.messages import json_answer, json_float, query_int, read_json, wait_for_position
from ingest.model_schemas import ModelAnswer, ModelsAnswer, SearchModels
from ingest.routes.table import QueryParameter, Route
from ingest.state import READ_STORES
from projections.models_queries import ModelMetric, ModelView

_POSITION: Final = QueryParameter(
    "min_position", "answer no older than this position", type="integer"
)


async def get(request: web.Request) -> web.Response:
    await wait_for_position(request, query_int(request, "min_position"))
    runs = request.app[READ_STORES].runs
    # Asked first, so that the model is never older than the position it is given out with.
    position = await runs.position()
    model_id = request.match_info["model_id"]
    model = await runs.get_model(model_id)
    if model is None:
        raise ModelNotFound(f"there is no model {model_id[:64]!r}")
    return json_answer(_model_json(model, position))


async def search(request: web.Request) -> web.Response:
    command = await read_json(request, SearchModels)
    await wait_for_position(request, command.min_position)
    runs = request.app[READ_STORES].runs
    position = await runs.position()
    behind = None if command.page_token is None else _behind(command.page_token)
    found = [
        model
        for model in await runs.models_of(command.experiment_ids)
        if command.source_run_id in (None, model.source_run_id)
        and command.name in (None, model.name)
        and command.status in (None, model.status)
        and (behind is None or _place(model) > behind)
    ]
    page = found[: command.max_results]
    has_more = len(found) > len(page)
    answer: dict[str, Any] = {
        "models": [_model_json(model, position) for model in page],
        "next_page_token": _token(page[-1]) if has_more else None,
        "position": position,
    }
    return json_answer(answer)


def _place(model: ModelView) -> tuple[int, str]:
    return (-model.created_time_us, model.model_id)


def _token(model: ModelView) -> str:
    return f"{model.created_time_us}.{model.model_id}"


def _behind(token: str) -> tuple[int, str]:
    """The place of the model that a page ended with; models that come meanwhile shift nothing."""
    time_us, dot, model_id = token.partition(".")
    if not dot or not time_us.removeprefix("-").isdecimal() or len(time_us) > 20:
        raise InvalidRequest("page_token: use next_page_token as it was given", field="page_token")
    return (-int(time_us), model_id)


def _model_json(model: ModelView, position: int) -> dict[str, Any]:
    return {
        "model_id": model.model_id,
        "experiment_id": model.experiment_id,
        "name": model.name,
        "source_run_id": model.source_run_id,
        "model_type": model.model_type,
        "status": model.status,
        "status_message": model.status_message,
        "lifecycle_stage": "deleted" if model.is_deleted else "active",
        "created_time_us": model.created_time_us,
        "updated_time_us": model.updated_time_us,
        "params": model.params,
        "tags": model.tags,
        "metrics": [_point_json(point) for point in model.metrics],
        "points": len(model.points),
        "position": position,
    }


def _point_json(point: ModelMetric) -> dict[str, Any]:
    return {
        "key": point.key,
        "value": json_float(point.value),
        "step": point.step,
        "time_us": point.time_us,
        "run_id": point.run_id,
        "dataset_name": point.dataset_name or None,
        "dataset_digest": point.dataset_digest or None,
    }


ROUTES = (
    Route(
        "POST",
        "/api/v1/models/search",
        search,
        "The logged models of experiments, the one created last first",
        request=SearchModels,
        answer=ModelsAnswer,
        errors=(400, 413, 503),
    ),
    Route(
        "GET",
        "/api/v1/models/{model_id}",
        get,
        "A logged model, deleted or not, with the latest point of each of its metrics",
        answer=ModelAnswer,
        query=(_POSITION,),
        errors=(400, 404, 503),
    ),
)
