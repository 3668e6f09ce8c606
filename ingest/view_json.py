"""Views as the JSON that schemas.RunAnswer and schemas.ExperimentAnswer describe.

Plain dictionaries: a page of runs holds thousands of points, and building a model of each
would cost more than finding them. tests/unit/test_view_json.py holds them to the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from ingest.errors import InvalidRequest
from ingest.messages import json_float
from ingest.state import Leases
from projections.read_models import ExperimentView, MetricSummary, RunView


@dataclass(frozen=True, slots=True)
class Columns:
    """The params, metrics and tags that an answer is to bring."""

    params: frozenset[str]
    metrics: frozenset[str]
    tags: frozenset[str]

    @staticmethod
    def of(names: Sequence[str]) -> Columns:
        """Of names such as params.lr. Raises InvalidRequest for any other kind."""
        kinds: dict[str, set[str]] = {"params": set(), "metrics": set(), "tags": set()}
        for name in names:
            kind, _, key = name.partition(".")
            if kind not in kinds or not key:
                raise InvalidRequest(
                    f"columns: {name[:64]!r} is none of params.KEY, metrics.KEY and tags.KEY",
                    field="columns",
                )
            kinds[kind].add(key)
        return Columns(**{kind: frozenset(keys) for kind, keys in kinds.items()})

    def cut(self, run: RunView) -> RunView:
        return replace(
            run,
            params={key: run.params[key] for key in self.params & run.params.keys()},
            metrics={key: run.metrics[key] for key in self.metrics & run.metrics.keys()},
            tags={key: run.tags[key] for key in self.tags & run.tags.keys()},
        )


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
        "inputs": [
            {
                "name": given.name,
                "digest": given.digest,
                "source_type": given.source_type,
                "source": given.source,
                "schema": given.schema,
                "profile": given.profile,
                "tags": given.tags,
            }
            for given in run.inputs
        ],
        "model_inputs": [link._asdict() for link in run.model_inputs],
        "model_outputs": [link._asdict() for link in run.model_outputs],
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
    (last, first, least, least_step, most, most_step, count, nan_count) = metric
    value, step, time_us = last
    first_value, first_step, first_us = first
    # Nearly all are finite; the calls for those that are not would cost more than the rest.
    return {
        "last": {
            "value": value if isfinite(value) else json_float(value),
            "step": step,
            "time_us": time_us,
        },
        "first": {
            "value": first_value if isfinite(first_value) else json_float(first_value),
            "step": first_step,
            "time_us": first_us,
        },
        "min": least if least is None or isfinite(least) else json_float(least),
        "min_step": least_step,
        "max": most if most is None or isfinite(most) else json_float(most),
        "max_step": most_step,
        "count": count,
        "nan_count": nan_count,
    }
