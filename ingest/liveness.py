"""Leases: who reports. Kept in memory, saved now and then; no part of the log.

A writer's lease lasts `ttl_s` from its last append or its shipper's last word. After a
start every saved lease gets one more term, so that a restart makes nobody look lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from ingest.event_stores.leases import LeaseRow


class LeaseStore(Protocol):
    def saved_leases(self) -> Sequence[LeaseRow]: ...

    def save_leases(self, leases: Sequence[LeaseRow]) -> None: ...


def _now_us() -> int:
    return time.time_ns() // 1000


class LeaseBook:
    """The leases of one server. See state.Leases for what handlers may ask."""

    def __init__(
        self, store: LeaseStore, *, ttl_s: float, now_us: Callable[[], int] = _now_us
    ) -> None:
        self.ttl_s = ttl_s
        self._ttl_us = round(ttl_s * 1e6)
        self._store = store
        self._now_us = now_us
        grace_us = now_us() + self._ttl_us
        self._leases = {row.writer_id: (row.run_id, grace_us) for row in store.saved_leases()}
        self._is_changed = False

    def renew(self, writer_id: str, run_id: str) -> int:
        """Give the writer a new term; return when it ends."""
        expires_us = self._now_us() + self._ttl_us
        self._leases[writer_id] = (run_id, expires_us)
        self._is_changed = True
        return expires_us

    def release(self, writer_id: str) -> None:
        if self._leases.pop(writer_id, None) is not None:
            self._is_changed = True

    def live_run_ids(self) -> frozenset[str]:
        now = self._now_us()
        return frozenset(run_id for run_id, expires in self._leases.values() if expires > now)

    def expires_us(self, writer_id: str) -> int | None:
        """When the writer's lease ends; None without one."""
        lease = self._leases.get(writer_id)
        return lease[1] if lease and lease[1] > self._now_us() else None

    def save(self) -> None:
        """Forget what has run out and save the rest, if anything changed."""
        now = self._now_us()
        lapsed = [writer for writer, (_, expires) in self._leases.items() if expires <= now]
        for writer in lapsed:
            del self._leases[writer]
        if self._is_changed or lapsed:
            self._is_changed = False
            self._store.save_leases(
                [LeaseRow(writer, *lease) for writer, lease in self._leases.items()]
            )


@asynccontextmanager
async def saving(leases: LeaseBook) -> AsyncIterator[None]:
    """Saves the leases a few times per term, and at the end."""

    async def run() -> None:
        while True:
            await asyncio.sleep(leases.ttl_s / 4)
            leases.save()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(), name="save-leases")
        try:
            yield
        finally:
            task.cancel()
            leases.save()
