"""BuildStore on the files beside a SQLite store: see projections.builds."""

from __future__ import annotations

from collections.abc import Sequence

from projections import build_store
from projections.build_progress import BuildProgress
from projections.builds import Build, Builds
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.projection import Projection


class FileBuilds:
    """See build_store.BuildStore. Calls block: the thread is that of whoever owns the store."""

    def __init__(self, builds: Builds) -> None:
        self.builds = builds

    async def current(self, name: str) -> Build | None:
        return self.builds.current(name)

    async def begin(self, kind: ProjectionKind, log: EventLogReader) -> tuple[Build, Projection]:
        build = self.builds.new(kind.name, version=kind.version)
        return build, kind.open(build.path, log)

    async def open(
        self, kind: ProjectionKind, build: build_store.Build, log: EventLogReader
    ) -> Projection:
        return kind.open(_file(build).path, log)

    async def switch(self, build: build_store.Build) -> None:
        self.builds.switch(_file(build))

    async def remove(self, build: build_store.Build) -> None:
        self.builds.remove(_file(build).path)

    async def retire(self, build: build_store.Build) -> None:
        self.builds.remove(_file(build).path)

    async def remove_leftovers(self) -> None:
        self.builds.remove_leftovers()

    async def asked(self) -> Sequence[str]:
        return ()  # the runner is asked

    async def tell(self, progress: BuildProgress) -> None:
        return


def _file(build: build_store.Build) -> Build:
    assert isinstance(build, Build)
    return build
