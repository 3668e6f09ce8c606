"""Tables in one DuckDB file, each step of an export in a transaction with its note."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from ingest.replay.copying import LogsDiffer
from ingest.replay.parquet_sink import count_points
from ingest.replay.sinks import Noted
from ingest.replay.tally import Count
from tracker.events.errors import TrackerError

_FORMAT: Final = 2
_ROWS_A_READ: Final = 500_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS metrics (
    experiment_id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, key VARCHAR NOT NULL,
    step BIGINT NOT NULL, time TIMESTAMPTZ NOT NULL, value DOUBLE NOT NULL
);
CREATE TABLE IF NOT EXISTS _tracker (format INTEGER, about VARCHAR, note VARCHAR);
CREATE OR REPLACE VIEW latest_metrics AS
    SELECT experiment_id, run_id, key, last(value ORDER BY step, time) AS value,
           max(step) AS step, count(*) AS points
    FROM metrics GROUP BY ALL;
"""


class DuckdbRefused(TrackerError):
    """The file cannot be opened or written as a DuckDB database."""


class DuckdbSink:
    """See sinks.TableSink. The view latest_metrics comes with it."""

    def __init__(self, path: Path, about: Mapping[str, Any], *, read_only: bool = False) -> None:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._about = json.dumps(about, sort_keys=True)
        try:
            self._connection = duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            raise DuckdbRefused(f"{path} cannot be used: {error}") from error
        try:
            self._note = self._opened(path)
        except BaseException:
            self._connection.close()
            raise

    def _opened(self, path: Path) -> Noted:
        try:
            self._connection.execute("SET TimeZone = 'UTC'")
            row = self._one("SELECT 1 FROM duckdb_tables() WHERE table_name = '_tracker'")
            if row is None:
                self._connection.execute(_SCHEMA)
            row = self._one("SELECT format, about, note FROM _tracker")
        except duckdb.Error as error:
            raise DuckdbRefused(
                f"{path} cannot be used, or was written by another version: {error}"
            ) from error
        if row is None:
            return Noted()
        if row[0] != _FORMAT:
            raise LogsDiffer(
                f"{path} was written by another version (format {row[0]}, and this one writes "
                f"{_FORMAT}); give a new file"
            )
        if row[1] != self._about:
            raise LogsDiffer(
                f"{path} holds tables of another workspace or of other runs; give a new file, "
                "or the same --run and --experiment"
            )
        return Noted.of_json(json.loads(row[2]))

    def close(self) -> None:
        self._connection.close()

    async def noted(self) -> Noted:
        return self._note

    async def put_points(self, tables: Mapping[str, Any], *, after: int, note: Noted) -> None:
        await asyncio.to_thread(self._put_points, tables, note)
        self._note = note

    def _put_points(self, tables: Mapping[str, Any], note: Noted) -> None:
        with self._transaction() as connection:
            for experiment, table in tables.items():
                connection.register("points", table)
                connection.execute(
                    "INSERT INTO metrics SELECT ?, run_id, key, step, time, value FROM points",
                    [experiment],
                )
                connection.unregister("points")
            connection.execute("DELETE FROM _tracker")
            connection.execute(
                "INSERT INTO _tracker VALUES (?, ?, ?)",
                [_FORMAT, self._about, json.dumps(note.as_json())],
            )

    async def put_tables(self, tables: Mapping[str, Iterable[Any]], *, position: int) -> None:
        # The names are those of parquet_tables.TABLES, none of them from outside.
        with self._transaction() as connection:
            for name, pieces in tables.items():
                for number, piece in enumerate(pieces):
                    connection.register("rows", piece)
                    how = f"INSERT INTO {name}" if number else f"CREATE OR REPLACE TABLE {name} AS"
                    await asyncio.to_thread(connection.execute, f"{how} SELECT * FROM rows")
                    connection.unregister("rows")

    async def rows_of(self, name: str) -> int:
        row = self._one(f"SELECT count(*) FROM {name}")
        assert row is not None
        return int(row[0])

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

    def _one(self, sql: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(sql).fetchone()
        return row

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        self._connection.execute("BEGIN")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException as error:
            with suppress(duckdb.Error):  # after some failures it is rolled back already
                self._connection.execute("ROLLBACK")
            if isinstance(error, duckdb.Error):
                raise DuckdbRefused(f"the tables cannot be written: {error}") from error
            raise
