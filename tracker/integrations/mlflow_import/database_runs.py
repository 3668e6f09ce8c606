"""Reads the runs of a database of MLflow's, with all that belongs to each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

from tracker.integrations.mlflow_import.points import (
    PIECE_ROWS,
    PointRow,
    PointsAbout,
    RunPoints,
    refused_keys,
)
from tracker.integrations.mlflow_import.schema import Schema, number
from tracker.integrations.mlflow_import.source import Skips, SourceDataset, SourceRun
from tracker.integrations.mlflow_import.tables import Row


class RunReader:
    """Reads one run after the other."""

    def __init__(self, schema: Schema, skips: Skips) -> None:
        self._schema = schema
        self._tables = schema.tables
        self._skips = skips

    async def read(self, row: Row) -> SourceRun:
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
            points=await self.points(run_id),
        )

    async def _texts(self, table: str, run_id: str) -> dict[str, str]:
        order = f"ORDER BY key {self._tables.by_code_point}"
        query = f"SELECT key, value FROM {table} WHERE run_uuid = ? {order}"
        return {key: value or "" for key, value in await self._tables.rows(query, run_id)}

    async def points(self, run_id: str) -> RunPoints:
        counts = {
            key: int(count)
            for key, count in await self._tables.rows(
                "SELECT key, count(*) FROM metrics WHERE run_uuid = ? GROUP BY key", run_id
            )
        }
        refused = refused_keys(counts, run_id, self._skips)
        ((first_ms, last_ms, last_step),) = await self._tables.rows(
            "SELECT min(timestamp), max(timestamp), max(step) FROM metrics WHERE run_uuid = ?",
            run_id,
        )
        about = PointsAbout(
            keys=tuple(sorted(counts.keys() - refused)),
            points=sum(count for key, count in counts.items() if key not in refused),
            first_ms=first_ms or 0,
            last_ms=last_ms or 0,
            last_step=last_step or 0,
        )
        return RunPoints(about, partial(self._point_rows, run_id), refused=refused)

    async def _point_rows(self, run_id: str) -> AsyncIterator[Sequence[PointRow]]:
        columns = ["key", "step", "timestamp", "value", "is_nan"]
        query = (
            f"{await self._schema.select('metrics', columns)} WHERE run_uuid = ? "
            f"ORDER BY timestamp, key {self._tables.by_code_point}, step, value, is_nan"
        )
        async for rows in self._tables.pages(query, run_id, rows_max=PIECE_ROWS):
            yield [
                PointRow(key, step or 0, time_ms, number(value, is_nan=bool(is_nan)))
                for key, step, time_ms, value, is_nan in rows
            ]

    async def _datasets(self, run_id: str) -> list[SourceDataset]:
        if not await self._schema.columns("inputs"):
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
        if not await self._schema.columns("inputs"):
            return [], []
        select = await self._schema.select("inputs", ["source_type", "destination_id", "step"])
        rows = await self._tables.rows(
            f"{select} WHERE source_id = ? AND destination_type IN ('MODEL_INPUT', 'MODEL_OUTPUT') "
            "ORDER BY destination_id",
            run_id,
        )
        read = [model_id for kind, model_id, _ in rows if kind == "RUN_INPUT"]
        made = [(model_id, step or 0) for kind, model_id, step in rows if kind == "RUN_OUTPUT"]
        return list(dict.fromkeys(read)), list(dict.fromkeys(made))
