"""Reads the tables of MLflow's tracking store, as old as they may be.

What a database lacks that later versions have (datasets, logged models, the time of a
deletion) is simply not there; what every version has must be there. No code of MLflow's
is needed.

An infinity is in these tables as the largest float64, because MLflow's store clips it; it
becomes an infinity again. NaN is a flag beside the value.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from tracker.integrations.mlflow_import.revisions import KNOWN_REVISIONS, NEWEST_MLFLOW
from tracker.integrations.mlflow_import.source import (
    ModelPoint,
    Points,
    Skips,
    SourceDataset,
    SourceExperiment,
    SourceModel,
    SourceRun,
    SourceUnreadable,
)
from tracker.integrations.mlflow_import.tables import Row, Tables

_REQUIRED: Final = {
    "experiments": {"experiment_id", "name", "artifact_location", "lifecycle_stage"},
    "runs": {"run_uuid", "name", "user_id", "status", "start_time", "end_time", "lifecycle_stage"},
    "metrics": {"key", "value", "timestamp", "run_uuid", "step"},
    "params": {"key", "value", "run_uuid"},
    "tags": {"key", "value", "run_uuid"},
}
_LARGEST: Final = 1.7976931348623157e308
_MODEL_STATUSES: Final = {1: "PENDING", 2: "READY", 3: "FAILED"}
_RUNS_AT_ONCE: Final = 500


class DatabaseSource:
    """See source.Source."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._columns: dict[str, frozenset[str]] = {}
        self.skips = Skips()

    @classmethod
    async def open(cls, tables: Tables) -> DatabaseSource:
        source = cls(tables)
        for table, required in _REQUIRED.items():
            missing = required - await source._has(table)
            if missing == required:
                raise SourceUnreadable(
                    f"this database has no table {table!r}, so it is no tracking store of MLflow's"
                )
            if missing:
                raise SourceUnreadable(
                    f"the table {table!r} lacks {', '.join(sorted(missing))}: it is older than "
                    "MLflow 1.0; upgrade it first with `mlflow db upgrade`"
                )
        return source

    async def aclose(self) -> None:
        await self._tables.aclose()

    async def notes(self) -> Sequence[str]:
        if not await self._has("alembic_version"):
            return ["this database does not say its version; it is read by the columns it has"]
        rows = await self._tables.rows("SELECT version_num FROM alembic_version")
        unknown = [str(version) for (version,) in rows if version not in KNOWN_REVISIONS]
        return [
            f"the schema's version {version} is unknown (known are those up to MLflow "
            f"{NEWEST_MLFLOW}); it is read by the columns it has"
            for version in unknown
        ]

    async def counts(self) -> tuple[int, int, int]:
        return (
            await self._count("experiments"),
            await self._count("runs"),
            await self._count("logged_models") if await self._has("logged_models") else 0,
        )

    async def _count(self, table: str) -> int:
        return int((await self._tables.rows(f"SELECT count(*) FROM {table}"))[0][0])

    async def _has(self, table: str) -> frozenset[str]:
        if table not in self._columns:
            self._columns[table] = await self._tables.columns(table)
        return self._columns[table]

    async def _select(self, table: str, columns: Sequence[str]) -> str:
        """The columns, NULL for those that this version has not."""
        there = await self._has(table)
        listed = [name if name in there else f"NULL AS {name}" for name in columns]
        return f"SELECT {', '.join(listed)} FROM {table}"

    async def experiments(self) -> Sequence[SourceExperiment]:
        tags: dict[str, dict[str, str]] = {}
        if await self._has("experiment_tags"):
            query = "SELECT experiment_id, key, value FROM experiment_tags ORDER BY key"
            for experiment_id, key, value in await self._tables.rows(query):
                tags.setdefault(str(experiment_id), {})[key] = value or ""
        select = await self._select(
            "experiments",
            ["experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time",
             "last_update_time"],
        )  # fmt: skip
        return [
            SourceExperiment(
                experiment_id=str(experiment_id),
                name=name,
                artifact_location=location,
                is_deleted=stage == "deleted",
                created_ms=created,
                updated_ms=updated,
                tags=tags.get(str(experiment_id), {}),
            )
            for experiment_id, name, location, stage, created, updated in await self._tables.rows(
                f"{select} ORDER BY experiment_id"
            )
        ]

    async def runs(self) -> AsyncIterator[SourceRun]:
        select = await self._select(
            "runs",
            ["run_uuid", "experiment_id", "name", "user_id", "status", "start_time", "end_time",
             "lifecycle_stage", "deleted_time", "artifact_uri"],
        )  # fmt: skip
        last = ""
        while True:
            query = f"{select} WHERE run_uuid > ? ORDER BY run_uuid LIMIT {_RUNS_AT_ONCE}"
            rows = await self._tables.rows(query, last)
            for row in rows:
                yield await self._run(row)
            if len(rows) < _RUNS_AT_ONCE:
                return
            last = rows[-1][0]

    async def _run(self, row: Row) -> SourceRun:
        run_id, experiment_id, name, user, status, start, end, stage, deleted, uri = row
        tags = await self._texts("tags", run_id)
        inputs, outputs = await self._model_links(run_id)
        return SourceRun(
            run_id=run_id,
            experiment_id=str(experiment_id),
            name=name or tags.get("mlflow.runName", ""),
            user=user or "",
            status=status or "RUNNING",
            start_ms=start,
            end_ms=end,
            is_deleted=stage == "deleted",
            deleted_ms=deleted,
            artifact_uri=uri or "",
            params=await self._texts("params", run_id),
            tags=tags,
            datasets=await self._datasets(run_id),
            model_inputs=inputs,
            model_outputs=outputs,
            points=await self._points(run_id),
        )

    async def _texts(self, table: str, run_id: str) -> dict[str, str]:
        order = f"ORDER BY key {self._tables.by_code_point}"
        query = f"SELECT key, value FROM {table} WHERE run_uuid = ? {order}"
        return {key: value or "" for key, value in await self._tables.rows(query, run_id)}

    async def _points(self, run_id: str) -> Points:
        select = await self._select("metrics", ["key", "value", "timestamp", "step", "is_nan"])
        rows = await self._tables.rows(
            f"{select} WHERE run_uuid = ? "
            f"ORDER BY timestamp, key {self._tables.by_code_point}, step, value",
            run_id,
        )
        points, numbers = Points(), dict[str, int]()
        for key, value, time_ms, step, is_nan in rows:
            number = numbers.setdefault(key, len(numbers))
            points.key_numbers.append(number)
            points.steps.append(step or 0)
            points.times_ms.append(time_ms)
            points.values.append(_value(value, is_nan=bool(is_nan)))
        points.keys = list(numbers)
        return points

    async def _datasets(self, run_id: str) -> list[SourceDataset]:
        if not await self._has("inputs"):
            return []
        rows = await self._tables.rows(
            "SELECT i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, "
            "d.dataset_schema, d.dataset_profile FROM inputs i "
            "JOIN datasets d ON d.dataset_uuid = i.source_id "
            "WHERE i.destination_id = ? AND i.source_type = 'DATASET' "
            "AND i.destination_type = 'RUN' "
            f"ORDER BY d.name {self._tables.by_code_point}, d.digest",
            run_id,
        )
        found = []
        for input_id, name, digest, source_type, source, schema, profile in rows:
            tags = await self._tables.rows(
                "SELECT name, value FROM input_tags WHERE input_uuid = ? ORDER BY name", input_id
            )
            found.append(
                SourceDataset(
                    name,
                    digest,
                    source_type or "",
                    source or "",
                    schema,
                    profile,
                    {k: v or "" for k, v in tags},
                )
            )
        return found

    async def _model_links(self, run_id: str) -> tuple[list[str], list[tuple[str, int]]]:
        """The models that the run read, and those it made."""
        if not await self._has("inputs"):
            return [], []
        select = await self._select("inputs", ["source_type", "destination_id", "step"])
        rows = await self._tables.rows(
            f"{select} WHERE source_id = ? AND destination_type IN ('MODEL_INPUT', 'MODEL_OUTPUT') "
            "ORDER BY destination_id",
            run_id,
        )
        read = [model_id for kind, model_id, _ in rows if kind == "RUN_INPUT"]
        made = [(model_id, step or 0) for kind, model_id, step in rows if kind == "RUN_OUTPUT"]
        return list(dict.fromkeys(read)), list(dict.fromkeys(made))

    async def models(self) -> AsyncIterator[SourceModel]:
        if not await self._has("logged_models"):
            return
        rows = await self._tables.rows(
            "SELECT model_id, experiment_id, name, model_type, source_run_id, status, "
            "status_message, creation_timestamp_ms, last_updated_timestamp_ms, lifecycle_stage, "
            "artifact_location FROM logged_models ORDER BY model_id"
        )
        for row in rows:
            yield await self._model(row)

    async def _model(self, row: Row) -> SourceModel:
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
            status=_MODEL_STATUSES.get(status, "PENDING"),
            status_message=message,
            created_ms=created,
            updated_ms=updated,
            is_deleted=stage == "deleted",
            artifact_uri=location or "",
            params={key: value or "" for key, value in params},
            tags={key: value or "" for key, value in tags},
            points=[
                ModelPoint(
                    key, _value(value, is_nan=value is None), step, time_ms, run, name, digest
                )
                for key, value, step, time_ms, run, name, digest in metrics
            ],
        )


def _value(value: Any, *, is_nan: bool) -> float:
    if is_nan:
        return math.nan
    number = float(value)
    return math.copysign(math.inf, number) if abs(number) == _LARGEST else number
