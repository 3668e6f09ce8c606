"""Reads the logged models of a database of MLflow's."""

from __future__ import annotations

from typing import Final

from tracker.integrations.mlflow_import.schema import number
from tracker.integrations.mlflow_import.source import ModelPoint, SourceModel
from tracker.integrations.mlflow_import.tables import Row, Tables

_STATUSES: Final = {1: "PENDING", 2: "READY", 3: "FAILED"}


class ModelReader:
    """Reads one model after the other."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def read(self, row: Row) -> SourceModel:
        model_id, experiment_id, name, kind, run_id, status, message, *rest = row
        created, updated, stage, location = rest
        params = await self._tables.rows(
            "SELECT param_key, param_value FROM logged_model_params WHERE model_id = ? "
            "ORDER BY param_key",
            model_id,
        )
        tags = await self._tables.rows(
            "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ? ORDER BY tag_key",
            model_id,
        )
        metrics = await self._tables.rows(
            "SELECT metric_name, metric_value, metric_step, metric_timestamp_ms, run_id, "
            "dataset_name, dataset_digest FROM logged_model_metrics WHERE model_id = ? "
            f"ORDER BY metric_timestamp_ms, metric_name {self._tables.by_code_point}, "
            "metric_step, run_id",
            model_id,
        )
        return SourceModel(
            model_id=model_id,
            experiment_id=str(experiment_id),
            name=name,
            model_type=kind,
            source_run_id=run_id,
            status=_STATUSES.get(status, "PENDING"),
            status_message=message,
            created_ms=created,
            updated_ms=updated,
            is_deleted=stage == "deleted",
            artifact_uri=location or "",
            params={key: value or "" for key, value in params},
            tags={key: value or "" for key, value in tags},
            points=[
                ModelPoint(key, number(value), step, time_ms, run, name, digest)
                for key, value, step, time_ms, run, name, digest in metrics
            ],
        )
