"""Logged models as views: one by its id, or those of experiments."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from projections.connection import Connection
from projections.model_rules import ModelState
from projections.sqlite import statements

SQL: Final = statements("models_queries.sql")


@dataclass(frozen=True, slots=True)
class ModelMetric:
    """A point of a metric, for a dataset or for none (empty texts)."""

    key: str
    value: float
    step: int
    time_us: int
    run_id: str
    dataset_name: str
    dataset_digest: str


@dataclass(frozen=True, slots=True)
class ModelView:
    model_id: str
    experiment_id: str
    name: str
    source_run_id: str | None
    model_type: str | None
    status: str
    status_message: str | None
    created_time_us: int
    updated_time_us: int
    is_deleted: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[ModelMetric]  # of each metric, dataset and run the latest point
    points: Sequence[ModelMetric]  # all of them, by key, step and time
    order_us: int  # a later decision about it takes a greater one


def get_model(connection: Connection, model_id: str) -> ModelView | None:
    """The model, deleted or not; None until it was created."""
    rows = connection.execute(SQL["model"], {"model_id": model_id}).fetchall()
    return next(iter(_views(connection, rows)), None)


def models_of(connection: Connection, experiment_ids: Sequence[str]) -> list[ModelView]:
    """The models of these experiments that are not deleted, latest first."""
    asked = {"experiment_ids": json.dumps(list(experiment_ids), ensure_ascii=False)}
    return _views(connection, connection.execute(SQL["models_of"], asked).fetchall())


def _views(connection: Connection, rows: Sequence[tuple[str, int, int, str]]) -> list[ModelView]:
    ids = json.dumps([row[0] for row in rows])
    metrics: defaultdict[str, list[ModelMetric]] = defaultdict(list)
    for model_id, run_id, key, value, step, time_us, name, digest in connection.execute(
        SQL["metrics"], {"model_ids": ids}
    ):
        point = ModelMetric(key, float(value), step, time_us, run_id, name, digest)
        metrics[model_id].append(point)
    views = []
    for row in rows:
        model = ModelState.of_row(*row)
        if model.is_born:
            views.append(_view(model, metrics.get(model.model_id, [])))
    return views


def _view(model: ModelState, metrics: Sequence[ModelMetric]) -> ModelView:
    _, status, message = model.status
    return ModelView(
        model_id=model.model_id,
        experiment_id=model.born.get("experiment_id", "0"),
        name=model.born.get("name", ""),
        source_run_id=model.born.get("source_run_id"),
        model_type=model.born.get("model_type"),
        status=status,
        status_message=message or None,
        created_time_us=model.created_us,
        updated_time_us=max(model.updated_us, model.created_us),
        is_deleted=model.is_deleted,
        params={key: value for key, (_, value) in sorted(model.params.items())},
        tags={k: value for k, (_, value) in sorted(model.tags.items()) if value is not None},
        metrics=_latest(metrics),
        points=sorted(metrics, key=_place),
        order_us=model.last_order_us,
    )


def _place(point: ModelMetric) -> tuple[str, int, int, str, str, str]:
    return (
        point.key, point.step, point.time_us,
        point.dataset_name, point.dataset_digest, point.run_id,
    )  # fmt: skip


def _latest(points: Sequence[ModelMetric]) -> list[ModelMetric]:
    """Of each metric and dataset the greatest step, then time, then value."""
    latest: dict[tuple[str, str, str, str], ModelMetric] = {}
    for point in points:
        place = (point.key, point.dataset_name, point.dataset_digest, point.run_id)
        known = latest.get(place)
        rank = (point.step, point.time_us, point.value == point.value, point.value)
        if known is None or rank >= (
            known.step, known.time_us, known.value == known.value, known.value
        ):  # fmt: skip
            latest[place] = point
    return [latest[place] for place in sorted(latest)]
