"""Tables in one DuckDB file, each step of an export in a transaction with its note."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from ingest.replay.copying import LogsDiffer
from ingest.replay.parquet_sink import count_points
from ingest.replay.tally import Count
from projections.log import LogHead
from tracker.events.errors import TrackerError

_FORMAT: Final = 1
_ROWS_A_READ: Final = 500_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS metrics (
    experiment_id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, key VARCHAR NOT NULL,
    step BIGINT NOT NULL, time TIMESTAMPTZ NOT NULL, value DOUBLE NOT NULL
);
CREATE TABLE IF NOT EXISTS _tracker (format INTEGER, about VARCHAR, position BIGINT, chain VARCHAR);
CREATE OR REPLACE VIEW latest_metrics AS
    SELECT experiment_id, run_id, key, last(value ORDER BY step, time) AS value,
           max(step) AS step, count(*) AS points
    FROM metrics GROUP BY ALL;
"""


class DuckdbRefused(TrackerError):
    """The file cannot be opened or written as a DuckDB database."""


class DuckdbSink:
    """See tables.TableSink. The views latest_metrics and runs_wide come with it."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = duckdb.connect(str(path))
            self._connection.execute("SET TimeZone = 'UTC'")
            self._connection.execute(_SCHEMA)
            row = self._connection.execute(
                "SELECT format, about, position, chain FROM _tracker"
            ).fetchone()
        except duckdb.Error as error:
            raise DuckdbRefused(f"{path} cannot be used: {error}") from error
        self._about = json.dumps(about, sort_keys=True)
        self._head = LogHead()
        if row is not None:
            if row[0] != _FORMAT or row[1] != self._about:
                raise LogsDiffer(
                    f"{path} holds tables of another workspace or of other runs; give a new file, "
                    "or the same --run and --experiment"
                )
            self._head = LogHead(row[2] + 1, bytes.fromhex(row[3]))

    def close(self) -> None:
        self._connection.close()

    async def noted(self) -> LogHead:
        return self._head

    async def put_points(self, tables: Mapping[str, Any], *, after: int, head: LogHead) -> None:
        await asyncio.to_thread(self._put_points, tables, head)
        self._head = head

    def _put_points(self, tables: Mapping[str, Any], head: LogHead) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            for experiment, table in tables.items():
                connection.register("points", table)
                connection.execute(
                    "INSERT INTO metrics SELECT ?, run_id, key, step, time, value FROM points",
                    [experiment],
                )
                connection.unregister("points")
            self._note(head)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    async def put_table(self, name: str, tables: list[Any], *, head: LogHead) -> None:
        await asyncio.to_thread(self._put_table, name, tables)

    def _put_table(self, name: str, tables: list[Any]) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            connection.register("rows", pa.concat_tables(tables))
            # The names are those of parquet_tables.TABLES, none of them from outside.
            connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM rows")
            connection.unregister("rows")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    async def points_by_run(self) -> dict[str, Count]:
        return await asyncio.to_thread(self._points_by_run)

    def _points_by_run(self) -> dict[str, Count]:
        counts: dict[str, Count] = {}
        relation: Any = self._connection.sql("SELECT run_id, key, step, time, value FROM metrics")
        # Versions before 1.5 call it by another name.
        read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        for batch in read(_ROWS_A_READ):
            count_points(pa.Table.from_batches([batch]), counts)
        return counts

    def _note(self, head: LogHead) -> None:
        self._connection.execute("DELETE FROM _tracker")
        self._connection.execute(
            "INSERT INTO _tracker VALUES (?, ?, ?, ?)",
            [_FORMAT, self._about, head.next_position - 1, head.chain_sha256.hex()],
        )
