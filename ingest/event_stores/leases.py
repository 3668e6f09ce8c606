"""The lease table: who was alive when it was last written. Rebuilt whole, it is small."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseRow:
    writer_id: str
    run_id: str
    expires_us: int


def load_leases(connection: sqlite3.Connection) -> list[LeaseRow]:
    rows = connection.execute("SELECT writer_id, run_id, expires_us FROM lease")
    return [LeaseRow(*row) for row in rows]


def save_leases(connection: sqlite3.Connection, leases: Sequence[LeaseRow]) -> None:
    connection.execute("DELETE FROM lease")
    connection.executemany(
        "INSERT INTO lease VALUES (?, ?, ?)",
        [(lease.writer_id, lease.run_id, lease.expires_us) for lease in leases],
    )
