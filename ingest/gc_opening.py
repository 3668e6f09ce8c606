"""Opens what garbage collection and verification look at, whether or not a server runs.

Logs are read through connections that never write. A log whose projection serves here and is
of this version lends it; any other log is folded into a file that is thrown away.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.artifact_stores.base import ArtifactStore
from ingest.artifact_stores.open import open_artifact_store
from ingest.binding import InvalidSettings
from ingest.event_stores.sqlite_reader import SqliteLogReader, connect_read_only
from ingest.gc_references import fold_log
from ingest.settings import Settings
from projections.builds import Builds
from projections.log import EventLogReader
from projections.read_models import RunsReadStore
from projections.runs_queries import RunsQueries
from projections.runs_store import RUNS_VERSION

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace: its log, its trees, and the store that keeps their bytes."""

    name: str
    log: EventLogReader
    runs: RunsReadStore
    store: ArtifactStore


@asynccontextmanager
async def opened_workspaces(
    settings: Settings, *, progress: Progress
) -> AsyncIterator[Sequence[Workspace]]:
    """All workspaces that the settings' log holds. Raises InvalidSettings when there is none."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        logs = await enter(_logs(settings))
        workspaces = []
        for name, log in logs.items():
            runs = await enter(_trees(settings, log, progress))
            store = await enter(open_artifact_store(settings.artifacts_uri, workspace=name))
            workspaces.append(Workspace(name, log, runs, store))
        yield workspaces


@asynccontextmanager
async def _logs(settings: Settings) -> AsyncIterator[dict[str, EventLogReader]]:
    if settings.postgres_uri is not None:
        from ingest.event_stores.postgres_reader import reading_log, workspaces_of

        names = await workspaces_of(settings.postgres_uri)
        if not names:
            raise InvalidSettings(
                "the database that --backend-store-uri names holds no log, so it cannot say "
                "what is referred to"
            )
        async with AsyncExitStack() as stack:
            found: dict[str, EventLogReader] = {}
            for name in names:
                reading = reading_log(settings.postgres_uri, workspace=name)
                found[name] = await stack.enter_async_context(reading)
            yield found
        return
    path = settings.store_path
    if path is None or not path.is_file():
        where = "a log in memory" if path is None else f"{path}, which does not exist,"
        raise InvalidSettings(
            f"{where} cannot say what is referred to; name the log with --backend-store-uri"
        )
    log = SqliteLogReader(path)
    try:
        yield {_sqlite_workspace(path) or settings.workspace: log}
    finally:
        log.close()


@asynccontextmanager
async def _trees(
    settings: Settings, log: EventLogReader, progress: Progress
) -> AsyncIterator[RunsReadStore]:
    path = settings.store_path
    build = Builds.beside(path).current("runs") if path is not None else None
    with tempfile.TemporaryDirectory(prefix="tracker-gc-") as folder:
        if build is not None and build.version == RUNS_VERSION:
            runs = RunsQueries(build.path)
        else:
            scratch = Path(folder) / "runs.sqlite"
            await fold_log(log, scratch, lambda done, total: progress("folded", done, total))
            runs = RunsQueries(scratch)
        try:
            yield runs
        finally:
            await runs.aclose()


def _sqlite_workspace(path: Path) -> str | None:
    connection = connect_read_only(path)
    try:
        row = connection.execute("SELECT workspace FROM head").fetchone()
    except sqlite3.Error as error:
        raise InvalidSettings(f"{path} cannot be read as a log: {error}") from error
    finally:
        connection.close()
    return None if row is None else str(row[0])
