"""Where builds of projections are: which of them serve, how new ones come and old ones go.

`projections.builds` keeps them in files beside a SQLite store, `projections.postgres` in
schemas of one database. The runner and the rebuild know this interface only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from projections.build_progress import BuildProgress
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.projection import Projection


class Build(Protocol):
    """One build of one version of a projection."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def label(self) -> str:
        """Where it is, for people."""
        ...


class BuildStore(Protocol):
    """Nobody but who may fold changes anything here. Raises ProjectionStoreFailed."""

    async def current(self, name: str) -> Build | None:
        """The serving build of this projection, if there is one."""
        ...

    async def begin(self, kind: ProjectionKind, log: EventLogReader) -> tuple[Build, Projection]:
        """A new build, empty. It serves once it is switched to."""
        ...

    async def open(self, kind: ProjectionKind, build: Build, log: EventLogReader) -> Projection: ...

    async def switch(self, build: Build) -> None:
        """From now on this build serves. Atomic and durable."""
        ...

    async def remove(self, build: Build) -> None:
        """Remove a build that never served."""
        ...

    async def retire(self, build: Build) -> None:
        """A build was replaced while nobody reads it: remove it."""
        ...

    async def remove_leftovers(self) -> None:
        """Remove what crashed builds left."""
        ...

    async def asked(self) -> Sequence[str]:
        """The projections that somebody asked to be built anew, by other ways than the runner."""
        ...

    async def tell(self, progress: BuildProgress) -> None:
        """How far a rebuild is, for whoever asked for it there."""
        ...


class Leadership(Protocol):
    """Who may fold: of several servers over one store, one."""

    async def acquire(self) -> bool:
        """Whether this process leads, from now on or still. Does not wait for it."""
        ...

    async def holds(self) -> bool:
        """Whether it leads still, as far as is known."""
        ...

    async def release(self) -> None:
        """Let somebody else lead."""
        ...


class Alone:
    """Leadership where nobody else is, as the owner of a file is."""

    async def acquire(self) -> bool:
        return True

    async def holds(self) -> bool:
        return True

    async def release(self) -> None:
        return
