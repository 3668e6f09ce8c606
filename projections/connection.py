"""What queries and folds ask of a database connection: the part that every store's has.

It is the part of sqlite3's own interface that is used here, question marks and named
parameters included. `projections.postgres` gives PostgreSQL the same face, so that a fold's
reads and writes and the queries are written once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement gave; each row is a sequence in order of the columns."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """Used in one thread; its calls may block that thread."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Rows: ...


class WritableConnection(Connection, Protocol):
    """One that folds write rows by."""

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> object: ...


class Prefetching(ABC):
    """A Connection to a database that is far away, where many questions are better one."""

    @property
    def build(self) -> str | None:
        """The build that is asked next, where it is known before it is asked. Where another
        one serves by then, the whole query is asked again."""
        return None

    @abstractmethod
    def prefetch(self, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
        """Ask the same with each of these arguments; `execute` then has the answers."""

    @abstractmethod
    def ask_together(self, statements: Sequence[str], parameters: Mapping[str, Any]) -> None:
        """Ask these, each of which takes some of the parameters, or none; as `prefetch`."""

    @abstractmethod
    def ask_before_search(self, statements: Sequence[str], parameters: Mapping[str, Any]) -> None:
        """As `ask_together`; what is asked next is made for a search."""


def build_of(connection: Connection) -> str | None:
    """See Prefetching.build. Empty where there is one build only."""
    return connection.build if isinstance(connection, Prefetching) else ""


def prefetch(connection: Connection, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
    """Say what will be asked soon. Changes nothing but the time it takes."""
    if arguments and isinstance(connection, Prefetching):
        connection.prefetch(sql, arguments)


def ask_together(
    connection: Connection, statements: Sequence[str], parameters: Mapping[str, Any]
) -> None:
    """Say which fixed statements will be asked with these named parameters. As `prefetch`."""
    if isinstance(connection, Prefetching):
        connection.ask_together(statements, parameters)


def ask_before_search(
    connection: Connection, statements: Sequence[str], parameters: Mapping[str, Any]
) -> None:
    """As `ask_together`, where a search begins."""
    if isinstance(connection, Prefetching):
        connection.ask_before_search(statements, parameters)
