"""MLflow's entities from what this machine knows, and the server's answer overlaid with it.

Other threads may be logging meanwhile: what is iterated over is a copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunTag,
)

from tracker import tag_names
from tracker.mlflow.pending import LastPoint, PendingModel, PendingRun

# Artifacts of the plugin's runs are read and written by the plugin's repository; the server
# names the same place mlflow-artifacts:/… for MLflow's own HTTP clients.
ARTIFACT_SCHEME: Final = "tracker-artifacts"
_SERVER_SCHEME: Final = "mlflow-artifacts"
_ACTIVE: Final = "active"


def artifact_uri(experiment_id: str, run_id: str) -> str:
    return f"{ARTIFACT_SCHEME}:/{experiment_id}/{run_id}/artifacts"


def model_artifact_uri(experiment_id: str, model_id: str) -> str:
    return f"{ARTIFACT_SCHEME}:/{experiment_id}/models/{model_id}/artifacts"


def own_uri(uri: str | None) -> str | None:
    """The server's name of a place for artifacts as the plugin's repository takes it."""
    if uri is None or not uri.startswith(f"{_SERVER_SCHEME}:"):
        return uri
    path = uri.removeprefix(f"{_SERVER_SCHEME}:")
    if path.startswith("//"):  # with an authority, which the tracking URI says already
        path = "/" + path[2:].partition("/")[2]
    return f"{ARTIFACT_SCHEME}:{path}"


def local_experiment(experiment_id: str, name: str, tags: Any = ()) -> Experiment:
    """An experiment that no server has answered about."""
    return Experiment(
        experiment_id=experiment_id,
        name=name,
        artifact_location=f"{ARTIFACT_SCHEME}:/{experiment_id}",
        lifecycle_stage=_ACTIVE,
        tags=list(tags),
    )


def run_of(pending: PendingRun, server: Run | None = None) -> Run:
    """The run as the server says, overlaid with what this machine recorded."""
    return Run(_info(pending, server), _data(pending, server), *_with_puts(pending, server))


def with_own_uri(run: Run) -> Run:
    """The same run, its artifacts where the plugin's repository finds them."""
    info = run.info
    moved = RunInfo(
        run_id=info.run_id,
        experiment_id=info.experiment_id,
        user_id=info.user_id,
        status=info.status,
        start_time=info.start_time,
        end_time=info.end_time,
        lifecycle_stage=info.lifecycle_stage,
        artifact_uri=own_uri(info.artifact_uri),
        run_name=info.run_name,
        **_old_id(info.run_id),
    )
    outputs = (run.outputs,) if hasattr(run, "outputs") else ()
    return Run(moved, run.data, run.inputs, *outputs)


def _info(pending: PendingRun, server: Run | None) -> RunInfo:
    known = server.info if server is not None else None
    experiment_id = known.experiment_id if known else pending.experiment_id or "0"
    status = pending.status or (known.status if known else "RUNNING")
    end_us = pending.end_us if pending.status else None
    return RunInfo(
        run_id=pending.run_id,
        experiment_id=experiment_id,
        user_id=known.user_id if known else pending.user,
        status=status,
        start_time=known.start_time if known else pending.start_us // 1000,
        end_time=end_us // 1000 if end_us else (known.end_time if known else None),
        lifecycle_stage=known.lifecycle_stage if known else _ACTIVE,
        artifact_uri=artifact_uri(experiment_id, pending.run_id),
        run_name=pending.name or (known.run_name if known else ""),
        **_old_id(pending.run_id),
    )


def _old_id(run_id: str) -> dict[str, str]:
    """MLflow 2 wants the id a second time, under the name it had in MLflow 0."""
    from inspect import signature

    return {"run_uuid": run_id} if "run_uuid" in signature(RunInfo).parameters else {}


