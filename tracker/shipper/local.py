"""The shipper inside a server: picks up this machine's runs that name no destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tracker.shipper.bell import listening
from tracker.shipper.shipper import Shipper, is_local
from tracker.spool.folder import SpoolRoot


@asynccontextmanager
async def shipping_local_spool(
    root: SpoolRoot, *, uri: str, api_key: str | None
) -> AsyncIterator[Shipper]:
    """Ship local writers of `root` to the server's own loopback address while inside."""
    root.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    shipper = Shipper(root.path, accepts=is_local, uri_of=lambda _: uri, key_of=lambda _: api_key)
    # A helper of the same spool may own the doorbell; both hear every second ring then,
    # and the polling does the rest.
    with listening(root.doorbell, shipper.wake):
        task = asyncio.create_task(shipper.run())
        try:
            yield shipper
        finally:
            shipper.stop()
            await task
