"""The shipper: finds the writers of a spool and delivers each, until it is told to stop.

    Shipper.run ─┬─ discover: look for writer folders, start a Delivery for each
                 ├─ renew: every few seconds one lease report per destination
                 └─ Delivery × n, at most DELIVERIES_MAX at a time sending to one destination

Who hosts it decides which writers it takes (`accepts`), where they go (`uri_of`) and when
to end: the helper process, a thread of the training, a server with a spool of its own, and
`tracker sync`, which ends by itself when everything found has been tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tracker.events.errors import TrackerError
from tracker.shipper.delivery import Delivery
from tracker.shipper.state import DeliveryCounts, DeliveryState, DeliveryStatus
from tracker.shipper.transmit import KeyOf, Lease, Transmitter, no_key
from tracker.spool.folder import WriterFolder, writer_folders_at
from tracker.spool.meta import MODE_ONLINE, URI_LOCAL, MetaUnreadable, WriterMeta, load_meta

DISCOVER_INTERVAL_S: Final = 0.2
# In a spool of thousands of writers, looking for new ones may take this share of the time.
DISCOVER_SHARE_MAX: Final = 0.02
LEASE_INTERVAL_S: Final = 10.0
# A server that hangs must not keep the next round from the others.
LEASE_TIMEOUT_S: Final = 5.0
DELIVERIES_MAX: Final = 8
# What the server refused for good is looked at again after this long, not ten times a second.
REFUSED_REST_S: Final = 60.0

Accepts = Callable[[WriterMeta], bool]
UriOf = Callable[[WriterMeta], str]


def is_remote(meta: WriterMeta) -> bool:
    """Online writers that go to a server by address: the helper's and the thread's."""
    return meta.mode == MODE_ONLINE and meta.uri.startswith(("http://", "https://"))


def is_local(meta: WriterMeta) -> bool:
    """Online writers without a destination: any server on this machine picks them up."""
    return meta.mode == MODE_ONLINE and meta.uri == URI_LOCAL


@dataclass(slots=True)
class _Running:
    delivery: Delivery
    task: asyncio.Task[None]
    ended_at: float = 0.0


class Shipper:
    """Delivers the writers under `path`. One instance per event loop; `run` ends by `stop`."""

    def __init__(
        self,
        path: Path,
        *,
        accepts: Accepts = is_remote,
        uri_of: UriOf = lambda meta: meta.uri,
        key_of: KeyOf = no_key,
        is_one_shot: bool = False,
        ends_lost: bool = False,
    ) -> None:
        self._path = path
        self._accepts = accepts
        self._uri_of = uri_of
        self._key_of = key_of
        self._is_one_shot = is_one_shot
        self._ends_lost = ends_lost
        self._running: dict[Path, _Running] = {}
        self._transmitters: dict[str, Transmitter] = {}
        self._rung = asyncio.Event()
        self._stopped = asyncio.Event()
        self._slots: dict[tuple[str, str], asyncio.Semaphore] = {}
        self._not_ours: set[Path] = set()
        self._unreadable: dict[Path, str] = {}
        self._ended = DeliveryCounts()
        self._seen: set[Path] = set()

    def wake(self) -> None:
        """Somebody rang: look at every writer now. Call in the loop's thread."""
        # Each ring has an event of its own: one that stayed set would let pauses return
        # without ever giving way to other tasks.
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    def stop(self) -> None:
        """End `run` soon; what is being sent is given up and sent again another time."""
        self._stopped.set()
        self.wake()

    @property
    def states(self) -> Sequence[DeliveryState]:
        return [running.delivery.state for running in self._running.values()]

    @property
    def unreadable(self) -> Sequence[str]:
        """Folders that look like writers but cannot be read, as sentences."""
        return list(self._unreadable.values())

    @property
    def seen(self) -> Set[Path]:
        """The folders of the writers that were delivered, or tried."""
        return self._seen

    @property
    def writers_seen(self) -> int:
        """How many writers were delivered, or tried."""
        return len(self._seen)

    @property
    def counts(self) -> DeliveryCounts:
        """What all writers together came to."""
        total = DeliveryCounts()
        total.add(self._ended)
        for running in self._running.values():
            if not running.ended_at:
                total.add(running.delivery.state.counts)
        return total

    @property
    def live_count(self) -> int:
        return sum(state.is_live for state in self.states)

    @property
    def pending_count(self) -> int:
        """Writers with something undelivered that could still be delivered."""
        return sum(
            state.status is DeliveryStatus.PENDING and not state.is_caught_up
            for state in self.states
        )

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=2 * DELIVERIES_MAX)
        async with aiohttp.ClientSession(connector=connector) as session:
            try:
                if self._is_one_shot:
                    await self._run_once(session)
                else:
                    await self._run_on(session)
            finally:
                await self._cancel_all()

    async def _run_once(self, session: aiohttp.ClientSession) -> None:
        self._discover(session)
        tasks = [running.task for running in self._running.values()]
        stopped = asyncio.create_task(self._until_stopped())
        unfinished = set(tasks)
        while unfinished and not stopped.done():
            await asyncio.wait([*unfinished, stopped], return_when=asyncio.FIRST_COMPLETED)
            unfinished = {task for task in unfinished if not task.done()}
        stopped.cancel()
        for task in tasks:
            if task.done():
                task.result()

    async def _until_stopped(self) -> None:
        await self._stopped.wait()

    async def _run_on(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        leases_due = loop.time()
        renewing: asyncio.Task[None] | None = None
        discovery_due = 0.0
        while not self._stopped.is_set():
            if loop.time() >= discovery_due:
                began = loop.time()
                self._discover(session)
                took_s = loop.time() - began
                discovery_due = began + max(DISCOVER_INTERVAL_S, took_s / DISCOVER_SHARE_MAX)
            self._retire(loop.time())
            if loop.time() >= leases_due and (renewing is None or renewing.done()):
                # A writer's first lease comes early, so that its run shows as live at once.
                leases_due = loop.time() + (LEASE_INTERVAL_S if self._has_leases() else 0.5)
                renewing = asyncio.create_task(self._renew())
            await self._pause(DISCOVER_INTERVAL_S)
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    def _discover(self, session: aiohttp.ClientSession) -> None:
        folders = writer_folders_at(self._path)
        self._not_ours.intersection_update(folder.path for folder in folders)
        for folder in folders:
            if folder.path in self._running or folder.path in self._not_ours:
                continue
            try:
                meta = load_meta(folder.meta)
            except MetaUnreadable as error:
                if folder.meta.exists():
                    self._unreadable[folder.path] = str(error)
                continue
            self._unreadable.pop(folder.path, None)
            if self._accepts(meta):
                self._start(session, folder, meta)
            else:
                self._not_ours.add(folder.path)  # a meta never changes

    def _start(
        self, session: aiohttp.ClientSession, folder: WriterFolder, meta: WriterMeta
    ) -> None:
        uri = self._uri_of(meta)
        transmitter = self._transmitters.get(uri)
        if transmitter is None:
            transmitter = Transmitter(session, uri, key_of=self._key_of)
            self._transmitters[uri] = transmitter
        # For each destination its own, as one that hangs must not starve the others; and for
        # files, as metrics must not wait for gigabytes.
        slots = self._slots.setdefault((uri, meta.kind), asyncio.Semaphore(DELIVERIES_MAX))
        delivery = Delivery(
            folder,
            meta,
            transmitter,
            bell=lambda: self._rung,
            slots=slots,
            is_one_shot=self._is_one_shot,
            ends_lost=self._ends_lost,
        )
        self._seen.add(folder.path)
        self._running[folder.path] = _Running(delivery, asyncio.create_task(delivery.run()))

    def _retire(self, now: float) -> None:
        """Forget deliveries that have ended; raise what one of them did not expect."""
        for path, running in list(self._running.items()):
            if not running.task.done():
                continue
            running.task.result()
            if not running.ended_at:
                running.ended_at = now
                self._ended.add(running.delivery.state.counts)
            is_over = running.delivery.state.status is DeliveryStatus.DELIVERED
            # A copy stays where it is; its folder must not be delivered again and again.
            if (is_over and not path.exists()) or now - running.ended_at > REFUSED_REST_S:
                del self._running[path]

    def _has_leases(self) -> bool:
        return any(running.delivery.lease() for running in self._running.values())

    async def _renew(self) -> None:
        """One report per destination, side by side; a server that is away hears the next one."""
        reports: dict[tuple[str, str], list[Lease]] = {}
        for running in self._running.values():
            delivery = running.delivery
            lease = delivery.lease()
            if lease is not None:
                reports.setdefault((delivery.state.uri, delivery.workspace), []).append(lease)
        await asyncio.gather(*(self._report(*to, leases) for to, leases in reports.items()))

    async def _report(self, uri: str, workspace: str, leases: Sequence[Lease]) -> None:
        # What is wrong is said by the deliveries to the same server.
        with suppress(TrackerError, TimeoutError):
            async with asyncio.timeout(LEASE_TIMEOUT_S):
                await self._transmitters[uri].report(leases, workspace=workspace)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return

    async def _cancel_all(self) -> None:
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
