"""One rebuild under way: a new build, fed from the log from its beginning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from projections.build_progress import BuildProgress
from projections.build_store import Build, BuildStore
from projections.log import EventLogReader, StoredBatch
from projections.projection import CheckpointMoved, Projection, ProjectionStoreFailed
from projections.rounds import ROUND_BATCHES_MAX, ROUND_BYTES_MAX, decoded, groups_of

TROUBLES_MAX: Final = 10
"""A store that restarts is waited out; one that is full is not: giving up makes room."""


class Building:
    """Fed by `round` until it has caught up; the caller switches to it, or abandons it."""

    def __init__(
        self,
        build: Build,
        projection: Projection,
        reader: EventLogReader,
        progress: BuildProgress,
        *,
        reopen: Callable[[], Awaitable[Projection]],
    ) -> None:
        self.build = build
        self.projection = projection
        self.progress = progress
        self.position = 0
        self._reader = reader
        self._reopen = reopen
        self._troubles = 0  # one after the other
        self._is_unknown = False  # how far the build is: a commit may have gone either way

    async def round(self) -> None:
        """Fold one round. What stops it is recorded in `progress`, and ends this rebuild.

        Raises what is wrong with the store or the log for the moment: call it again later.
        """
        try:
            if self._is_unknown:
                await self._open_again()
            batches = await self._read()
        except Exception as error:  # noqa: BLE001 - raised, or kept and shown
            self._wait_out(error)
            return
        try:
            for group in groups_of(map(decoded, batches)):
                await self.projection.apply(group)
                self.position = self.progress.position = await self.projection.position()
        except (ProjectionStoreFailed, CheckpointMoved, OSError) as error:
            self._is_unknown = True
            self._wait_out(error)
        except Exception as error:  # noqa: BLE001 - kept and shown
            self._give_up(error)
        else:
            self._troubles = 0

    async def abandon(self, builds: BuildStore) -> None:
        """Close and remove the unfinished build."""
        await self.projection.aclose()
        await builds.remove(self.build)

    async def _read(self) -> Sequence[StoredBatch]:
        self.progress.head = (await self._reader.head()).next_position - 1
        return await self._reader.read(
            after=self.position, batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX
        )

    async def _open_again(self) -> None:
        opened = await self._reopen()
        await self.projection.aclose()
        self.projection = opened
        self.position = self.progress.position = await opened.position()
        self._is_unknown = False

    def _wait_out(self, error: Exception) -> None:
        self._troubles += 1
        if self._troubles <= TROUBLES_MAX:
            raise error
        self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.progress.error = f"{type(error).__name__}: {error}"
