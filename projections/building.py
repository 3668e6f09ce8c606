"""One rebuild under way: a new file, fed from the log from its beginning."""

from __future__ import annotations

from dataclasses import dataclass

from projections.builds import Build, Builds
from projections.kinds import ProjectionKind
from projections.log import EventLogReader
from projections.rounds import ROUND_BATCHES_MAX, ROUND_BYTES_MAX, decoded, groups_of


@dataclass(slots=True)
class BuildProgress:
    """How far a rebuild is. `head` is where the log ended when it was last looked at."""

    name: str
    position: int = 0
    head: int = 0
    is_done: bool = False
    error: str | None = None

    @property
    def is_over(self) -> bool:
        return self.is_done or self.error is not None


class Building:
    """Fed by `round` until it has caught up; the caller switches to it, or abandons it."""

    def __init__(
        self, kind: ProjectionKind, build: Build, reader: EventLogReader, progress: BuildProgress
    ) -> None:
        self.build = build
        self.projection = kind.open(build.path, reader)
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

    async def abandon(self, builds: Builds) -> None:
        """Close and remove the unfinished file."""
        await self.projection.aclose()
        builds.remove(self.build.path)
