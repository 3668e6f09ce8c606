"""Experiments and runs as MLflow's JSON has them: unset fields and empty lists are left out.

Times are milliseconds. Infinities are the largest float64, as MLflow's store gives them
back; NaN is the string "NaN". Names and parents that a native run was given in its own
fields appear as the tags that MLflow's clients look for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite, isnan
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from projections.read_models import ExperimentView, LatestPoint, LatestRun, RunView
from tracker import tag_names

AnyRun: TypeAlias = RunView | LatestRun

LARGEST: Final = 1.7976931348623157e308


def experiment_json(view: ExperimentView) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "experiment_id": view.experiment_id,
        "name": view.name,
        "artifact_location": artifact_location(view),
        "lifecycle_stage": view.lifecycle_stage,
        "last_update_time": view.updated_time_us // 1000,
        "creation_time": view.created_time_us // 1000,
    }
    if view.tags:
        answer["tags"] = key_values(view.tags)
    return answer


def artifact_location(view: ExperimentView) -> str:
    return view.artifact_location or default_location(view.experiment_id)


def default_location(experiment_id: str) -> str:
    return f"mlflow-artifacts:/{experiment_id}"


def artifact_uri(location: str, run_id: str) -> str:
    """The root of a run's artifacts below its experiment's location."""
    more = f"{run_id}/artifacts"
    if "?" not in location and "#" not in location:
        return f"{location.rstrip('/') if location != '/' else ''}/{more}"
    parts = urlsplit(location)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{more}"))


def run_json(view: AnyRun, location: str) -> dict[str, Any]:
    """A run; `location` is its experiment's artifact location."""
    data: dict[str, Any] = {}
    if view.metrics:
        data["metrics"] = [
            metric_json(key, value, time_us // 1000, step)
            for key, value, time_us, step in _latest_points(view)
        ]
    if view.params:
        data["params"] = key_values(view.params)
    tags = run_tags(view)
    if tags:
        data["tags"] = key_values(tags)
    return {
        "info": run_info_json(view, location),
        "data": data,
        "inputs": inputs_json(view),
        "outputs": outputs_json(view),
    }


def _latest_points(view: AnyRun) -> Iterable[LatestPoint]:
    if isinstance(view, LatestRun):
        return view.metrics
    return (
        LatestPoint(key, last.value, last.time_us, last.step)
        for key, (last, *_) in view.metrics.items()
    )


def run_info_json(view: AnyRun, location: str) -> dict[str, Any]:
    info: dict[str, Any] = {
        "run_uuid": view.run_id,
        "experiment_id": view.experiment_id,
        "run_name": view.name,
        "user_id": view.user_id,
        "status": view.status,
        "start_time": view.start_time_us // 1000,
        "artifact_uri": artifact_uri(location, view.run_id),
        "lifecycle_stage": view.lifecycle_stage,
        "run_id": view.run_id,
    }
    if view.end_time_us is not None:
        info["end_time"] = view.end_time_us // 1000
    return info


def run_tags(view: AnyRun) -> Mapping[str, str]:
    """The run's tags; those that say what its own fields say agree with them."""
    name_is_said = not view.name or view.tags.get(tag_names.RUN_NAME) == view.name
    parent = view.parent_run_id
    if name_is_said and (parent is None or tag_names.PARENT_RUN_ID in view.tags):
        return view.tags
    tags = dict(view.tags)
    if view.name:
        tags[tag_names.RUN_NAME] = view.name
    if parent is not None:
        tags.setdefault(tag_names.PARENT_RUN_ID, parent)
    return tags


def metric_json(key: str, value: float, timestamp_ms: int, step: int) -> dict[str, Any]:
    return {
        "key": key,
        "value": value if isfinite(value) else mangled(value),
        "timestamp": timestamp_ms,
        "step": step,
    }


def mangled(value: float) -> float | str:
    """An infinity or NaN as MLflow's clients expect it."""
    if isnan(value):
        return "NaN"
    return LARGEST if value > 0 else -LARGEST


def inputs_json(view: AnyRun) -> dict[str, Any]:
    """RunInputs: the datasets and models that the run read."""
    inputs: dict[str, Any] = {}
    datasets = [_dataset_input(item) for item in view.inputs]
    if datasets:
        inputs["dataset_inputs"] = datasets
    models = [{"model_id": item.model_id} for item in view.model_inputs]
    if models:
        inputs["model_inputs"] = models
    return inputs


def outputs_json(view: AnyRun) -> dict[str, Any]:
    models = [{"model_id": item.model_id, "step": item.step} for item in view.model_outputs]
    return {"model_outputs": models} if models else {}


def _dataset_input(item: Any) -> dict[str, Any]:
    dataset = {
        "name": item.name,
        "digest": item.digest,
        "source_type": item.source_type or "",
        "source": item.source or "",
    }
    if item.schema:
        dataset["schema"] = item.schema
    if item.profile:
        dataset["profile"] = item.profile
    answer: dict[str, Any] = {"dataset": dataset}
    if item.tags:
        answer["tags"] = key_values(item.tags)
    return answer


def key_values(entries: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in entries.items()]


def without_empty(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value not in (None, [], "")}
