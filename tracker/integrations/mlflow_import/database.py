"""Reads the tables of MLflow's tracking store, as old as they may be.

What a database lacks that later versions have (datasets, logged models, the time of a
deletion) is simply not there; what every version has must be there. No code of MLflow's
is needed.

An infinity is in these tables as the largest float64, because MLflow's store clips it; it
becomes an infinity again. NaN is a flag beside the value.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from tracker.integrations.mlflow_import.database_models import ModelReader
from tracker.integrations.mlflow_import.database_runs import RunReader
from tracker.integrations.mlflow_import.revisions import KNOWN_REVISIONS, NEWEST_MLFLOW
from tracker.integrations.mlflow_import.schema import Schema
from tracker.integrations.mlflow_import.source import (
    NOT_KEPT_HERE,
    Skips,
    SourceExperiment,
    SourceModel,
    SourceRun,
)
from tracker.integrations.mlflow_import.tables import Tables

_OWNERS_AT_ONCE: Final = 500
# What later versions keep beside runs, and there is no place for here.
_NOT_TAKEN: Final = {
    "trace_info": "trace",
    "registered_models": "registered model",
    "model_versions": "version of a registered model",
    "evaluation_datasets": "evaluation dataset",
    "scorers": "scorer",
    "webhooks": "webhook",
}


class DatabaseSource:
    """See source.Source."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._schema = Schema(tables)
        self.skips = Skips()

    @classmethod
    async def open(cls, tables: Tables) -> DatabaseSource:
        """Takes the tables over, to close them. Raises SourceUnreadable."""
        source = cls(tables)
        try:
            await source._schema.check()
        except BaseException:
            await tables.aclose()
            raise
        return source

    async def aclose(self) -> None:
        await self._tables.aclose()

    async def notes(self) -> Sequence[str]:
        return [*await self._version_notes(), *await self._workspace_notes()]

    async def _version_notes(self) -> Sequence[str]:
        if not await self._schema.columns("alembic_version"):
            return ["this database does not say its version; it is read by the columns it has"]
        rows = await self._tables.rows("SELECT version_num FROM alembic_version")
        unknown = [str(version) for (version,) in rows if version not in KNOWN_REVISIONS]
        return [
            f"the schema's version {version} is unknown (known are those up to MLflow "
            f"{NEWEST_MLFLOW}); it is read by the columns it has"
            for version in unknown
        ]

    async def _workspace_notes(self) -> Sequence[str]:
        if "workspace" not in await self._schema.columns("experiments"):
            return []
        rows = await self._tables.rows("SELECT DISTINCT workspace FROM experiments")
        if len(rows) < 2:
            return []
        return [f"the experiments of all {len(rows)} workspaces of MLflow's go into one"]

    async def counts(self) -> tuple[int, int, int]:
        schema = self._schema
        return (
            await schema.count("experiments"),
            await schema.count("runs"),
            await schema.count("logged_models"),
        )

    async def count_not_taken(self) -> None:
        for table, kind in _NOT_TAKEN.items():
            if count := await self._schema.count(table):
                self.skips.add(kind, NOT_KEPT_HERE, f"the table {table}", count=count)

    async def experiments(self) -> Sequence[SourceExperiment]:
        tags: dict[str, dict[str, str]] = {}
        if await self._schema.columns("experiment_tags"):
            query = "SELECT experiment_id, key, value FROM experiment_tags ORDER BY key"
            for experiment_id, key, value in await self._tables.rows(query):
                tags.setdefault(str(experiment_id), {})[key] = value or ""
        select = await self._schema.select(
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
        select = await self._schema.select(
            "runs",
            ["run_uuid", "experiment_id", "name", "user_id", "status", "start_time", "end_time",
             "lifecycle_stage", "deleted_time", "artifact_uri"],
        )  # fmt: skip
        query = f"{select} ORDER BY run_uuid"
        reader = RunReader(self._schema, self.skips)
        async for rows in self._tables.pages(query, rows_max=_OWNERS_AT_ONCE):
            for row in rows:
                yield await reader.read(row)

    async def models(self) -> AsyncIterator[SourceModel]:
        if not await self._schema.columns("logged_models"):
            return
        query = (
            "SELECT model_id, experiment_id, name, model_type, source_run_id, status, "
            "status_message, creation_timestamp_ms, last_updated_timestamp_ms, lifecycle_stage, "
            "artifact_location FROM logged_models ORDER BY model_id"
        )
        reader = ModelReader(self._tables)
        async for rows in self._tables.pages(query, rows_max=_OWNERS_AT_ONCE):
            for row in rows:
                yield await reader.read(row)
