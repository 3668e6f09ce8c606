"""A logged model as MLflow's JSON has it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from ingest.mlflow.entities import key_values, metric_json
from ingest.mlflow.reading import locations_of
from projections.models_queries import ModelMetric, ModelView

STATUS_SAID: Final = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
# MLflow shows every point of a model; of one with more than these the latest are shown.
_POINTS_MAX: Final = 10_000


async def model_json(request: web.Request, model: ModelView) -> dict[str, Any]:
    location = (await locations_of(request, [model.experiment_id]))[model.experiment_id]
    info: dict[str, Any] = {
        "model_id": model.model_id,
        "experiment_id": model.experiment_id,
        "name": model.name,
        "creation_timestamp_ms": model.created_time_us // 1000,
        "last_updated_timestamp_ms": model.updated_time_us // 1000,
        "artifact_uri": f"{location.rstrip('/')}/models/{model.model_id}/artifacts",
        "status": STATUS_SAID[model.status],
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
    if model.points:
        points = model.points if len(model.points) <= _POINTS_MAX else model.metrics
        data["metrics"] = [_metric(model.model_id, point) for point in points]
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
