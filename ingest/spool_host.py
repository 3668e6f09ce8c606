"""The server as the shipper of its own machine: local runs need no helper process.

Only the server that is published as this user's local one does it, so that two servers on
one machine do not take turns with the same runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ingest.logs import SERVER_LOG
from ingest.settings import Settings
from tracker.shipper.local import shipping_local_spool
from tracker.spool.folder import SpoolRoot

STOP_S: Final = 1.5


@asynccontextmanager
async def hosting_spool(settings: Settings, *, port: int) -> AsyncIterator[None]:
    """Deliver what lies in the local spool for the length of the block.

    A delivery that is under way at the end has a moment to finish; what is cut off then is
    delivered by whoever comes next.
    """
    shipping = shipping_local_spool(
        SpoolRoot(settings.spool_folder), uri=loopback_url(settings, port), api_key=settings.api_key
    )
    try:
        await shipping.__aenter__()
    except OSError as error:
        # A spool that cannot be read is no reason not to serve.
        fields = {"spool": str(settings.spool_folder), "reason": str(error)}
        SERVER_LOG.warning("the local spool is not delivered", extra={"fields": fields})
        yield
        return
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(STOP_S):
                await shipping.__aexit__(None, None, None)
        except TimeoutError:
            SERVER_LOG.info("a delivery was cut off by the stop")


def loopback_url(settings: Settings, port: int) -> str:
    """Where this process reaches itself, also when it listens on every address."""
    host = settings.host.strip("[]")
    if host in ("", "0.0.0.0"):
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
