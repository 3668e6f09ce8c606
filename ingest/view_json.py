"""Views as the JSON that schemas.RunAnswer and schemas.ExperimentAnswer describe.

Plain dictionaries: a page of runs holds thousands of points, and building a model of each
would cost more than finding them. tests/unit/test_view_json.py holds them to the models.
"""

from __future__ import annotations

from typing import Any

from ingest.messages import json_float
from ingest.state import Leases
from projections.read_models import ExperimentView, MetricSummary, Point, RunView


def run_json(run: RunView, *, position: int, leases: Leases) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment_id": run.experiment_id,
        "user_id": run.user_id,
        "status": run.status,
        "liveness": run.liveness.value,
        "lifecycle_stage": run.lifecycle_stage,
        "start_time_us": run.start_time_us,
        "end_time_us": run.end_time_us,
        "end_reason": run.end_reason,
        "end_detail": run.end_detail,
        "parent_run_id": run.parent_run_id,
        "dropped": run.dropped,
        "last_position": run.last_position,
        "params": run.params,
        "tags": run.tags,
        "metrics": metrics_json(run),
        "conflicts": [
            {"key": conflict.key, "value": conflict.value, "writer_id": conflict.writer_id}
            for conflict in run.conflicts
        ],
        "writers": [
            {
                "writer_id": writer.writer_id,
                "epoch": writer.epoch,
                "next_seq": writer.next_seq,
                "last_position": writer.last_position,
                "lease_expires_us": leases.expires_us(writer.writer_id),
                "about": writer.about,
            }
            for writer in run.writers
        ],
        "position": position,
    }


def experiment_json(experiment: ExperimentView, *, position: int) -> dict[str, Any]:
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "lifecycle_stage": experiment.lifecycle_stage,
        "artifact_location": experiment.artifact_location,
        "created_time_us": experiment.created_time_us,
        "updated_time_us": experiment.updated_time_us,
        "tags": experiment.tags,
        "run_count": experiment.run_count,
        "last_run_time_us": experiment.last_run_time_us,
        "position": position,
    }


def metrics_json(run: RunView) -> dict[str, Any]:
    return {key: _metric_json(metric) for key, metric in run.metrics.items()}


def _metric_json(metric: MetricSummary) -> dict[str, Any]:
    return {
        "last": _point_json(metric.last),
        "first": _point_json(metric.first),
        "min": None if metric.min_value is None else json_float(metric.min_value),
        "min_step": metric.min_step,
        "max": None if metric.max_value is None else json_float(metric.max_value),
        "max_step": metric.max_step,
        "count": metric.count,
        "nan_count": metric.nan_count,
    }


def _point_json(point: Point) -> dict[str, Any]:
    return {"value": json_float(point.value), "step": point.step, "time_us": point.time_us}
