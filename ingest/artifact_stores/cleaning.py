"""Clears away what uploads left that nobody goes on with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ingest.artifact_stores.base import ArtifactStore
from ingest.logs import SERVER_LOG
from tracker.events.errors import TrackerError

ABANDONED_AFTER_S: Final = 24 * 3600.0
EVERY_S: Final = 3600.0


@asynccontextmanager
async def cleaning(store: ArtifactStore) -> AsyncIterator[None]:
    """Cleans at the start of the block and every hour."""

    async def run() -> None:
        while True:
            await clean_once(store)
            await asyncio.sleep(EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(), name="clean-uploads")
        try:
            yield
        finally:
            task.cancel()


async def clean_once(store: ArtifactStore) -> None:
    """A store that does not answer is cleaned the next time."""
    before_us = time.time_ns() // 1000 - round(ABANDONED_AFTER_S * 1e6)
    try:
        count = await store.clean(before_us=before_us)
    except TrackerError as error:
        SERVER_LOG.warning("uploads were not cleaned", extra={"fields": {"reason": str(error)}})
        return
    if count:
        SERVER_LOG.info("abandoned uploads cleaned", extra={"fields": {"count": count}})
