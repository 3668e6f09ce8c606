"""Archiving inside a server: one at a time, beside everything else that it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from aiohttp import web

from ingest.archive.archiving import (
    ArchiveReport,
    DetachableStore,
    archive_log,
    detach_archived,
)
from ingest.archive.log import open_archive
from ingest.archive.objects import absolute_location
from ingest.components import SETTINGS
from ingest.errors import ApiError
from ingest.event_stores.memory import MemoryEventStore
from ingest.state import EVENT_STORE
from tracker.events.errors import TrackerError


class NothingToArchive(ApiError):
    """A log in memory is gone with its process; nothing of it is archived."""

    status, code = 409, "nothing_to_archive"


class ArchiveJob:
    """Begun when it is made; `stage`, `report` and `error` tell how it goes."""

    def __init__(self, app: web.Application, *, detach: bool, keep: int) -> None:
        if isinstance(app[EVENT_STORE], MemoryEventStore):
            raise NothingToArchive("a log in memory cannot be archived; use a file or PostgreSQL")
        self.stage, self.done, self.total = "archiving", 0, 0
        self.report: ArchiveReport | None = None
        self.error: str | None = None
        self._task = asyncio.get_running_loop().create_task(self._run(app, detach, keep))

    @property
    def is_running(self) -> bool:
        return not self._task.done()

    async def aclose(self) -> None:
        """End it where it is; the next one goes on there."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, app: web.Application, detach: bool, keep: int) -> None:
        settings, store = app[SETTINGS], app[EVENT_STORE]
        location = absolute_location(settings.artifacts_uri)
        try:
            async with open_archive(location, workspace=settings.workspace) as archive:
                report = await archive_log(
                    store,
                    archive,
                    location=location,
                    keep=keep,
                    is_to_detach=detach,
                    on_progress=self._on_progress,
                )
                if detach:
                    await detach_archived(
                        cast(DetachableStore, store),
                        archive,
                        report,
                        keep=keep,
                        on_progress=self._on_progress,
                    )
                self.report = report
        except asyncio.CancelledError:
            self.error = "stopped before it was finished"
            raise
        except (TrackerError, OSError) as error:
            self.error = f"{type(error).__name__}: {error}"

    def _on_progress(self, stage: str, done: int, total: int) -> None:
        self.stage, self.done, self.total = stage, done, total


class Archiving:
    """The job under way, or the last one."""

    def __init__(self) -> None:
        self.job: ArchiveJob | None = None

    def begin(self, app: web.Application, *, detach: bool, keep: int) -> ArchiveJob:
        """Begin, unless one is under way: then that one is answered."""
        if self.job is None or not self.job.is_running:
            self.job = ArchiveJob(app, detach=detach, keep=keep)
        return self.job


ARCHIVING: web.AppKey[Archiving] = web.AppKey("archiving", Archiving)


async def archiving(app: web.Application) -> AsyncIterator[None]:
    """A cleanup context: what is under way ends with the server."""
    app[ARCHIVING] = state = Archiving()
    yield
    if state.job is not None:
        await state.job.aclose()
