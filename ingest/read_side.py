"""The read side of a server: projections kept current, and the stores that answer from them.

`open_read_side` starts the projection runner and opens a read store on every serving build.
When a rebuild is switched to, new requests get a store on the new file; the old store is
closed, and its file removed, when the requests that began before have long ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast, runtime_checkable

from ingest.event_stores.base import EventStore
from ingest.verifying import Verification, verify_files
from projections import build_store
from projections.build_progress import BuildProgress
from projections.builds import Build, Builds
from projections.file_builds import FileBuilds
from projections.kinds import KINDS
from projections.read_models import RunsReadStore, SeriesReadStore
from projections.runner import ProjectionRunner
from projections.runs_queries import RunsQueries
from projections.series_queries import SeriesQueries

RETIRE_S: Final = 300.0
"""Requests that began before a switch are over by then, long exact histories included."""


@dataclass(frozen=True, slots=True)
class ProjectionState:
    name: str
    version: int
    position: int
    lag: int


class _Closable(Protocol):
    async def aclose(self) -> None: ...


@runtime_checkable
class AnyReadSide(Protocol):
    """See state.ReadStores; also what /ready, rebuild and verify need, whatever the store is."""

    verification: Verification | None

    @property
    def runs(self) -> RunsReadStore: ...

    @property
    def series(self) -> SeriesReadStore: ...

    async def wait_for(self, position: int, *, timeout_s: float) -> bool: ...

    async def projections(self) -> Sequence[ProjectionState]:
        """How far every serving projection is, and how far behind the log."""
        ...

    async def ask_rebuild(self, name: str) -> None:
        """Have a projection built anew beside the live one; does not wait for it."""
        ...

    async def rebuild_states(self) -> Sequence[BuildProgress]:
        """How far each rebuild that was asked for is, or how it ended."""
        ...

    def verify(self) -> Verification:
        """Begin to verify the store, unless that is under way; returns at once."""
        ...


class ReadSide:
    """See AnyReadSide. The projections are files beside the store's."""

    def __init__(self, store: EventStore, store_path: Path, *, retire_s: float) -> None:
        self._store = store
        self._store_path = store_path
        self._builds = builds = Builds.beside(store_path)
        self._retire_s = retire_s
        self._loop = asyncio.get_running_loop()
        self._serving: dict[str, tuple[Build, _Closable]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self.verification: Verification | None = None
        self.runner = ProjectionRunner(
            reader=store,
            wait_for_log=lambda position, timeout_s: store.wait_for(position, timeout_s=timeout_s),
            builds=FileBuilds(builds),
            kinds=KINDS,
            on_switch=self._switched_in_thread,
        )

    @property
    def runs(self) -> RunsReadStore:
        return cast(RunsQueries, self._serving["runs"][1])

    @property
    def series(self) -> SeriesReadStore:
        return cast(SeriesQueries, self._serving["series"][1])

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        return await self.runner.wait_for(position, timeout_s=timeout_s)

    async def projections(self) -> Sequence[ProjectionState]:
        """How far every serving projection is, and how far behind the log."""
        head = (await self._store.head()).next_position - 1
        positions = self.runner.positions()
        return [
            ProjectionState(name, build.version, positions[name], max(0, head - positions[name]))
            for name, (build, _) in self._serving.items()
        ]

    def rebuild(self, name: str) -> None:
        """Build a projection anew beside the live one; returns at once."""
        self.runner.rebuild(name)

    def rebuilds(self) -> Sequence[BuildProgress]:
        return self.runner.rebuilds()

    async def ask_rebuild(self, name: str) -> None:
        self.rebuild(name)

    async def rebuild_states(self) -> Sequence[BuildProgress]:
        return self.rebuilds()

    def verify(self) -> Verification:
        """Begin to verify the store, unless that is under way; returns at once."""
        if self.verification is None or not self.verification.is_running:
            self.verification = Verification(
                lambda on_progress: verify_files(
                    self._store, self._store_path, self._builds, on_progress
                )
            )
        return self.verification

    # -- opening, switching, closing --------------------------------------------------------

    async def start(self) -> None:
        for build in await self.runner.start():
            assert isinstance(build, Build)
            self._serving[build.name] = (build, self._open(build))

    async def aclose(self) -> None:
        if self.verification is not None:
            await self.verification.aclose()
        await self.runner.stop()
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for _, store in self._serving.values():
            await store.aclose()

    def _open(self, build: Build) -> _Closable:
        if build.name == "runs":
            return RunsQueries(build.path)
        return SeriesQueries(build.path, self._store)

    async def _switched_in_thread(self, build: build_store.Build) -> None:
        assert isinstance(build, Build)
        future = asyncio.run_coroutine_threadsafe(self._switched(build), self._loop)
        await asyncio.wrap_future(future)

    async def _switched(self, build: Build) -> None:
        old_build, old_store = self._serving[build.name]
        self._serving[build.name] = (build, self._open(build))
        task = self._loop.create_task(self._retire(old_build, old_store))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, build: Build, store: _Closable) -> None:
        try:
            await asyncio.sleep(self._retire_s)
        finally:
            await store.aclose()
            self._builds.remove(build.path)


@asynccontextmanager
async def open_read_side(
    event_store: EventStore, store_path: Path, *, retire_s: float = RETIRE_S
) -> AsyncIterator[ReadSide]:
    """Open the projections beside `store_path`, keep them current, close them at the end.

    Raises UnreadablePointer or ProjectionStoreFailed when their folder cannot be used.
    """
    side = ReadSide(event_store, store_path, retire_s=retire_s)
    try:
        await side.start()
        yield side
    finally:
        await side.aclose()
