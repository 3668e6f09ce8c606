"""Whether the artifact store answers, asked with a question that costs it nothing."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from ingest.blob_uploads import digest_of
from ingest.state import ARTIFACT_STORE
from tracker.events.errors import TrackerError

TIMEOUT_S: Final = 2.0
_NO_BLOB: Final = digest_of("0" * 64)


async def is_answering(app: web.Application) -> bool:
    """Whether it says, within two seconds, that it does not have a certain blob."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await app[ARTIFACT_STORE].stat(_NO_BLOB)
    except (TrackerError, TimeoutError):
        return False
    return True
