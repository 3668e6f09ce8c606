"""The tables of one build, as the projection that folds into them sees them.

A projection decides what to write; where that is (a SQLite file, a schema in PostgreSQL),
in which thread, and how a checkpoint moves together with rows is said here once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from projections.connection import Connection, WritableConnection

T = TypeVar("T")


class Write(Protocol):
    """The transaction that is open."""

    async def run(self, work: Callable[[WritableConnection], T]) -> T: ...


class FoldTables(Protocol):
    """Used by one projection, in one thread; work on the connection may be done in another.

    What the database itself has against a row is raised as it is; all other trouble with it
    is raised as ProjectionStoreFailed.
    """

    @property
    def label(self) -> str:
        """Where the tables are, for people."""
        ...

    @property
    def position(self) -> int:
        """The checkpoint: of the last `moving` that ended well, at first as it was opened."""
        ...

    async def look(self, work: Callable[[Connection], T]) -> T:
        """Read, outside of any transaction of `moving`."""
        ...

    def moving(self, to: int) -> AbstractAsyncContextManager[Write]:
        """A transaction that moves the checkpoint, from where it is known to be, to `to`.

        Commits at the end of the block; when the block raises, nothing was written. Raises
        CheckpointMoved when the checkpoint is somewhere else by now.
        """
        ...

    async def put(self, work: Callable[[WritableConnection], T]) -> T:
        """Write what is no part of the fold, in a transaction of its own."""
        ...

    async def hashes(self, *, without: frozenset[str] = frozenset()) -> Mapping[str, str]:
        """A SHA-256 in hex per table, over its rows in order of their primary keys."""
        ...

    async def aclose(self) -> None: ...
