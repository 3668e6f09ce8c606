"""One process's part in recording a run: opens its spool writer, and knows when to.

A recording is open, or it opens itself at the first record: after a fork, after the run
has ended, and for a run that another process owns. Then this process is a further writer
of the run, which says so with run.joined and never ends the run.

The log calls' hot path goes straight to the writer: `log_metric` and `log_metrics` are
attributes that are bound anew whenever the recording changes its state.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from tracker.events.ids import new_writer_id
from tracker.events.types import Event, EventType, validate
from tracker.notices import notices
from tracker.spool.machine import host_name
from tracker.version import VERSION

if TYPE_CHECKING:
    from tracker.config import Durability, Mode

LogMetric = Callable[[bytes, Any, Any, int], object]
LogMetrics = Callable[[bytes, int, Any, Any, int], object]


class Plan(NamedTuple):
    """What every writer of this process says about the run it records."""

    run_id: str  # empty for facts of the workspace
    spool_dir: Path
    workspace: str
    mode: Mode
    uri: str
    durability: Durability
    experiment_name: str | None = None
    experiment_id: str | None = None
    run_name: str | None = None
    rank: int | None = None
    kind: str = "events"  # or "artifacts"; see tracker.spool.meta


class Writer(Protocol):
    """What a recording asks of `tracker.spool.writer.SpoolWriter`."""

    @property
    def next_seq(self) -> int: ...

    def log_metric(self, key: bytes, value: float, step: int, time_us: int) -> object: ...

    def log_metrics(
        self, key_block: bytes, k: int, values: Any, step: int, time_us: int
    ) -> object: ...

    def log_event(self, event: Event) -> object: ...

    def acked_seq(self) -> int: ...

    def flush_to_disk(self) -> object: ...

    def ring_doorbell(self) -> object: ...

    def close(self) -> object: ...

    def abandon_after_fork(self) -> object: ...

    @property
    def path(self) -> Path | None:
        """The folder it writes to; None where nothing is recorded."""
        ...


_POINT: Final = struct.Struct("<qqd")


class Nowhere:
    """The writer of a disabled run, or of a spool that cannot be written to."""

    next_seq = 1
    path = None

    def log_metric(self, key: bytes, value: float, step: int, time_us: int) -> None:
        _POINT.pack(step, time_us, value)  # refuses what a real writer would

    def log_metrics(self, key_block: bytes, k: int, values: Any, step: int, time_us: int) -> None:
        for value in values:
            _POINT.pack(step, time_us, value)

    def log_event(self, event: Event) -> None:
        pass

    def acked_seq(self) -> int:
        return 1

    def flush_to_disk(self) -> None:
        pass

    def ring_doorbell(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abandon_after_fork(self) -> None:
        pass


class Recording:
    """Thread-safe. `is_owner`: the run ends when this process ends it."""

    def __init__(self, plan: Plan, *, is_owner: bool) -> None:
        self.plan = plan
        self.is_owner = is_owner
        self._lock = threading.RLock()
        self._writer: Writer | None = None
        self._latest: tuple[str, Writer] | None = None
        self._unbind()

    log_metric: LogMetric
    log_metrics: LogMetrics

    def progress(self) -> tuple[str, int] | None:
        """(writer id, next sequence) of the latest writer, also after it was closed."""
        return None if self._latest is None else (self._latest[0], self._latest[1].next_seq)

    @property
    def writer(self) -> Writer | None:
        return self._writer

    @property
    def latest_writer(self) -> Writer | None:
        """The open writer, or the last one there was: it still knows what is acknowledged."""
        return None if self._latest is None else self._latest[1]

    def log_event(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Record a fact of the run as of now; opens the recording if need be."""
        event = Event(kind, time.time_ns() // 1000, data)
        validate(event)
        with self._lock:
            self._opened().log_event(event)

    def open_with(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Open, and make this fact the first record."""
        event = Event(kind, time.time_ns() // 1000, data)
        validate(event)
        with self._lock:
            self._open().log_event(event)

    def open_silently(self) -> Writer:
        """The open writer; one that is opened now records nothing of that."""
        with self._lock:
            return self._writer or self._open()

    def _open(self) -> Writer:
        writer_id = new_writer_id()
        writer = _create(self.plan, writer_id, is_owner=self.is_owner)
        self._latest = (writer_id, writer)
        self._bind(writer)
        return writer

    def open_joined(self) -> None:
        """Open now what would open itself with the first record."""
        self._opened()

    def log_event_if_open(self, kind: EventType, data: Mapping[str, Any]) -> None:
        with self._lock:
            if self._writer is not None:
                self.log_event(kind, data)

    def close_with(self, kind: EventType | None, data: Mapping[str, Any]) -> Writer | None:
        """Record a last fact, put everything on disk, and return the writer, to be closed.

        Records that follow are those of a further writer, which has no last fact: None then.
        """
        with self._lock:
            writer = self._writer
            if writer is None:
                return None
            if kind is not None and self.is_owner:
                writer.log_event(Event(kind, time.time_ns() // 1000, data))
            self.is_owner = False
            self._unbind()
        writer.flush_to_disk()
        return writer

    def leave_to_parent(self) -> None:
        """After a fork, in the child: the parent's writer is none of ours."""
        self._lock = threading.RLock()
        writer, self._writer = self._writer, None
        self._latest = None
        self.is_owner = False
        self._unbind()
        if writer is not None:
            writer.abandon_after_fork()

    def _opened(self) -> Writer:
        with self._lock:
            if self._writer is None:
                self._join()
            assert self._writer is not None
            return self._writer

    def _join(self) -> None:
        rank = {} if self.plan.rank is None else {"rank": self.plan.rank}
        self.open_with(EventType.RUN_JOINED, {"host": host_name(), "pid": os.getpid(), **rank})

    def _bind(self, writer: Writer) -> None:
        self._writer = writer
        self.log_metric = writer.log_metric
        self.log_metrics = writer.log_metrics

    def _unbind(self) -> None:
        self._writer = None
        self.log_metric = self.open_and_log_metric
        self.log_metrics = self.open_and_log_metrics

    # Also the way for a caller that found its writer closed by another thread.
    def open_and_log_metric(self, key: bytes, value: Any, step: Any, time_us: int) -> None:
        self._opened().log_metric(key, value, step, time_us)

    def open_and_log_metrics(
        self, key_block: bytes, k: int, values: Any, step: Any, time_us: int
    ) -> None:
        self._opened().log_metrics(key_block, k, values, step, time_us)


def _create(plan: Plan, writer_id: str, *, is_owner: bool) -> Writer:
    """A writer in the spool; one that records nothing, with a warning, if that fails."""
    if plan.mode == "disabled":
        return Nowhere()
    from tracker.spool.meta import WriterMeta
    from tracker.spool.writer import SpoolWriter

    meta = WriterMeta(
        writer_id=writer_id,
        run_id=plan.run_id,
        workspace=plan.workspace,
        mode=plan.mode,
        uri=plan.uri,
        experiment_name=plan.experiment_name,
        experiment_id=plan.experiment_id,
        run_name=plan.run_name,
        is_owner=is_owner,
        rank=plan.rank,
        kind=plan.kind,
        created_us=time.time_ns() // 1000,
        sdk_version=VERSION,
    )
    try:
        return SpoolWriter.create(plan.spool_dir, meta, durability=plan.durability)
    except OSError as error:
        notices.warn_once(
            "spool",
            f"cannot write to the spool {plan.spool_dir}: {error}. What is logged is LOST; "
            "make room there or set TRACKER_SPOOL_DIR",
        )
        return Nowhere()
