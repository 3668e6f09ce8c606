"""What a run, an experiment or a model of MLflow's is as events of ours, with its own times.

The same source gives the same events, byte for byte: with the ids of their writers that is
what lets an import be repeated and continued. What our vocabulary refuses (a key with a
control character, a profile of 16 MB) is left out and counted with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite, isnan
from typing import Any, Final

from tracker.events import limits
from tracker.events.errors import InvalidEvent
from tracker.events.types import Event, EventType, RunStatus, validate
from tracker.integrations.mlflow_import.points import time_us
from tracker.integrations.mlflow_import.source import (
    ModelPoint,
    Skips,
    SourceDataset,
    SourceExperiment,
    SourceModel,
    SourceRun,
)

_ENTRIES_PER_EVENT: Final = 1_000
RUN_NAME: Final = "mlflow.runName"
PARENT_RUN_ID: Final = "mlflow.parentRunId"


def experiment_events(
    experiment: SourceExperiment, experiment_id: str, skips: Skips
) -> list[Event]:
    """`experiment_id` is the id that it gets here."""
    about = {"experiment_id": experiment_id}
    created_us = time_us(experiment.created_ms or 0)
    updated_us = max(created_us, time_us(experiment.updated_ms or 0))
    named: dict[str, Any] = {**about, "name": experiment.name}
    location = experiment.artifact_location
    if location and "://" in location and not location.startswith(("file:", "mlflow-artifacts:")):
        named["artifact_location"] = location
    events = [Event(EventType.EXPERIMENT_CREATED, created_us, named)]
    events += [
        Event(EventType.EXPERIMENT_TAGS_SET, created_us, {**about, "tags": tags})
        for tags in _entries(experiment.tags, "tags", "experiment tag", experiment.name, skips)
    ]
    if experiment.is_deleted:
        events.append(Event(EventType.EXPERIMENT_DELETED, updated_us, about))
    return _valid(events, f"experiment {experiment.name}", skips)


def run_events(
    run: SourceRun, experiment_id: str, skips: Skips, *, is_experiment_deleted: bool
) -> list[Event]:
    """A run of a deleted experiment is deleted with it, and comes back with it."""
    start_us = time_us(run.start_ms or 0)
    end_us = max(start_us, time_us(run.end_ms or 0))
    started: dict[str, Any] = {
        "experiment_id": experiment_id,
        "name": run.name[: limits.RUN_NAME_CHARACTERS_MAX],
        "user": run.user[:256],
        "start_time_us": start_us,
    }
    parent = run.tags.get(PARENT_RUN_ID)
    if parent:
        started["parent_run_id"] = parent
    events = [Event(EventType.RUN_STARTED, start_us, started)]
    tags = dict(run.tags)
    if run.name:
        tags[RUN_NAME] = run.name
    events += [
        Event(EventType.PARAMS_LOGGED, start_us, {"params": params})
        for params in _entries(run.params, "params", "param", run.run_id, skips)
    ]
    events += [
        Event(EventType.TAGS_SET, end_us, {"tags": said})
        for said in _entries(tags, "tags", "tag", run.run_id, skips)
    ]
    for dataset in run.datasets:
        events.append(Event(EventType.INPUT_LOGGED, start_us, _dataset(dataset, run, skips)))
    for model_id in run.model_inputs:
        events.append(Event(EventType.MODEL_INPUT_LOGGED, start_us, {"model_id": model_id}))
    for model_id, step in run.model_outputs:
        data = {"model_id": model_id, "step": step}
        events.append(Event(EventType.MODEL_OUTPUT_LOGGED, end_us, data))
    events += _ending(run, end_us)
    if run.is_deleted and not is_experiment_deleted:
        deleted_us = max(end_us, time_us(run.deleted_ms or 0))
        events.append(Event(EventType.RUN_DELETED, deleted_us, {}))
    return _valid(events, f"run {run.run_id}", skips)


def _ending(run: SourceRun, end_us: int) -> Iterator[Event]:
    ended = {} if run.end_ms is None else {"end_time_us": time_us(run.end_ms)}
    if run.status in RunStatus.__members__ and RunStatus(run.status).is_terminal:
        yield Event(EventType.RUN_ENDED, end_us, {"status": run.status, **ended})
    elif run.status != RunStatus.RUNNING or ended:
        yield Event(EventType.RUN_UPDATED, end_us, {"status": run.status, **ended})


def _dataset(dataset: SourceDataset, run: SourceRun, skips: Skips) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "tags": dataset.tags,
    }
    for name, text in (
        ("source", dataset.source),
        ("schema", dataset.schema),
        ("profile", dataset.profile),
    ):
        if text is None:
            continue
        if len(text) > limits.DATASET_TEXT_BYTES_MAX:
            reason = f"longer than {limits.DATASET_TEXT_BYTES_MAX} characters"
            skips.add(f"dataset {name}", reason, f"{run.run_id}: {dataset.name}")
            continue
        data[name] = text
    return data


def model_events(model: SourceModel, experiment_id: str, skips: Skips) -> list[Event]:
    about = {"model_id": model.model_id}
    created_us = time_us(model.created_ms or 0)
    updated_us = max(created_us, time_us(model.updated_ms or 0))
    created: dict[str, Any] = {**about, "experiment_id": experiment_id, "name": model.name}
    if model.source_run_id:
        created["source_run_id"] = model.source_run_id
    if model.model_type:
        created["model_type"] = model.model_type
    events = [Event(EventType.MODEL_CREATED, created_us, created)]
    events += [
        Event(EventType.MODEL_PARAMS_LOGGED, created_us, {**about, "params": params})
        for params in _entries(model.params, "params", "model param", model.model_id, skips)
    ]
    events += [
        Event(EventType.MODEL_TAGS_SET, created_us, {**about, "tags": tags})
        for tags in _entries(model.tags, "tags", "model tag", model.model_id, skips)
    ]
    events += _model_metrics(model, created_us)
    if model.status != "PENDING":
        data = {**about, "status": model.status}
        if model.status_message:
            data["message"] = model.status_message
        events.append(Event(EventType.MODEL_FINALIZED, updated_us, data))
    if model.is_deleted:
        events.append(Event(EventType.MODEL_DELETED, updated_us, about))
    return _valid(events, f"model {model.model_id}", skips)


def _model_metrics(model: SourceModel, created_us: int) -> Iterator[Event]:
    by_run: dict[str, list[ModelPoint]] = {}
    for point in model.points:
        by_run.setdefault(point.run_id or "", []).append(point)
    for run_id, points in by_run.items():
        for start in range(0, len(points), limits.MODEL_METRICS_PER_EVENT_MAX):
            part = points[start : start + limits.MODEL_METRICS_PER_EVENT_MAX]
            rows = [
                [
                    p.key,
                    _json(p.value),
                    p.step,
                    time_us(p.time_ms),
                    p.dataset_name,
                    p.dataset_digest,
                ]
                for p in part
            ]
            data: dict[str, Any] = {"model_id": model.model_id, "metrics": rows}
            if run_id:
                data["run_id"] = run_id
            logged_us = max(created_us, time_us(part[-1].time_ms))
            yield Event(EventType.MODEL_METRICS_LOGGED, logged_us, data)


def _json(value: float) -> float | str:
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _entries(
    entries: Mapping[str, str], field: str, kind: str, owner: str, skips: Skips
) -> Iterator[dict[str, str]]:
    """Params or tags that may be recorded, in parts of one event each."""
    event_type = EventType.PARAMS_LOGGED if field == "params" else EventType.TAGS_SET
    good = {}
    for key, value in entries.items():
        try:
            validate(Event(event_type, 0, {field: {key: value}}))
        except InvalidEvent as error:
            skips.add(kind, _without_key(str(error), key), f"{owner}: {key[:100]!r}")
            continue
        good[key] = value
    items = list(good.items())
    for start in range(0, len(items), _ENTRIES_PER_EVENT):
        yield dict(items[start : start + _ENTRIES_PER_EVENT])


def _without_key(message: str, key: str) -> str:
    """The reason without the name, so that equal reasons are counted together."""
    return message.replace(repr(key), "").replace(repr(key[:40]), "").strip()


def _valid(events: list[Event], owner: str, skips: Skips) -> list[Event]:
    good = []
    for event in events:
        try:
            validate(event)
        except InvalidEvent as error:
            skips.add(event.type, str(error), owner)
            continue
        good.append(event)
    return good
