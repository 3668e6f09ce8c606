"""TableRows of the build whose schema the search_path names, inside a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from projections.postgres.connection import PostgresConnection
from projections.postgres.layout import Table, tables


class SchemaRows:
    """See table_rows.TableRows."""

    def __init__(self, connection: PostgresConnection, projection: str) -> None:
        self._connection = connection
        self._tables = tables(projection)

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        return {name: _columns(table) for name, table in self._tables.items()}

    def key_length(self, table: str) -> int:
        return len(self._tables[table].key)

    def rows(self, table: str) -> Iterator[Any]:
        known = self._tables[table]
        return self._connection.stream(
            f"SELECT {', '.join(_columns(known))} FROM {table} ORDER BY {', '.join(known.key)}"
        )


def _columns(table: Table) -> tuple[str, ...]:
    others = (column.name for column in table.written if column.name not in table.key)
    return (*table.key, *others)
