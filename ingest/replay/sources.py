"""Opening what is replayed: a log to read, whose it is, and how to wait for more of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.archive.log import open_archive
from ingest.event_stores.migrations import MigrationMismatch, sqlite_migrations
from ingest.event_stores.sqlite_reader import SqliteLogReader, connect_read_only
from ingest.replay.places import (
    ArchivePlace,
    LogPlace,
    PlaceNotUnderstood,
    PostgresPlace,
    ServerPlace,
    SqlitePlace,
)
from ingest.replay.server_log import server_log
from projections.log import EventLogReader
from tracker.events.ids import DEFAULT_WORKSPACE

POLL_S: Final = 0.25
ARCHIVE_POLL_S: Final = 2.0


class NoArchive(PlaceNotUnderstood):
    """There is no archive of that workspace, yet."""


async def _no_refresh() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Source:
    """`refresh` makes what others have added since visible; it is asked `poll_s` apart."""

    log: EventLogReader
    workspace: str
    poll_s: float = POLL_S
    refresh: Callable[[], Awaitable[None]] = _no_refresh


@asynccontextmanager
async def open_source(
    place: LogPlace, *, workspace: str | None, api_key: str | None
) -> AsyncIterator[Source]:
    """Open a log to read; it may be served meanwhile. Raises PlaceNotUnderstood and its kin."""
    match place:
        case SqlitePlace(path):
            found = await asyncio.to_thread(_checked_workspace, path, workspace)
            reader = SqliteLogReader(path)
            try:
                yield Source(reader, found)
            finally:
                await reader.aclose()
        case PostgresPlace(uri):
            from ingest.event_stores.postgres_reader import reading_log

            asked = workspace or DEFAULT_WORKSPACE
            async with reading_log(uri, workspace=asked) as log:
                yield Source(log, asked)
        case ServerPlace(uri):
            async with server_log(uri, api_key=api_key) as served:
                found = (await served.server_head()).workspace
                check_workspace(place, found, workspace)
                yield Source(served, found)
        case ArchivePlace(location):
            asked = workspace or DEFAULT_WORKSPACE
            async with open_archive(location, workspace=asked) as archive:
                if not archive.manifest.segments:
                    raise NoArchive(
                        f"{location} holds no archive of workspace {asked!r}; --workspace names "
                        "another"
                    )
                yield Source(archive, asked, ARCHIVE_POLL_S, archive.refresh)


def check_workspace(place: object, found: str, asked: str | None) -> None:
    """Raise PlaceNotUnderstood when another workspace was asked for than the one there is."""
    if asked is not None and found != asked:
        raise PlaceNotUnderstood(
            f"{place} holds workspace {found!r}, not {asked!r}; a log holds one workspace: "
            f"say --workspace {found}, or use another place"
        )


def _checked_workspace(path: Path, asked: str | None) -> str:
    connection = connect_read_only(path)
    try:
        applied = connection.execute("SELECT number, sha256 FROM migration").fetchall()
        row = connection.execute("SELECT workspace FROM store").fetchone()
    except sqlite3.Error as error:
        raise PlaceNotUnderstood(f"{path} is not a tracker store: {error}") from error
    finally:
        connection.close()
    known = {migration.number for migration in sqlite_migrations()}
    newer = [number for number, _ in applied if number not in known]
    if newer:
        raise MigrationMismatch(
            f"{path} has migration {newer[0]}, which this version does not know; "
            "replay it with the newer version that made it"
        )
    if row is None:
        raise PlaceNotUnderstood(f"{path} is not a tracker store: it has no workspace")
    check_workspace(path, row[0], asked)
    return str(row[0])
