"""Statements that were written for SQLite, as PostgreSQL understands them.

Theory
------
Folds and queries are written once, as named blocks of SQL in the part that both databases
share, or nearly. What is left over is mechanical: marks of parameters, lists that travel as
JSON, hints for SQLite's planner, and the three forms in which rows are written, which here
take all rows at once as arrays. A block that needs more is written a second time under its
name, in the file of the same name in `projections/sql/postgres`; it is then used in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.resources import files
from typing import Any, Final

from projections.postgres.layout import Table, with_heads
from projections.postgres.plans import Plans
from projections.postgres.texts import escaped, escaped_value
from projections.search.sql_text import ONE_PLAN
from projections.sqlite import statements

# What searches are made of has no end; the fixed statements are some hundreds.
_KEPT_MAX: Final = 2_000
_COMMENT: Final = re.compile(r"--[^\n]*")
_NAMED: Final = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_LIST: Final = re.compile(r"json_each\(:(\w+)\) (\w+)")
_IN_LIST: Final = re.compile(r"IN \(SELECT value FROM json_each\(:(\w+)\)\)")
_A_LIST: Final = re.compile(r"json_each\(:(\w+)\)|:(\w+)::\w+\[\]")
_ORDERED_JOIN: Final = re.compile(
    r"\bCROSS JOIN (?P<table>\w+)(?: (?P<alias>\w+))?\s+ON (?P<on>[\w.]+ = [\w.]+)"
)
_MARK: Final = re.compile(r"\$(\d+)")
_HINT: Final = re.compile(r"\s+INDEXED BY \w+")
_INSERT: Final = re.compile(
    r"\s*INSERT (OR REPLACE |OR IGNORE )?INTO (\w+)\s*(?:\(([\w\s,]+)\))?\s*"
    r"VALUES\s*\([?,\s]+\)\s*;?\s*"
)
_DELETE: Final = re.compile(r"\s*DELETE FROM (\w+) WHERE ([\w\s=?]+?);?\s*")
_UPDATE: Final = re.compile(r"\s*UPDATE (\w+) SET (\w+) = \? WHERE (\w+) = \?;?\s*")
# What SQLite's numeric affinity reads as a number.
_NUMBER: Final = re.compile(
    r"[ \t\n\v\f\r]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t\n\v\f\r]*"
)
_FILES: Final = (
    "runs_store.sql",
    "runs_queries.sql",
    "artifact_queries.sql",
    "series_store.sql",
    "series_queries.sql",
)


@dataclass(frozen=True, slots=True)
class Translated:
    """`names` are those of its parameters, in order; empty for question marks.

    Of the parameters in `lists` the value is a JSON list. `plans`: the blocks of the .sql files
    name their parameters, what a search is made of does not; one without any does not care.
    `has_one_plan`: see `search.sql_text.ONE_PLAN`.
    """

    sql: str
    names: tuple[str, ...] = ()
    lists: frozenset[str] = frozenset()
    plans: Plans | None = None
    has_one_plan: bool = False

    def arguments(self, given: Any) -> list[Any]:
        if not self.names:
            return [escaped_value(value) for value in given]
        return [
            escaped_value(json.loads(given[name]) if name in self.lists else given[name])
            for name in self.names
        ]


@dataclass(frozen=True, slots=True)
class Bulk:
    """One statement for many rows: an array per parameter."""

    sql: str
    columns: Callable[[Iterable[Sequence[Any]]], list[list[Any]]]


@lru_cache(_KEPT_MAX)
def translated(statement: str, *, has_heads: bool = True) -> Translated:
    """A statement with its parameters, one row at a time. `has_heads`: see `layout`."""
    text = _HINT.sub("", _COMMENT.sub("", _written_again().get(statement, statement)))
    text = _ORDERED_JOIN.sub(_looked_up, text)
    if has_heads:
        text = with_heads(text)
    lists = frozenset(a or b for a, b in _A_LIST.findall(text))
    text = _IN_LIST.sub(lambda found: f"= ANY ({_array(found.group(1))})", text)
    text = _LIST.sub(_unnested, text)
    names: list[str] = []

    def numbered(found: re.Match[str]) -> str:
        if found.group(1) not in names:
            names.append(found.group(1))
        return f"${names.index(found.group(1)) + 1}"

    text = _NAMED.sub(numbered, text)
    if not names:
        first, *rest = text.split("?")
        text = first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
    return Translated(
        text.strip().rstrip(";"),
        tuple(names),
        lists,
        Plans.KEPT if names else Plans.ANEW if "?" in statement else None,
        has_one_plan=ONE_PLAN in statement,
    )


@lru_cache(_KEPT_MAX)
def together(statements: tuple[str, ...], then: Plans | None = None) -> Translated:
    """Fixed statements as one, which gives one row: the rows of each as an array.

    `then`: how what follows is planned; it is set by further columns.
    """
    each = [translated(statement) for statement in statements]
    names = tuple(dict.fromkeys(name for one in each for name in one.names))
    arrays = []
    for one in each:
        mark = partial(_renumbered, [names.index(name) + 1 for name in one.names])
        arrays.append(f"ARRAY(SELECT x FROM ({_MARK.sub(mark, one.sql)}) AS x)")
    lists = frozenset[str]().union(*(one.lists for one in each))
    columns = [*arrays, then.columns] if then else arrays
    return Translated(f"SELECT {', '.join(columns)}", names, lists, Plans.KEPT)


def _renumbered(numbers: Sequence[int], mark: re.Match[str]) -> str:
    return f"${numbers[int(mark.group(1)) - 1]}"


def bulk(statement: str, tables: Mapping[str, Table]) -> Bulk | None:
    """The form for many rows; None for a statement that has none."""
    again = _written_again().get(statement)
    if again is not None:
        return Bulk(_COMMENT.sub("", again).strip().rstrip(";"), _turned)
    text = _COMMENT.sub("", statement)
    if found := _INSERT.fullmatch(text):
        return _insert(tables[found.group(2)], found.group(1) or "", found.group(3))
    if found := _DELETE.fullmatch(text):
        table = tables[found.group(1)]
        names = [part.split("=")[0].strip() for part in found.group(2).split(" AND ")]
        where = " AND ".join(f"t.{name} = x.{name}" for name in names)
        return Bulk(
            f"DELETE FROM {table.name} t USING {_rows(table, names)} WHERE {where}", _turned
        )
    if found := _UPDATE.fullmatch(text):
        table, (name, key) = tables[found.group(1)], found.group(2, 3)
        of_both = _rows(table, [name, key])
        return Bulk(
            f"UPDATE {table.name} t SET {name} = x.{name} FROM {of_both} WHERE t.{key} = x.{key}",
            _turned,
        )
    return None


def _insert(table: Table, manner: str, listed: str | None) -> Bulk:
    given = [name.strip() for name in listed.split(",")] if listed else None
    names = given or [column.name for column in table.written]
    all_names = [*names, *(column.name for column in table.generated)]
    sql = (
        f"INSERT INTO {table.name} ({', '.join(all_names)}) SELECT * FROM {_rows(table, all_names)}"
    )
    if manner.strip() == "OR IGNORE":
        sql += " ON CONFLICT DO NOTHING"
    elif manner:
        changed = [name for name in all_names if name not in table.key]
        done = ", ".join(f"{name} = excluded.{name}" for name in changed)
        action = f"UPDATE SET {done}" if changed else "NOTHING"
        sql += f" ON CONFLICT ({table.conflict}) DO {action}"
    types = [table.type_of(name) for name in names]
    number_of = names.index("value") if table.generated else None

    def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
        turned = [
            _stored(column, type_)
            for column, type_ in zip(zip(*rows, strict=True), types, strict=True)
        ]
        if number_of is not None:
            turned.append([_as_number(value) for value in turned[number_of]])
        return turned

    return Bulk(sql, columns)


def _rows(table: Table, names: Sequence[str]) -> str:
    arrays = ", ".join(f"${n}::{table.type_of(name)}[]" for n, name in enumerate(names, 1))
    return f"unnest({arrays}) AS x ({', '.join(names)})"


def _turned(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [escaped_value(list(column)) for column in zip(*rows, strict=True)]


def _stored(column: Sequence[Any], type_: str) -> list[Any]:
    """As SQLite stores it: NaN as NULL, and no sign of a zero."""
    if type_ == "double precision":
        return [None if x is None or x != x else x + 0.0 for x in column]
    if type_ == "text":
        return [None if text is None else escaped(text) for text in column]
    return list(column)


def _as_number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def _looked_up(found: re.Match[str]) -> str:
    """A join of which SQLite runs the left side first, in a form that leaves no other order.

    Of two tables PostgreSQL chooses the order itself, by statistics that may be from when a table
    was nearly empty: it then compares every row with every other.
    """
    table, alias, condition = found.group("table", "alias", "on")
    alias = alias or table
    looked_up = f"SELECT * FROM {table} {alias} WHERE {condition} OFFSET 0"
    return f"CROSS JOIN LATERAL ({looked_up}) {alias}"


def _unnested(found: re.Match[str]) -> str:
    name, alias = found.groups()
    return f"unnest({_array(name)}) WITH ORDINALITY AS {alias} (value, key)"


def _array(name: str) -> str:
    """A list's parameter; numbers are told from texts by its name."""
    return f":{name}::{'bigint' if name.endswith('_nos') else 'text'}[]"


@cache
def _written_again() -> Mapping[str, str]:
    """The blocks of PostgreSQL's own by the text of those they stand for."""
    folder = files("projections.sql").joinpath("postgres")
    found: dict[str, str] = {}
    for name in _FILES:
        if not folder.joinpath(name).is_file():
            continue
        shared = statements(name)
        found |= {shared[block]: text for block, text in statements(f"postgres/{name}").items()}
    return found
