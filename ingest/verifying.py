"""A verification under way in a server: one at a time, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ingest.event_stores.base import EventStore, WriterState
from ingest.event_stores.sqlite_reader import SqliteLogReader
from projections.builds import Builds
from projections.findings import OnProgress, VerifyProgress, VerifyReport
from projections.kinds import KINDS
from projections.log import LogHead, StoredBatch
from projections.verify import verify

Proving: TypeAlias = Callable[[OnProgress], Coroutine[Any, Any, VerifyReport]]


class Verification:
    """Begun when it is made; `progress`, `report` and `error` tell how it goes.

    `prove` runs in a thread and an event loop of its own.
    """

    def __init__(self, prove: Proving) -> None:
        self.progress = VerifyProgress("log", 0, 0)
        self.report: VerifyReport | None = None
        self.error: str | None = None
        self._prove = prove
        self._stop = threading.Event()
        self._task = asyncio.get_running_loop().create_task(asyncio.to_thread(self._run))

    @property
    def is_running(self) -> bool:
        return not self._task.done()

    async def aclose(self) -> None:
        """End it at its next step."""
        self._stop.set()
        await asyncio.wait([self._task])

    def _run(self) -> None:
        try:
            self.report = asyncio.run(self._prove(self._on_progress))
        except asyncio.CancelledError:
            self.error = "stopped before it was finished"
        except Exception as error:  # noqa: BLE001 - kept and shown
            self.error = f"{type(error).__name__}: {error}"

    def _on_progress(self, progress: VerifyProgress) -> None:
        if self._stop.is_set():
            raise asyncio.CancelledError
        self.progress = progress


async def verify_files(
    store: EventStore, path: Path, builds: Builds, on_progress: OnProgress
) -> VerifyReport:
    """Prove a log in a file, or one in memory, and the projections beside it."""
    if not path.exists():
        return await verify(_LogInMemory(store), builds, KINDS, on_progress=on_progress)
    log = SqliteLogReader(path)
    try:
        return await verify(log, builds, KINDS, on_progress=on_progress)
    finally:
        log.close()


class _LogInMemory:
    """A log in memory as verify wants it: its watermarks are those of the runs it has."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def head(self) -> LogHead:
        return await self._store.head()

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        return await self._store.read(
            after=after, batches_max=batches_max, bytes_max=bytes_max, run_id=run_id, until=until
        )

    async def all_writers(self) -> Sequence[WriterState]:
        run_ids: set[str] = set()
        after = 0
        while batches := await self.read(after=after, batches_max=1000, bytes_max=2**22):
            run_ids.update(batch.run_id for batch in batches)
            after = batches[-1].last_position
        return [w for run_id in sorted(run_ids) for w in await self._store.writers(run_id)]
