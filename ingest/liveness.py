"""Leases: who reports. Kept in memory; no part of the log.

A writer's lease lasts `ttl_s` from its last append or its shipper's last word. A server
that is alone saves its leases now and then, and after a start every saved one gets one more
term, so that a restart makes nobody look lost. Servers of one database exchange theirs every
second, so that each knows whoever reported to any of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from ingest.errors import StoreUnavailable
from ingest.event_stores.leases import LeaseRow
from ingest.logs import SERVER_LOG

EXCHANGE_S: Final = 1.0


class LeaseStore(Protocol):
    def saved_leases(self) -> Sequence[LeaseRow]: ...

    def save_leases(self, leases: Sequence[LeaseRow]) -> None: ...


class SharedLeases(Protocol):
    async def exchange_leases(
        self, renewed: Sequence[LeaseRow], released: Sequence[str], *, now_us: int, ttl_us: int
    ) -> Sequence[LeaseRow]:
        """Tell what changed here; return every lease there is. Raises StoreUnavailable."""
        ...


class NotSaved:
    """The store of leases that are exchanged instead."""

    def saved_leases(self) -> Sequence[LeaseRow]:
        return ()

    def save_leases(self, leases: Sequence[LeaseRow]) -> None:
        """The others know them."""


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
        # What the other servers do not know yet.
        self._renewed: set[str] = set()
        self._released: set[str] = set()

    def renew(self, writer_id: str, run_id: str) -> int:
        """Give the writer a new term; return when it ends."""
        expires_us = self._now_us() + self._ttl_us
        self._leases[writer_id] = (run_id, expires_us)
        self._is_changed = True
        self._renewed.add(writer_id)
        self._released.discard(writer_id)
        return expires_us

    def release(self, writer_id: str) -> None:
        if self._leases.pop(writer_id, None) is not None:
            self._is_changed = True
        self._renewed.discard(writer_id)
        self._released.add(writer_id)

    def live_run_ids(self) -> frozenset[str]:
        now = self._now_us()
        return frozenset(run_id for run_id, expires in self._leases.values() if expires > now)

    def held(self) -> Sequence[LeaseRow]:
        now = self._now_us()
        return [
            LeaseRow(writer_id, run_id, expires)
            for writer_id, (run_id, expires) in self._leases.items()
            if expires > now
        ]

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
        self._renewed.clear()
        self._released.clear()
        if self._is_changed or lapsed:
            self._is_changed = False
            self._store.save_leases(
                [LeaseRow(writer, *lease) for writer, lease in self._leases.items()]
            )

    async def exchange(self, others: SharedLeases) -> None:
        """Tell the other servers what changed here, and learn of theirs.

        Raises StoreUnavailable; what was to be told is then told the next time.
        """
        renewed, self._renewed = self._renewed, set()
        released, self._released = self._released, set()
        rows = [LeaseRow(writer, *self._leases[writer]) for writer in sorted(renewed)]
        try:
            everyones = await others.exchange_leases(
                rows, sorted(released), now_us=self._now_us(), ttl_us=self._ttl_us
            )
        except BaseException:
            self._renewed |= renewed - self._released
            self._released |= released - self._renewed
            raise
        leases = {row.writer_id: (row.run_id, row.expires_us) for row in everyones}
        # What was said here in the meantime is newer.
        leases |= {writer: self._leases[writer] for writer in self._renewed}
        for writer in self._released:
            leases.pop(writer, None)
        self._leases = leases


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


@asynccontextmanager
async def exchanging(leases: LeaseBook, others: SharedLeases) -> AsyncIterator[None]:
    """Exchanges the leases with the other servers every second, and at both ends."""

    async def exchange() -> None:
        try:
            await leases.exchange(others)
        except StoreUnavailable:
            return  # /ready says so; until the database is back, what is known here counts
        except Exception:  # noqa: BLE001  # logged; a task that fails would end the whole server
            SERVER_LOG.exception("the leases cannot be exchanged")

    async def run() -> None:
        while True:
            await asyncio.sleep(EXCHANGE_S)
            await exchange()

    await exchange()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(), name="exchange-leases")
        try:
            yield
        finally:
            task.cancel()
            await exchange()
