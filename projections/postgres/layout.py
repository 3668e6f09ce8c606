"""The tables of a build in PostgreSQL: those of SQLite's schema, column by column.

Theory
------
Rows mean the same in both stores, down to the state's hash. So there is one schema file per
projection, SQLite's, and PostgreSQL's tables are derived from it: the types are mapped, texts
are compared by their bytes (collation "C") as SQLite compares them, and what SQLite computes
(a generated column) is written by us. A table that is added to the file is added to both.

Four things differ. A btree of PostgreSQL takes no entry beyond 2,704 bytes, so long texts enter
a primary key as their digest. Of an index of expressions PostgreSQL gives no rows, but looks
each up in its table, so the beginnings of values that SQLite's indexes hold are columns here
(`value_head`). Indexes carry what SQLite finds beside their entries anyway: with the keys of
metrics, params and tags go their values or the beginnings of them, with all that leads to a run
its number. And `projection` is a view of the row that holds the build's checkpoint, which lies
where all servers look (see `build_store`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from projections import sql
from projections.search.limits import ORDER_CHARACTERS_MAX

_TYPES: Final = {
    "INTEGER": "bigint",
    "REAL": "double precision",
    "TEXT": 'text COLLATE "C"',
    "BLOB": "bytea",
}
# Of what SQLite's indexes say, this is all that PostgreSQL does not understand.
_IS_NUMBER: Final = re.compile(r"typeof\((\w+)\) = 'real'")
_HEAD: Final = re.compile(rf"substr\((\w+\.)?value, 1, {ORDER_CHARACTERS_MAX}\)")
_HEAD_COLUMN: Final = "value_head"
# Columns whose texts may be too long for an entry of an index.
_LONG: Final = frozenset({"value", "reason", "dataset_name"})
# What is looked up by a primary key most: its index gives it, without a look at the table.
_INCLUDED: Final = {
    "run_metric": "last_value",
    "run_param": _HEAD_COLUMN,
    "run_tag": _HEAD_COLUMN,
}
# Each index of SQLite's ends with it.
_NUMBER_OF: Final = {"run": "run_no"}
_INDEX: Final = re.compile(r"(CREATE INDEX \w+ ON (\w+) \(([^()]+)\))")
# Written again and again: room to do so in place.
_FILLFACTOR: Final = 80
CHECKPOINTS: Final = "projection"
"""The table that is a view here."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str  # PostgreSQL's, without collation
    is_generated: bool = False


_VALUE: Final = Column("value", "text")


@dataclass(frozen=True, slots=True)
class Table:
    """`key` are the columns of the primary key; `columns` are in order of the schema."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def written(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if not column.is_generated)

    @property
    def generated(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.is_generated)

    def type_of(self, name: str) -> str:
        return next(column.type for column in self.columns if column.name == name)

    @property
    def conflict(self) -> str:
        """The primary key as its index has it, and as ON CONFLICT names it."""
        return ", ".join(f"md5({name})" if self._is_long(name) else name for name in self.key)

    @property
    def has_long_key(self) -> bool:
        return any(map(self._is_long, self.key))

    def _is_long(self, name: str) -> bool:
        return name in _LONG and self.type_of(name) == "text"


@cache
def tables(projection: str) -> Mapping[str, Table]:
    """The tables of a projection by name."""
    return {table.name: table for table in _tables(_laid_out(projection))}


@cache
def definition(projection: str) -> tuple[str, ...]:
    """The statements that lay out an empty build, in the schema that the search_path names."""
    connection = _laid_out(projection)
    statements = [
        statement
        for table in _tables(connection)
        if table.name != CHECKPOINTS
        for statement in _definition_of(connection, table)
    ]
    indexes = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    )
    statements += [
        _INDEX.sub(_with_number, with_heads(_IS_NUMBER.sub(r"\1 IS NOT NULL", text)))
        for (text,) in indexes
    ]
    return tuple(statements)


def with_heads(statement: str) -> str:
    """The statement with the columns of beginnings, where it says how they are computed."""
    return _HEAD.sub(rf"\1{_HEAD_COLUMN}", statement)


def _with_number(index: re.Match[str]) -> str:
    defined, table, columns = index.groups()
    number = _NUMBER_OF.get(table)
    is_there = number is None or number in columns.split(", ")
    return defined if is_there else f"{defined} INCLUDE ({number})"


def _laid_out(projection: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(sql.load(f"{projection}_schema.sql"))
    return connection


def _tables(connection: sqlite3.Connection) -> Iterator[Table]:
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    for (name,) in names.fetchall():
        rows = connection.execute(
            "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?)", (name,)
        ).fetchall()
        columns = tuple(
            Column(column, _TYPES[_plain(declared)].partition(" COLLATE")[0], hidden > 0)
            for column, declared, _, hidden in rows
        )
        key = tuple(row[0] for row in sorted((r for r in rows if r[2]), key=lambda r: r[2]))
        yield Table(name, columns, key)


def _plain(declared: str) -> str:
    return declared.removesuffix(" GENERATED ALWAYS")


def _definition_of(connection: sqlite3.Connection, table: Table) -> Iterator[str]:
    required = {
        name
        for name, notnull in connection.execute(
            'SELECT name, "notnull" FROM pragma_table_info(?)', (table.name,)
        )
        if notnull
    }
    lines = []
    for column in table.columns:
        collation = ' COLLATE "C"' if column.type == "text" else ""
        null = " NOT NULL" if column.name in required or column.name in table.key else ""
        lines.append(f"{column.name} {column.type}{collation}{null}")
        if column == _VALUE:
            head = f"substr(value, 1, {ORDER_CHARACTERS_MAX})"
            lines.append(f"{_HEAD_COLUMN} text{collation} GENERATED ALWAYS AS ({head}) STORED")
    if not table.has_long_key:
        included = f" INCLUDE ({_INCLUDED[table.name]})" if table.name in _INCLUDED else ""
        lines.append(f"PRIMARY KEY ({', '.join(table.key)}){included}")
    for (index,) in connection.execute(
        "SELECT name FROM pragma_index_list(?) WHERE origin = 'u'", (table.name,)
    ).fetchall():
        unique = connection.execute("SELECT name FROM pragma_index_info(?)", (index,)).fetchall()
        lines.append(f"UNIQUE ({', '.join(name for (name,) in unique)})")
    joined = ",\n    ".join(lines)
    yield f"CREATE TABLE {table.name} (\n    {joined}\n) WITH (fillfactor = {_FILLFACTOR})"
    if table.has_long_key:
        yield f"CREATE UNIQUE INDEX {table.name}_key ON {table.name} ({table.conflict})"
    for column in table.columns:
        if column.type == "bytea":  # compressed already
            yield f"ALTER TABLE {table.name} ALTER COLUMN {column.name} SET STORAGE EXTERNAL"
