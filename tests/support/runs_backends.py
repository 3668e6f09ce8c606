"""The stores that answer about runs, each filled with the rows a test gives it.

Rows are put into a SQLite file; PostgreSQL gets a copy of them, table by table. So both hold
the same, and what they answer can be compared.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from ingest.event_stores.postgres import PostgresEventStore
from ingest.event_stores.postgres_connections import PostgresOptions
from projections.kinds import KINDS
from projections.postgres.builds import PostgresBuilds
from projections.postgres.connection import PostgresConnection, PostgresPlace
from projections.postgres.layout import CHECKPOINTS, tables
from projections.postgres.leadership import PostgresLeadership
from projections.postgres.readers import PostgresReaders, ReaderPool
from projections.postgres.sessions import Session
from projections.read_models import RunSearch, RunsReadStore
from projections.runs_queries import RunsQueries
from projections.sqlite import FileRows
from tests.support.memory_log import MemoryLog
from tests.support.postgres import fresh_database
from tests.support.run_tables import ExperimentRow, RunRow, RunTables

EXAMPLES_PER_TRY = 1 if os.environ.get("TRACKER_CHAOS_ROUNDS") else 4
Clock = Callable[[], int]


class FilledTables(Protocol):
    def put(
        self, *, experiments: Iterable[ExperimentRow] = (), runs: Iterable[RunRow] = ()
    ) -> None: ...

    def close(self) -> None: ...

    def store(self, *, clock_us: Clock) -> RunsQueries: ...


class RunsBackend(Protocol):
    def takes_example(self) -> bool:
        """Whether to try the next of many random examples here, too."""
        ...

    def tables(self, folder: Path) -> FilledTables:
        """Empty tables; one set at a time."""
        ...


class _FileTables(RunTables):
    def store(self, *, clock_us: Clock) -> RunsQueries:
        return RunsQueries(self.path, clock_us=clock_us)


class SqliteRuns:
    def takes_example(self) -> bool:
        return True

    def tables(self, folder: Path) -> FilledTables:
        return _FileTables(folder / "runs.sqlite")


class PostgresRuns:
    """One build of the runs projection in a database of its own, emptied for each set.

    An example takes a third of a second, so only some are tried, unless told otherwise.
    """

    def takes_example(self) -> bool:
        self._examples += 1
        return self._examples % EXAMPLES_PER_TRY == 0

    def __init__(self, dsn: str) -> None:
        self.place = PostgresPlace(dsn)
        self._examples = 0
        asyncio.run(self._prepare())
        self.schema = "tracker_1_runs_1"
        self.pool = ReaderPool(self.place, size=1)
        self._thread = ThreadPoolExecutor(1)  # a connection may not be used beside a loop
        self._writing = self._thread.submit(PostgresConnection, self.place, tables("runs")).result()

    async def _prepare(self) -> None:
        store = await PostgresEventStore.open(PostgresOptions(self.place.uri))
        await store.aclose()
        leadership = PostgresLeadership(Session(self.place, name="lease"), "default")
        builds = PostgresBuilds(self.place, "default", token=lambda: leadership.token)
        assert await leadership.acquire()
        build, projection = await builds.begin(KINDS[0], MemoryLog())
        await builds.switch(build)
        await projection.aclose()
        await builds.aclose()
        await leadership.release()

    def tables(self, folder: Path) -> FilledTables:
        return _CopiedTables(self, folder / "runs.sqlite")

    def copy(self, path: Path) -> None:
        """Hold what the file holds."""
        self._thread.submit(self._copy, path).result()

    def _copy(self, path: Path) -> None:
        connection, known = self._writing, tables("runs")
        source = sqlite3.connect(path)
        rows = FileRows(source)
        connection.script(f"BEGIN; SET LOCAL search_path = {self.schema}")
        connection.script("; ".join(f"DELETE FROM {t}" for t in known if t != CHECKPOINTS))
        for name, columns in rows.tables().items():
            if name != CHECKPOINTS:
                marks = ", ".join("?" * len(columns))
                sql = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})"
                connection.executemany(sql, rows.rows(name))
        ((position,),) = source.execute("SELECT position FROM projection").fetchall()
        connection.direct("UPDATE tracker.projection_build SET position = $1 RETURNING 1", position)
        connection.script("COMMIT")
        source.close()

    def close(self) -> None:
        self._thread.submit(self._writing.close).result()
        self._thread.shutdown()
        asyncio.run(self.pool.aclose())


class _CopiedTables:
    def __init__(self, backend: PostgresRuns, path: Path) -> None:
        self._backend = backend
        self._file = RunTables(path)
        backend.copy(path)

    def put(
        self, *, experiments: Iterable[ExperimentRow] = (), runs: Iterable[RunRow] = ()
    ) -> None:
        self._file.put(experiments=experiments, runs=runs)
        self._backend.copy(self._file.path)

    def close(self) -> None:
        self._file.close()

    def store(self, *, clock_us: Clock) -> RunsQueries:
        readers = PostgresReaders(self._backend.pool, "default", "runs")
        return RunsQueries(readers, clock_us=clock_us)


@contextmanager
def postgres_runs(dsn: str) -> Iterator[PostgresRuns]:
    backend = PostgresRuns(dsn)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def runs_backend(request: pytest.FixtureRequest) -> Iterator[RunsBackend]:
    """The one that the fixture's parameter names: sqlite or postgres."""
    if request.param == "sqlite":
        yield SqliteRuns()
        return
    server_dsn = request.getfixturevalue("postgres_server_dsn")
    with fresh_database(server_dsn) as dsn, postgres_runs(dsn) as backend:
        yield backend


async def paged(store: RunsReadStore, search: RunSearch) -> list[str]:
    """The run ids of all pages."""
    found: list[str] = []
    token = None
    while True:
        page = await store.search_runs(
            RunSearch(
                experiment_ids=search.experiment_ids,
                filter=search.filter,
                order_by=search.order_by,
                view=search.view,
                max_results=search.max_results,
                live_run_ids=search.live_run_ids,
                page_token=token,
            )
        )
        found.extend(run.run_id for run in page.items)
        token = page.next_page_token
        if token is None:
            return found
        assert len(page.items) == search.max_results
