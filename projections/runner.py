"""The projection runner: one thread with a loop of its own that keeps the projections current.

Theory
------
The thread owns the only writing connection of every build. Where several servers share a
store one of them leads, and the others' runners wait for it to be gone. The thread reads the
log from the smallest checkpoint, decodes each batch once, and hands it to every live
projection; rows and checkpoint go into one transaction, so a crash at any moment is followed
by going on where the checkpoint says. Appends never wait for it: it rests after every round,
for longer when nobody waits for its position, and lag is allowed.

A batch that cannot be folded becomes a dead letter: it is written down, with the reason,
before the checkpoint passes it, and the rest goes on. Trouble with a projection's file (a
full disk) is no fault of a batch: it is tried again until it works.

A rebuild is a second build beside the live one, fed in turns with it by the same thread.
It stops at the first batch it cannot fold. When it has caught up with the live build, the
pointer is switched and whoever serves reads is told, before anything beyond is folded: so
who has seen a position reached never reads from a file that stands before it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from projections.build_progress import BuildProgress
from projections.build_store import Alone, Build, BuildStore, Leadership
from projections.building import Building
from projections.dead_letters import DeadLetters, carry_over
from projections.kinds import ProjectionKind
from projections.live import LiveProjection
from projections.log import EventLogReader, StoredBatch
from projections.opening import open_live
from projections.projection import DecodedBatch, Projection, ProjectionStoreFailed, StoreAway
from projections.rounds import (
    ROUND_BATCHES_MAX,
    ROUND_BYTES_MAX,
    decoded,
    groups_of,
    nothing_of,
)
from projections.waiting import PositionWaiters

logger = logging.getLogger(__name__)

POLL_S: Final = 0.25
"""New positions wake the thread; this long it waits at most, in case a wake-up is lost."""
GATHER_S: Final = 0.05
"""Rest after a round that nobody waits for: larger rounds cost less per event."""
YIELD_S: Final = 0.002
"""Rest after a round that somebody waits for: lets the appends' thread have its turn."""
RETRY_S: Final = 1.0
FOLLOW_S: Final = 0.5
"""How often a runner that does not lead looks whether it may."""

WaitForLog = Callable[[int, float], Awaitable[int]]
"""Waits for a position of the log, at most so many seconds; returns the last there is."""
OnSwitch = Callable[[Build], Awaitable[None]]
"""Called in the runner's thread: this build serves from now on."""