def _data(pending: PendingRun, server: Run | None) -> RunData:
    metrics = {m.key: m for m in server.data._metric_objs} if server else {}
    for key, point in pending.metrics.copy().items():
        known = metrics.get(key)
        if known is None or point.rank() >= _point_of(known).rank():
            metrics[key] = Metric(key, clipped(point.value), point.time_us // 1000, point.step)
    params = {**pending.params, **(server.data.params if server else {})}
    tags: dict[str, str | None] = dict(server.data.tags) if server else {}
    tags.update(pending.tags)
    if pending.name is not None:
        tags[tag_names.RUN_NAME] = pending.name
    return RunData(
        metrics=list(metrics.values()),
        params=[Param(key, value) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items() if value is not None],
    )


def _point_of(metric: Metric) -> LastPoint:
    return LastPoint(metric.step, metric.timestamp * 1000, metric.value)


def clipped(value: float) -> float:
    """Infinities as MLflow's stores answer them."""
    if math.isinf(value):
        return math.copysign(1.7976931348623157e308, value)
    return value


def _with_puts(pending: PendingRun, server: Run | None) -> Sequence[Any]:
    """Inputs and, where this MLflow knows of them, outputs."""
    datasets = {(i.dataset.name, i.dataset.digest): i for i in _known_datasets(server)}
    for key, data in pending.inputs.copy().items():
        datasets[key] = dataset_input(data)
    try:
        from mlflow.entities import LoggedModelInput, LoggedModelOutput, RunOutputs
    except ImportError:
        return (RunInputs(dataset_inputs=list(datasets.values())),)
    inputs = [LoggedModelInput(model_id) for model_id in pending.model_inputs.copy()]
    outputs = [LoggedModelOutput(m, step=step) for m, step in pending.model_outputs.copy().items()]
    if server is not None:
        own_inputs, own_outputs = set(pending.model_inputs), set(pending.model_outputs)
        inputs += [i for i in server.inputs.model_inputs if i.model_id not in own_inputs]
        outputs += [o for o in server.outputs.model_outputs if o.model_id not in own_outputs]
    return (
        RunInputs(dataset_inputs=list(datasets.values()), model_inputs=inputs),
        RunOutputs(outputs),
    )


def _known_datasets(server: Run | None) -> Sequence[Any]:
    return server.inputs.dataset_inputs if server is not None and server.inputs else ()


def dataset_input(data: Any) -> DatasetInput:
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"],
        source_type=data.get("source_type") or "",
        source=data.get("source") or "",
        schema=data.get("schema"),
        profile=data.get("profile"),
    )
    return DatasetInput(dataset, [InputTag(k, v) for k, v in (data.get("tags") or {}).items()])


def model_of(pending: PendingModel) -> Any:
    """MLflow 3's LoggedModel of what this machine recorded."""
    from mlflow.entities import LoggedModel, LoggedModelStatus

    return LoggedModel(
        experiment_id=pending.experiment_id,
        model_id=pending.model_id,
        name=pending.name,
        artifact_location=model_artifact_uri(pending.experiment_id, pending.model_id),
        creation_timestamp=pending.created_us // 1000,
        last_updated_timestamp=pending.updated_us // 1000,
        model_type=pending.model_type,
        source_run_id=pending.source_run_id,
        status=LoggedModelStatus(pending.status),
        status_message=pending.message,
        tags=dict(pending.tags),
        params=dict(pending.params),
        metrics=None,
    )


def model_with_own_uri(model: Any) -> Any:
    """The server's LoggedModel, its artifacts where the plugin's repository finds them."""
    from mlflow.entities import LoggedModel

    return LoggedModel(
        experiment_id=model.experiment_id,
        model_id=model.model_id,
        name=model.name,
        artifact_location=own_uri(model.artifact_location),
        creation_timestamp=model.creation_timestamp,
        last_updated_timestamp=model.last_updated_timestamp,
        model_type=model.model_type,
        source_run_id=model.source_run_id,
        status=model.status,
        status_message=model.status_message,
        tags=model.tags,
        params=model.params,
        metrics=model.metrics,
    )
