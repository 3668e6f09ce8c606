"""What stores answered at an earlier position: builds of the same projections, put together
from the log when somebody asks, and kept for a while.

Theory
------
A projection after position p depends on the log up to p and on nothing else. So the state at
p is a build that stops there, and every query works on it that works on the present one. It
costs a fold of the log up to p: of one run's batches when only that run is asked for, of all
otherwise. A few builds are kept, the one asked for last the longest; their number and their
bytes are bounded. Whoever asks waits a while and is then told how far it is; the fold goes on.

What no log says is answered as follows: a run that had not ended is called live.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from projections.kinds import KINDS
from projections.log import EventLogReader, StoredBatch
from projections.past_log import PastLog
from projections.projection import DecodedBatch, ProjectionStoreFailed
from projections.read_models import RunsReadStore, SeriesReadStore
from projections.rounds import ROUND_BATCHES_MAX, ROUND_BYTES_MAX, decoded, groups_of, nothing_of
from projections.runs_queries import RunsQueries
from projections.series_queries import SeriesQueries
from projections.sqlite import open_for_reading
from tracker.events.errors import TrackerError
from tracker.events.types import RunStatus

BUILDS_MAX: Final = 8
BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
WAIT_S: Final = 20.0
FOLDS_AT_ONCE: Final = 2
RETIRE_S: Final = 60.0
"""Requests that were given a build before it fell out are over by then."""
_TERMINAL: Final = tuple(status.value for status in RunStatus if status.is_terminal)


class PastNotReady(TrackerError):
    """The state is being put together; ask again. `done` of `total` positions are folded."""

    def __init__(self, position: int, done: int, total: int) -> None:
        percent = 100 * done // max(total, 1)
        super().__init__(
            f"the state at position {position} is being put together from the log, {percent} % "
            "so far; ask again in a moment"
        )
        self.done, self.total = done, total


class PastUnavailable(TrackerError):
    """The state cannot be put together: the disk is full, or it would take too much of it."""


@dataclass(eq=False)
class PastStores:
    """The stores as they were at `position`. See ingest.state.ReadStores."""

    position: int
    folder: Path
    runs: RunsReadStore
    series: SeriesReadStore
    live_run_ids: frozenset[str]
    bytes: int
    _closing: list[RunsQueries | SeriesQueries] = field(default_factory=list)

    async def wait_for(self, position: int, *, timeout_s: float) -> bool:
        return True  # what it was then does not change any more

    async def aclose(self) -> None:
        for store in self._closing:
            await store.aclose()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


@dataclass(eq=False)
class _Fold:
    """One fold under way, in a thread of its own."""

    total: int
    done: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    task: asyncio.Task[PastStores] | None = None


class PastBuilds:
    """Used from one event loop; `aclose` removes everything."""

    def __init__(
        self,
        log: EventLogReader,
        folder: Path | None,
        *,
        builds_max: int = BUILDS_MAX,
        bytes_max: int = BYTES_MAX,
        wait_s: float = WAIT_S,
    ) -> None:
        """`folder` is where builds go, on the store's own disk; None: where the system puts
        what is temporary."""
        self._log = log
        self._parent = folder
        self._builds_max, self._bytes_max, self._wait_s = builds_max, bytes_max, wait_s
        self._kept: OrderedDict[tuple[int, str | None], PastStores] = OrderedDict()
        self._folds: dict[tuple[int, str | None], _Fold] = {}
        self._turn = asyncio.Semaphore(FOLDS_AT_ONCE)
        self._retiring: set[asyncio.Task[None]] = set()

    async def at(self, position: int, *, run_id: str | None = None) -> PastStores:
        """The stores at a position, of one run only if one is given.

        Raises PastNotReady after a while, PastUnavailable, and what reading the log raises.
        """
        key = (position, run_id)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        fold = self._folds.get(key)
        if fold is None:
            fold = self._folds[key] = _Fold(total=position)
            fold.task = asyncio.create_task(self._build(key, fold), name=f"past-{position}")
            fold.task.add_done_callback(lambda task: self._folds.pop(key, None))
        assert fold.task is not None
        try:
            async with asyncio.timeout(self._wait_s):
                return await asyncio.shield(fold.task)
        except TimeoutError:
            raise PastNotReady(position, fold.done, fold.total) from None

    async def aclose(self) -> None:
        folds = [fold for fold in self._folds.values() if fold.task is not None]
        for fold in folds:
            fold.stop.set()
        await asyncio.gather(*(f.task for f in folds if f.task), return_exceptions=True)
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for stores in self._kept.values():
            await stores.aclose()

    async def _build(self, key: tuple[int, str | None], fold: _Fold) -> PastStores:
        position, run_id = key
        log = PastLog(self._log, position, run_id)
        async with self._turn:
            folder = await asyncio.to_thread(self._new_folder)
            try:
                live, size = await asyncio.to_thread(self._fold, log, folder, fold)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        runs = RunsQueries(folder / "runs.sqlite")
        series = SeriesQueries(folder / "series.sqlite", log)
        stores = PastStores(position, folder, runs, series, live, size, [runs, series])
        self._kept[key] = stores
        self._make_room()
        return stores

    def _new_folder(self) -> Path:
        try:
            if self._parent is not None:
                self._parent.mkdir(parents=True, exist_ok=True)
            # Named as verify's scratch folders are, so that what a crash left is removed.
            return Path(tempfile.mkdtemp(prefix=f"verify-{os.getpid()}-past-", dir=self._parent))
        except OSError as error:
            raise PastUnavailable(f"no folder can be made for an earlier state: {error}") from error

    def _fold(self, log: PastLog, folder: Path, fold: _Fold) -> tuple[frozenset[str], int]:
        try:
            asyncio.run(self._fold_all(log, folder, fold))
            connection = open_for_reading(folder / "runs.sqlite")
        except (ProjectionStoreFailed, OSError, sqlite3.Error) as error:
            raise PastUnavailable(f"the state cannot be put together: {error}") from error
        try:
            marks = ", ".join("?" * len(_TERMINAL))
            sql = f"SELECT run_id FROM run WHERE status NOT IN ({marks})"
            live = frozenset(row[0] for row in connection.execute(sql, _TERMINAL))
        finally:
            connection.close()
        return live, _size_of(folder)

    async def _fold_all(self, log: PastLog, folder: Path, fold: _Fold) -> None:
        projections = [kind.open(folder / f"{kind.name}.sqlite", log) for kind in KINDS]
        after = 0
        try:
            while batches := await log.read(
                after=after, batches_max=ROUND_BATCHES_MAX, bytes_max=ROUND_BYTES_MAX
            ):
                items = (_decoded_or_nothing(batch) for batch in batches)
                for group in groups_of(items):
                    for projection in projections:
                        await projection.apply(group)
                    if fold.stop.is_set():
                        raise PastUnavailable("the server stops; ask again")
                after = fold.done = batches[-1].last_position
                if _size_of(folder) > self._bytes_max:
                    raise PastUnavailable(
                        f"the state at position {log.position} takes more than "
                        f"{self._bytes_max // 2**20:,} MiB of disk (past_bytes_max); ask for one "
                        "run of it, or replay the log up to there into a store of its own: "
                        "tracker replay SRC DST --until-position N"
                    )
        finally:
            for projection in projections:
                await projection.aclose()

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > self._builds_max
            or sum(stores.bytes for stores in self._kept.values()) > self._bytes_max
        ):
            _, stores = self._kept.popitem(last=False)
            task = asyncio.create_task(_retire(stores))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)


async def _retire(stores: PastStores) -> None:
    try:
        await asyncio.sleep(RETIRE_S)
    finally:
        await stores.aclose()


def _decoded_or_nothing(batch: StoredBatch) -> DecodedBatch:
    """A batch that cannot be read is a dead letter of the live projections, too."""
    try:
        return decoded(batch)
    except TrackerError:
        return nothing_of(batch)


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