class ProjectionRunner:
    """Start it, ask it from any thread, stop it."""

    def __init__(
        self,
        *,
        reader: EventLogReader,
        wait_for_log: WaitForLog,
        builds: BuildStore,
        kinds: Sequence[ProjectionKind],
        on_switch: OnSwitch,
        leadership: Leadership | None = None,
        waiters: PositionWaiters | None = None,
        gather_s: float = GATHER_S,
    ) -> None:
        self._reader = reader
        self._wait_for_log = wait_for_log
        self._builds = builds
        self._kinds = kinds
        self._on_switch = on_switch
        self._live: dict[str, LiveProjection] = {}
        self._building: dict[str, Building] = {}
        self._asked: dict[str, BuildProgress] = {}
        self._untold: dict[str, BuildProgress] = {}  # of rebuilds that are over
        self._leadership = leadership or Alone()
        self._waiters = waiters or PositionWaiters()
        self._gather_s = gather_s
        self._letters = DeadLetters(self._letter_box)
        self._stop = threading.Event()
        self._nudged = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.failures = 0
        self.last_error: str | None = None

    # -- from any thread ------------------------------------------------------------------

    async def start(self) -> Sequence[Build]:
        """Open the projections; return the builds that serve. Raises what opening raised, unless
        that was StoreAway: then it goes on trying, and nothing serves yet."""
        started: asyncio.Future[Sequence[Build]] = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="projections", daemon=True
        )
        self._thread.start()
        return await started

    async def stop(self) -> None:
        """Finish the transaction that runs, close the files, end the thread."""
        self._stop.set()
        self._waiters.close()
        self._nudge()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def positions(self) -> dict[str, int]:
        """The checkpoints of the serving builds."""
        return {name: live.position for name, live in dict(self._live).items()}

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        """Wait until every serving projection has folded up to `position`."""
        if self._waiters.reached < position:
            self._nudge()
        return await self._waiters.wait_for(position, timeout_s=timeout_s)

    def rebuild(self, name: str) -> None:
        """Begin to build this projection anew, unless that is under way."""
        progress = self._asked.get(name)
        if progress is None or progress.is_over:
            self._asked[name] = BuildProgress(name)
        self._nudge()

    def rebuilds(self) -> Sequence[BuildProgress]:
        """How far each rebuild that was asked for is, or how it ended."""
        return list(self._asked.values())

    @property
    def dead_letters(self) -> int:
        """How many letters were written since the start."""
        return self._letters.count

    # -- in the thread --------------------------------------------------------------------

    async def _run(self, started: asyncio.Future[Sequence[Build]]) -> None:
        self._loop = asyncio.get_running_loop()
        answer = started.get_loop().call_soon_threadsafe
        try:
            await self._leads()
        except StoreAway as error:
            self._count(error)  # for a moment, maybe: the turns ask it again
        except Exception as error:  # noqa: BLE001 - raised by `start`
            await self._leadership.release()
            answer(_settle, started, error)
            return
        answer(_settle, started, [live.build for live in self._live.values()])
        try:
            while not self._stop.is_set():
                await self._turn()
        finally:
            await self._close()
            await self._leadership.release()

    async def _leads(self) -> bool:
        """Whether this runner folds: it leads still, or has taken over just now."""
        if self._live:
            if await self._leadership.holds():
                return True
            logger.warning("projections: another server folds now")
            self._asked.clear()
            self._untold.clear()
            await self._close()
            return False
        if not await self._leadership.acquire():
            return False
        opened = await open_live(self._builds, self._kinds, self._reader)
        self._live = {live.kind.name: live for live in opened}
        for live in opened:
            if live.projection is None:
                self.rebuild(live.kind.name)
        self._waiters.reach(self._served())
        return True

    async def _turn(self) -> None:
        try:
            if not await self._leads():
                await self._rest(FOLLOW_S)
                return
            has_folded = await self._live_round()
            is_building = await self._building_round()
        except Exception as error:  # noqa: BLE001 - counted and shown; the thread must live
            # The log or a file cannot be used now. Nothing was lost: the checkpoint tells.
            self._count(error)
            await self._rest(RETRY_S)
            return
        if is_building or (has_folded and self._waiters.has_waiters):
            await self._rest(YIELD_S)
        elif has_folded:
            await self._rest(self._gather_s)
        else:
            await self._wait_for_log(self._least() + 1, POLL_S)

    async def _live_round(self) -> bool:
        """Fold one round into the live projections; whether there was anything."""
        if not self._folding():
            return False
        batches = await self._reader.read(
            after=self._least(), batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX
        )
        for group in groups_of(map(self._decoded_or_nothing, batches)):
            await self._letters.store()
            for live in self._folding():
                await live.apply(group, self._letters)
            self._waiters.reach(self._served())
            await asyncio.sleep(0)
            if self._stop.is_set():
                break
        return bool(batches)

    def _decoded_or_nothing(self, batch: StoredBatch) -> DecodedBatch:
        try:
            return decoded(batch)
        except Exception as error:  # noqa: BLE001 - whatever the log holds, the rest goes on
            self._letters.add(batch, f"decode: {type(error).__name__}: {error}")
            return nothing_of(batch)

    async def _building_round(self) -> bool:
        """Feed the rebuilds one round each; whether one is under way."""
        await self._tell_ends()  # before what is asked for: an end that nobody heard is asked again
        for name in await self._builds.asked():
            self.rebuild(name)
        for name, progress in list(self._asked.items()):
            if not progress.is_over and name not in self._building:
                self._building[name] = await self._begin(self._live[name].kind, progress)
        for name, building in list(self._building.items()):
            await building.round()
            if building.progress.error is not None:
                del self._building[name]
                self._untold[name] = building.progress
                await building.abandon(self._builds)
                await self._tell_ends()
            elif building.position >= self._live[name].position:
                await self._switch(name, building)
            else:
                await self._builds.tell(building.progress)
        return bool(self._building)

    async def _begin(self, kind: ProjectionKind, progress: BuildProgress) -> Building:
        build, projection = await self._builds.begin(kind, self._reader)

        async def reopen() -> Projection:
            return await self._builds.open(kind, build, self._reader)

        return Building(build, projection, self._reader, progress, reopen=reopen)

    async def _switch(self, name: str, building: Building) -> None:
        old = self._live[name]
        await carry_over(old.projection, building.projection, of=name)
        # Whatever of these two fails is tried again next turn.
        await self._builds.switch(building.build)
        await self._on_switch(building.build)
        del self._building[name]
        self._live[name] = LiveProjection(
            old.kind,
            self._builds,
            building.build,
            self._reader,
            building.projection,
            building.position,
        )
        building.progress.is_done = True
        self._untold[name] = building.progress
        self._waiters.reach(self._served())
        await old.aclose()
        await self._tell_ends()

    async def _tell_ends(self) -> None:
        for name, progress in list(self._untold.items()):
            await self._builds.tell(progress)
            del self._untold[name]

    async def _close(self) -> None:
        buildings, lives = list(self._building.values()), list(self._live.values())
        self._building, self._live = {}, {}
        for building in buildings:
            try:
                await building.abandon(self._builds)
            except ProjectionStoreFailed as error:
                self._count(error)  # what is left is removed at the next start
        for live in lives:
            await live.aclose()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        except TimeoutError:
            pass
        self._nudged.clear()

    def _nudge(self) -> None:
        """End the thread's rest, from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._nudged.set)

    def _folding(self) -> list[LiveProjection]:
        return [live for live in self._live.values() if live.projection is not None]

    def _least(self) -> int:
        return min((live.position for live in self._folding()), default=0)

    def _served(self) -> int:
        return min((live.position for live in self._live.values()), default=0)

    def _letter_box(self) -> Projection | None:
        live = self._live.get("runs")
        return None if live is None else live.projection

    def _count(self, error: Exception) -> None:
        self.failures += 1
        self.last_error = f"{type(error).__name__}: {error}"
        logger.warning("projections: %s", self.last_error)


def _settle(started: asyncio.Future[Sequence[Build]], outcome: Sequence[Build] | Exception) -> None:
    if started.done():  # whoever started it has given up
        return
    if isinstance(outcome, Exception):
        started.set_exception(outcome)
    else:
        started.set_result(outcome)
