"""Bringing a database to the newest layout, and opening a workspace in it.

Numbered SQL files are applied once each, all that are missing in one transaction, under an
advisory lock of that transaction: servers that start together wait for each other. A file
that was applied is never edited. A database that a newer version has changed is refused.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import asyncpg

from ingest.event_stores.migrations import Migration, MigrationMismatch
from ingest.event_stores.postgres_connections import Connection, Connections
from ingest.event_stores.postgres_errors import DatabaseRefused
from projections.log import GENESIS_CHAIN

# Any number will do, as long as all versions agree on it.
ADVISORY_LOCK: Final = 0x7472_6163_6B65_7201
PARTITION_POSITIONS: Final = 4_000_000
"""Positions in one partition: some hundreds of MB of metrics, detached in one piece."""

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS tracker.log_migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at_us bigint NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class OpenedWorkspace:
    workspace: str
    number: int
    store_id: str
    partition_positions: int


def postgres_migrations() -> list[Migration]:
    folder = files("ingest.event_stores.migrations") / "postgres"
    found = []
    for entry in folder.iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            sql = entry.read_text(encoding="utf-8")
            found.append(Migration(int(match.group(1)), entry.name, sql))
    return sorted(found, key=lambda migration: migration.number)


async def prepare(
    connections: Connections, workspace: str, *, partition_positions: int = PARTITION_POSITIONS
) -> OpenedWorkspace:
    """Migrate, and make the workspace unless it is there.

    Raises MigrationMismatch, DatabaseRefused and what the driver raises.
    """
    async with connections.reading() as connection:
        opened = await _opened(connection, workspace)
    if opened is not None:
        return opened
    try:
        async with connections.transaction() as connection:
            await connection.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            await migrate(connection)
            if await _find(connection, workspace) is None:
                await _make(connection, workspace, partition_positions)
            made = await _find(connection, workspace)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseRefused(
            f"the database user may not make tracker's tables ({error}): grant it CREATE on the "
            "database, or make the schema 'tracker' and its owner that user"
        ) from error
    assert made is not None
    return made


async def _opened(connection: Connection, workspace: str) -> OpenedWorkspace | None:
    """What is there already, when nothing has to be changed: no right to do so is needed."""
    if await connection.fetchval("SELECT to_regclass('tracker.log_migration')") is None:
        return None
    applied = await _applied(connection)
    if _missing(applied):
        return None
    return await _find(connection, workspace)


async def check_not_newer(connection: Connection) -> None:
    """Raises MigrationMismatch when a newer version of this software has changed the tables."""
    _missing(await _applied(connection))


async def migrate(connection: Connection) -> None:
    """Apply what is missing, in the transaction that is open. Raises MigrationMismatch."""
    # IF NOT EXISTS would ask for the right to make one even where it is there.
    if await connection.fetchval("SELECT to_regnamespace('tracker')") is None:
        await connection.execute("CREATE SCHEMA tracker")
    await connection.execute(_TABLE)
    for migration in _missing(await _applied(connection)):
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO tracker.log_migration VALUES ($1, $2, $3, $4)",
            migration.number,
            migration.name,
            migration.sha256,
            time.time_ns() // 1000,
        )


async def _applied(connection: Connection) -> dict[int, str]:
    rows = await connection.fetch("SELECT number, sha256 FROM tracker.log_migration")
    return {row["number"]: row["sha256"] for row in rows}


def _missing(applied: dict[int, str]) -> list[Migration]:
    known = {migration.number: migration for migration in postgres_migrations()}
    for number, sha256 in applied.items():
        if number not in known:
            raise MigrationMismatch(
                f"the database has migration {number}, which this version does not know; "
                "start the newer version that made it"
            )
        if known[number].sha256 != sha256:
            raise MigrationMismatch(f"{known[number].name} is not what the database was made with")
    return [migration for number, migration in known.items() if number not in applied]


async def _find(connection: Connection, workspace: str) -> OpenedWorkspace | None:
    row = await connection.fetchrow(
        "SELECT workspace, number, store_id, partition_positions FROM tracker.store"
        " WHERE workspace = $1",
        workspace,
    )
    return OpenedWorkspace(*row) if row is not None else None


async def _make(connection: Connection, workspace: str, partition_positions: int) -> None:
    number = await connection.fetchval(
        "INSERT INTO tracker.store (workspace, store_id, partition_positions, created_at_us)"
        " VALUES ($1, $2, $3, $4) RETURNING number",
        workspace,
        os.urandom(16).hex(),
        partition_positions,
        time.time_ns() // 1000,
    )
    await connection.execute(
        "INSERT INTO tracker.head VALUES ($1, 1, $2, 0, 1)", workspace, GENESIS_CHAIN
    )
    # A workspace's name is letters, digits, - and _ only, so it can be written into DDL.
    assert re.fullmatch(r"[\w-]{1,64}", workspace, re.ASCII)
    await connection.execute(
        f"CREATE TABLE tracker.batch_{number} PARTITION OF tracker.batch"
        f" FOR VALUES IN ('{workspace}') PARTITION BY RANGE (first_position)"
    )
