"""Numbered SQL files bring a log database to the newest layout; each is applied once.

A file that was applied is never edited: its checksum is kept, and a difference is refused,
as is a database that a newer version of this software has already changed.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from dataclasses import dataclass
from importlib.resources import files

from tracker.events.errors import TrackerError

_NAME = re.compile(r"(\d{4})_\w+\.sqlite\.sql")
_TABLE = """
CREATE TABLE IF NOT EXISTS migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    applied_at_us INTEGER NOT NULL
)
"""


class MigrationMismatch(TrackerError):
    """A database was laid out by other migrations than this software has."""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def sqlite_migrations() -> list[Migration]:
    found = []
    for entry in files(__name__).iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            sql = entry.read_text(encoding="utf-8")
            found.append(Migration(int(match.group(1)), entry.name, sql))
    return sorted(found, key=lambda migration: migration.number)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing, each file in one transaction. Raises MigrationMismatch."""
    connection.execute(_TABLE)
    applied: dict[int, str] = dict(connection.execute("SELECT number, sha256 FROM migration"))
    known = {migration.number: migration for migration in sqlite_migrations()}
    for number, sha256 in applied.items():
        if number not in known:
            raise MigrationMismatch(
                f"the store has migration {number}, which this version does not know; "
                "open it with the newer version that made it"
            )
        if known[number].sha256 != sha256:
            raise MigrationMismatch(f"{known[number].name} is not what the store was made with")
    for number, migration in known.items():
        if number not in applied:
            _apply(connection, migration)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    # executescript would commit first; statement by statement keeps one transaction.
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(migration.sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO migration VALUES (?, ?, ?, ?)",
            (migration.number, migration.name, migration.sha256, time.time_ns() // 1000),
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    statements, pending = [], ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
