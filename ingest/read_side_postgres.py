"""The read side of a server over PostgreSQL: read models in the same database, shared by all.

Every server answers from the same tables; one of them, whoever holds the lease, folds. So a
reader on any server sees what was acknowledged by any other once it was folded, and waits for
it by its position.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ingest.event_stores.postgres import PostgresEventStore
from ingest.read_side import ProjectionState
from ingest.verifying import Verification
from projections.build_progress import BuildProgress
from projections.build_store import Build
from projections.kinds import KINDS
from projections.postgres.builds import RETIRE_S, PostgresBuilds
from projections.postgres.connection import PostgresPlace
from projections.postgres.leadership import PostgresLeadership
from projections.postgres.readers import PostgresReaders, ReaderPool
from projections.postgres.sessions import Session
from projections.postgres.verify import verify_postgres
from projections.postgres.watch import PositionWatch
from projections.projection import ProjectionStoreFailed, StoreAway
from projections.read_models import RunsReadStore, SeriesReadStore
from projections.runner import ProjectionRunner
from projections.runs_queries import RunsQueries
from projections.series_queries import SeriesQueries
from projections.waiting import PositionWaiters

GATHER_S: Final = 0.02
"""Rest after a round: shorter than beside a file, as those who wait may be elsewhere."""
BUILT_WAIT_S: Final = 60.0
"""How long a start waits for builds that another server is making."""
_LOOK_S: Final = 0.1


class PostgresReadSide:
    """See read_side.AnyReadSide."""

    def __init__(
        self, store: PostgresEventStore, place: PostgresPlace, workspace: str, *, retire_s: float
    ) -> None:
        self._store, self._place, self._workspace = store, place, workspace
        waiters = PositionWaiters()
        self.leadership = PostgresLeadership(Session(place, name="postgres-lease"), workspace)
        self._folding = PostgresBuilds(
            place, workspace, token=lambda: self.leadership.token, retire_s=retire_s
        )
        self._builds = PostgresBuilds(place, workspace)
        self._pool = ReaderPool(place)
        self._watch = PositionWatch(self._builds, waiters, kinds=len(KINDS))
        self.runs: RunsReadStore = RunsQueries(PostgresReaders(self._pool, workspace, "runs"))
        self.series: SeriesReadStore = SeriesQueries(
            PostgresReaders(self._pool, workspace, "series"), store
        )
        self.verification: Verification | None = None
        self.runner = ProjectionRunner(
            reader=store,
            wait_for_log=lambda position, timeout_s: store.wait_for(position, timeout_s=timeout_s),
            builds=self._folding,
            kinds=KINDS,
            on_switch=_seen_by_all,
            leadership=self.leadership,
            waiters=waiters,
            gather_s=GATHER_S,
        )

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        return await self._watch.wait_for(position, timeout_s=timeout_s)

    async def projections(self) -> Sequence[ProjectionState]:
        head = (await self._store.head()).next_position - 1
        return [
            ProjectionState(name, version, position, max(0, head - position))
            for name, version, position in await self._builds.positions()
        ]

    async def ask_rebuild(self, name: str) -> None:
        await self._builds.ask_for(name)

    async def rebuild_states(self) -> Sequence[BuildProgress]:
        return await self._builds.progress()

    def verify(self) -> Verification:
        if self.verification is None or not self.verification.is_running:
            self.verification = Verification(
                lambda on_progress: verify_postgres(
                    self._store, self._place, self._workspace, KINDS, on_progress=on_progress
                )
            )
        return self.verification

    async def start(self) -> None:
        """Raises ProjectionStoreFailed when there are no builds and none can be made."""
        await self.runner.start()
        self._watch.start()
        ends = time.monotonic() + BUILT_WAIT_S
        while not await self._serves_all():
            if time.monotonic() > ends:
                reason = self.runner.last_error or "the server that folds has not made them"
                raise ProjectionStoreFailed(f"there are no read models yet: {reason}")
            await asyncio.sleep(_LOOK_S)

    async def _serves_all(self) -> bool:
        try:
            return len(await self._builds.positions()) == len(KINDS)
        except StoreAway:
            return False  # a start waits for its database

    async def aclose(self) -> None:
        if self.verification is not None:
            await self.verification.aclose()
        await self._watch.stop()
        await self.runner.stop()
        await self._folding.aclose()
        await self._builds.aclose()
        await self._pool.aclose()


async def _seen_by_all(build: Build) -> None:
    """Queries ask which build serves."""


@asynccontextmanager
async def open_postgres_read_side(
    store: PostgresEventStore, uri: str, *, workspace: str, retire_s: float = RETIRE_S
) -> AsyncIterator[PostgresReadSide]:
    """The read models of a workspace; keeps them current while this server leads."""
    place = PostgresPlace(uri, is_pooled=store.connections.is_pooled)
    side = PostgresReadSide(store, place, workspace, retire_s=retire_s)
    try:
        await side.start()
        yield side
    finally:
        await side.aclose()
