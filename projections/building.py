"""One rebuild under way: a new build, fed from the log from its beginning."""

from __future__ import annotations

from projections.build_progress import BuildProgress
from projections.build_store import Build, BuildStore
from projections.log import EventLogReader
from projections.projection import Projection
from projections.rounds import ROUND_BATCHES_MAX, ROUND_BYTES_MAX, decoded, groups_of


class Building:
    """Fed by `round` until it has caught up; the caller switches to it, or abandons it."""

    def __init__(
        self,
        build: Build,
        projection: Projection,
        reader: EventLogReader,
        progress: BuildProgress,
    ) -> None:
        self.build = build
        self.projection = projection
        self.progress = progress
        self.position = 0
        self._reader = reader

    async def round(self) -> None:
        """Fold one round. What stops it is recorded in `progress`, and ends this rebuild."""
        try:
            self.progress.head = (await self._reader.head()).next_position - 1
            batches = await self._reader.read(
                after=self.position, batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX
            )
            for group in groups_of(map(decoded, batches)):
                await self.projection.apply(group)
                self.position = self.progress.position = await self.projection.position()
        except Exception as error:  # noqa: BLE001 - kept and shown
            self.progress.error = f"{type(error).__name__}: {error}"

    async def abandon(self, builds: BuildStore) -> None:
        """Close and remove the unfinished build."""
        await self.projection.aclose()
        await builds.remove(self.build)
