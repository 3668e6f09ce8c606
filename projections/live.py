"""A serving build and the projection that keeps it current; what happens to a bad batch."""

from __future__ import annotations

from collections.abc import Sequence

from projections.build_store import Build, BuildStore
from projections.dead_letters import DeadLetters
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.projection import (
    CheckpointMoved,
    DecodedBatch,
    Projection,
    ProjectionStoreFailed,
)
from projections.rounds import nothing_of


class LiveProjection:
    """`projection` is None for a build of an older version: it serves until it is replaced."""

    def __init__(
        self,
        kind: ProjectionKind,
        builds: BuildStore,
        build: Build,
        log: EventLogReader,
        projection: Projection | None,
        position: int,
    ) -> None:
        self._log = log
        self._builds = builds
        self.kind = kind
        self.build = build
        self.projection = projection
        self.position = position

    async def apply(self, group: Sequence[DecodedBatch], letters: DeadLetters) -> None:
        """Fold a group; a batch that cannot be folded becomes a dead letter.

        Raises ProjectionStoreFailed, CheckpointMoved and OSError: try again with what is
        beyond `position` then.
        """
        assert self.projection is not None
        try:
            await self.projection.apply(group)
        except CheckpointMoved:
            opened = await self._builds.open(self.kind, self.build, self._log)
            await self.projection.aclose()
            self.projection = opened
            self.position = await opened.position()
            raise
        except (ProjectionStoreFailed, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - a fold's bug costs one batch, and is written down
            if len(group) > 1:
                for item in group:
                    await self.apply([item], letters)
            else:
                batch, _ = group[0]
                letters.add(batch, f"{self.kind.name}: {type(error).__name__}: {error}")
                await letters.store()
                await self.projection.apply([nothing_of(batch)])
        self.position = await self.projection.position()

    async def aclose(self) -> None:
        if self.projection is not None:
            await self.projection.aclose()
