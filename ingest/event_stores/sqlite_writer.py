"""The one connection that writes a log database, and the thread it lives in.

Group commit: whatever has queued up while the last commit was on its way to the disk goes
into the next one. With `synchronous=FULL` a commit waits for the disk, so grouping is what
makes durability cheap. The thread also does every checkpoint (see sqlite_reader).
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from ingest.errors import StoreUnavailable
from ingest.event_stores.group import Group
from ingest.event_stores.pending import PendingAppend
from ingest.event_stores.sqlite_rows import insert_batches, upsert_writers
from ingest.event_stores.sqlite_state import CommittedState
from ingest.event_stores.statistics import (
    CommitStatistics,
)
from ingest.event_stores.wakeups import Outcome, Settled, Wakeups
from tracker.events.errors import TrackerError

GROUP_BATCHES_MAX: Final = 256
GROUP_BYTES_MAX: Final = 32 * 1024 * 1024
# Only once several writers are at it is it worth waiting for more of them.
GATHER_S: Final = 0.002
# A WAL of this size is copied into the database; at four times that, readers are waited for.
CHECKPOINT_BYTES: Final = 16 * 1024 * 1024
WAL_BYTES_MAX: Final = 4 * CHECKPOINT_BYTES
_BUSY_TIMEOUT_MS: Final = 100


Job: TypeAlias = Callable[[sqlite3.Connection], None]
"""Something else to write, in a transaction of its own; what it raises is counted."""


class CommitThread:
    """Takes appends from a queue and settles each when its transaction is on disk."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, state: CommittedState, wakeups: Wakeups
    ) -> None:
        self._connection = connection
        self._wal = path.with_name(path.name + "-wal")
        self._state = state
        self._wakeups = wakeups
        self._queue: queue.SimpleQueue[PendingAppend | Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._is_ending = False
        self.statistics = CommitStatistics()
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")

    def start(self) -> None:
        self._thread.start()

    def submit(self, pending: PendingAppend | Job) -> None:
        self._queue.put(pending)

    @property
    def queue_length(self) -> int:
        return self._queue.qsize()

    def stop(self) -> None:
        """Commit what was submitted before, then end the thread. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        last_size = 0
        while not self._is_ending:
            pendings, jobs = self._next_group(gather=last_size > 1)
            last_size = len(pendings)
            if pendings:
                self._wakeups.settle(
                    self._commit_all(pendings), reached=self._state.head.next_position - 1
                )
            for job in jobs:
                self._do(job)
            self._checkpoint_when_due()

    def _next_group(self, *, gather: bool) -> tuple[list[PendingAppend], list[Job]]:
        pendings: list[PendingAppend] = []
        jobs: list[Job] = []
        size = 0
        deadline = 0.0
        item: PendingAppend | Job | None
        item = self._queue.get()
        while True:
            if item is None:
                self._is_ending = True
                break
            if isinstance(item, PendingAppend):
                pendings.append(item)
                size += item.size
                if len(pendings) >= GROUP_BATCHES_MAX or size >= GROUP_BYTES_MAX:
                    break
            else:
                jobs.append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                now = time.monotonic()
                deadline = deadline or now + GATHER_S
                if not gather or now >= deadline:
                    break
                try:
                    item = self._queue.get(timeout=deadline - now)
                except queue.Empty:
                    break
        return pendings, jobs

    def _commit_all(self, pendings: Sequence[PendingAppend]) -> list[Settled]:
        try:
            return self._commit(pendings)
        except Exception as error:  # noqa: BLE001  # counted, and told to whoever waits for it
            self.statistics.failures += 1
            if len(pendings) == 1:
                return [(pendings[0].future, _told(error))]
        # One of them may be what does not fit; the others must not fail with it.
        settled: list[Settled] = []
        for pending in pendings:
            settled += self._commit_all([pending])
        return settled

    def _commit(self, pendings: Sequence[PendingAppend]) -> list[Settled]:
        """Decide and write a group in one transaction. If it raises, nothing was written."""
        started = time.monotonic()
        group = self._state.begin_group()
        settled: list[Settled] = []
        for pending in pendings:
            outcome: Outcome
            try:
                outcome = group.take(pending.append)
            except TrackerError as refusal:
                outcome = refusal
            settled.append((pending.future, outcome))
        if group.rows:
            self._write(group)
            self._state.commit(group)
            self.statistics.count(len(group.rows), time.monotonic() - started)
        return settled

    def _write(self, group: Group) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            insert_batches(connection, self._state.workspace, group.rows)
            upsert_writers(connection, list(group.writers.values()))
            connection.execute(
                "UPDATE head SET next_position = ?, chain_sha256 = ?",
                (group.head.next_position, group.head.chain_sha256),
            )
            connection.execute("COMMIT")
        except BaseException:
            # A failed commit may have ended the transaction already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _do(self, job: Job) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            job(self._connection)
            self._connection.execute("COMMIT")
        except Exception:  # noqa: BLE001  # counted; the thread that every append waits for must live
            self.statistics.failures += 1
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _checkpoint_when_due(self) -> None:
        try:
            size = self._wal.stat().st_size
        except OSError:
            return
        # PASSIVE does not shrink the file, so what counts is what was written since.
        written = self._state.bytes_since_checkpoint
        if written < CHECKPOINT_BYTES:
            return
        mode = "TRUNCATE" if size > WAL_BYTES_MAX else "PASSIVE"
        try:
            self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            self._state.bytes_since_checkpoint = 0
            self.statistics.checkpoints += 1
        except sqlite3.Error:
            # A full disk: the commits are safe in the WAL, and it is tried again later.
            self.statistics.failures += 1


def _told(error: Exception) -> Exception:
    """A full disk or a failing one is the store's state; anything else is a bug, and a 500."""
    if not isinstance(error, sqlite3.Error):
        return error
    return StoreUnavailable(
        f"the event log cannot be written: {error}; nothing was stored, send it again",
        retry_after_s=1.0,
    )
