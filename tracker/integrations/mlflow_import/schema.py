"""What a database of MLflow's has of the tables and columns that its versions know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from tracker.integrations.mlflow_import.source import SourceUnreadable
from tracker.integrations.mlflow_import.tables import Tables

_REQUIRED: Final = {
    "experiments": {"experiment_id", "name", "artifact_location", "lifecycle_stage"},
    "runs": {"run_uuid", "name", "user_id", "status", "start_time", "end_time", "lifecycle_stage"},
    "metrics": {"key", "value", "timestamp", "run_uuid", "step"},
    "params": {"key", "value", "run_uuid"},
    "tags": {"key", "value", "run_uuid"},
}
_LARGEST: Final = 1.7976931348623157e308


class Schema:
    """Closes nothing: the tables are whose they were."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._columns: dict[str, frozenset[str]] = {}

    async def check(self) -> None:
        """Raises SourceUnreadable for what is no tracking store, or one before MLflow 1.0."""
        for table, required in _REQUIRED.items():
            missing = required - await self.columns(table)
            if missing == required:
                raise SourceUnreadable(
                    f"this database has no table {table!r}, so it is no tracking store of MLflow's"
                )
            if missing:
                raise SourceUnreadable(
                    f"the table {table!r} lacks {', '.join(sorted(missing))}: it is older than "
                    "MLflow 1.0; upgrade it first with `mlflow db upgrade`"
                )

    async def columns(self, table: str) -> frozenset[str]:
        """The columns of a table; none when this version has no such table."""
        if table not in self._columns:
            self._columns[table] = await self.tables.columns(table)
        return self._columns[table]

    async def select(self, table: str, columns: Sequence[str]) -> str:
        """A query for the columns, NULL for those that this version has not."""
        there = await self.columns(table)
        listed = [name if name in there else f"NULL AS {name}" for name in columns]
        return f"SELECT {', '.join(listed)} FROM {table}"

    async def count(self, table: str) -> int:
        if not await self.columns(table):
            return 0
        return int((await self.tables.rows(f"SELECT count(*) FROM {table}"))[0][0])


def number(value: Any, *, is_nan: bool = False) -> float:
    """A metric's value as it was logged. MLflow clips an infinity to the largest float64."""
    if is_nan or value is None:
        return math.nan
    logged = float(value)
    return math.copysign(math.inf, logged) if abs(logged) == _LARGEST else logged
