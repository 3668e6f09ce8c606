"""The writer of one spool folder: a log call is one framed record and one write(2).

What it promises
  - When `log_*` returns, the record is in the kernel and survives SIGKILL; with the level
    "fsync" it is on the disk. Otherwise `tracker.spool.durability` syncs it soon.
  - Records lie in the segments in the order of their sequence numbers, each once.
  - `log_*` never raises because of the disk: faults are counted in `faults`, lost calls in
    `dropped` and, when the disk takes records again, in a DROPPED record. A wrong argument
    raises (struct.error, TypeError) and uses no number.

Threads and signals
  One re-entrant lock orders number and write. A signal handler (or a destructor) that
  interrupts a log call and logs itself finds `_is_busy` set: its call is kept and written
  as soon as the interrupted one is done. A handler must not wait for another thread that
  logs: that thread may be waiting for the call which the handler has interrupted.
  Ctrl-C or any exception out of a handler may hit a log call anywhere; the file's end then
  decides whether the record was written. A second one may hit what puts right what the
  first one left, as when Ctrl-C reaches a job from the terminal and from its launcher.

The lock is taken by plain calls inside the try, not by `with`, which costs 0.1 µs more of
a budget of 3; `_settle` puts right what an exception between the two leaves behind, and
`_leave` what is left by one that comes into `_settle`. A call that came into another one
touches nothing but its own hold of the lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Final, Literal
from zlib import crc32

from tracker.events.errors import PayloadTooLarge, TrackerError
from tracker.events.limits import RECORD_BYTES_MAX, SEGMENT_BYTES_MAX
from tracker.events.types import Event, EventType
from tracker.spool import acks, doorbell, framing
from tracker.spool.creation import create_writer_folder, restore_writer_folder
from tracker.spool.crossing import Crossing
from tracker.spool.durability import Durability, of_this_process, show
from tracker.spool.files import OS_FILES, FileCalls
from tracker.spool.folder import SpoolRoot, WriterFolder
from tracker.spool.framing import KIND_EVENT, KIND_METRICS
from tracker.spool.locks import FileLock
from tracker.spool.meta import MODE_ONLINE, WriterMeta
from tracker.spool.reentry import is_inside_call
from tracker.spool.syncing import Syncer
from tracker.spool.tail import CLOSED_FD, ShortWrite, Tail

DurabilityLevel = Literal["os", "fsync"]

_pack_frame = framing.FRAME.pack
_pack_metric = Struct("<HHIQqqd").pack
_FRAME_BYTES: Final = framing.FRAME.size
_EVENT_BYTES_MAX: Final = RECORD_BYTES_MAX - framing.RECORD_HEADER.size


class SpoolClosed(TrackerError):
    """A writer was used after close(), or in a child forked after it was made."""


class _Reentered(Exception):
    """A log call came in while another one of the same thread was under way."""


def _metrics_payload(key_block: bytes, values: Collection[float], step: int, time_us: int) -> bytes:
    return Struct(f"<qq{len(values)}d").pack(step, time_us, *values) + key_block


class SpoolWriter:
    """Appends records to one writer folder: one process, any thread. Made by `create`."""

    __slots__ = (
        "_acks_fd",
        "_acquire",
        "_closed",
        "_cross",
        "_deferred",
        "_durability",
        "_file_lock",
        "_is_busy",
        "_is_synced_each",
        "_metrics_packers",
        "_mutex",
        "_release",
        "_root",
        "_syncer",
        "_tail",
        "_write",
    )

    def __init__(
        self,
        root: SpoolRoot,
        tail: Tail,
        lock: FileLock,
        durability: Durability,
        *,
        is_synced_each: bool,
    ) -> None:
        self._root = root
        self._tail = tail
        self._file_lock = lock
        self._durability = durability
        self._syncer = Syncer(tail, self)
        self._is_synced_each = is_synced_each
        self._cross = Crossing(tail, self._syncer, durability, is_synced_each=is_synced_each)
        self._write = tail.files.write
        self._make_mutex()
        self._is_busy = False
        self._deferred: list[tuple[int, int, bytes]] = []  # kind, k, payload
        self._metrics_packers: dict[int, Callable[..., bytes]] = {}
        self._acks_fd = -1
        self._closed = ""

    @classmethod
    def create(
        cls,
        root: SpoolRoot | Path,
        meta: WriterMeta,
        *,
        durability: DurabilityLevel = "os",
        first_seq: int = 1,
        files: FileCalls = OS_FILES,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> SpoolWriter:
        """Make the writer's folder, locked, with its first segment.

        Process, machine and the lock's inode are filled into the meta. Raises OSError if
        the spool cannot be written to, FileExistsError if the writer has a folder already.
        """
        root = root if isinstance(root, SpoolRoot) else SpoolRoot(root)
        new = create_writer_folder(files, root, meta, first_seq)
        tail = Tail(files, new, first_seq=first_seq, segment_bytes_max=segment_bytes_max)
        service = of_this_process()
        is_synced_each = durability == "fsync"
        writer = cls(root, tail, new.lock, service, is_synced_each=is_synced_each)
        service.add(writer)
        if is_synced_each:
            writer.sync()
        else:
            service.wake()
        return writer

    def log_metric(self, key: bytes, value: float, step: int, time_us: int) -> None:
        """Record one value."""
        is_mine: bool | None = None
        try:
            self._acquire()
            if self._is_busy:
                raise _Reentered
            is_mine = self._is_busy = True
            tail = self._tail
            body = _pack_metric(KIND_METRICS, 1, 1, tail.next_seq, step, time_us, value) + key
            length = len(body)
            record = _pack_frame(length, crc32(body)) + body
            if self._write(tail.fd, record) != length + _FRAME_BYTES:
                raise ShortWrite
            tail.next_seq += 1
            tail.size = size = tail.size + length + _FRAME_BYTES
            if size > tail.limit:
                self._cross()
            while self._deferred:
                self._write_deferred()
            is_mine = self._is_busy = False
            self._release()
        except _Reentered:
            try:
                payload = _metrics_payload(key, (value,), step, time_us)
                self._deferred.append((KIND_METRICS, 1, payload))
            finally:
                self._release()
        except BaseException as error:  # noqa: BLE001 _settle counts it or gives it back
            try:
                make_payload = partial(_metrics_payload, key, (value,), step, time_us)
                failure = self._settle(error, KIND_METRICS, 1, make_payload, is_mine=is_mine)
            except BaseException:
                self._leave()
                raise
            if failure is not None:
                raise failure  # noqa: B904 it is the very error, or hides nothing

    def log_metrics(
        self, key_block: bytes, k: int, values: Collection[float], step: int, time_us: int
    ) -> None:
        """Record k values of one moment; `key_block` is their keys joined by NUL."""
        is_mine: bool | None = None
        try:
            self._acquire()
            if self._is_busy:
                raise _Reentered
            is_mine = self._is_busy = True
            tail = self._tail
            pack = self._metrics_packers.get(k) or self._metrics_packer(k)
            body = pack(KIND_METRICS, k, 1, tail.next_seq, step, time_us, *values) + key_block
            length = len(body)
            record = _pack_frame(length, crc32(body)) + body
            if self._write(tail.fd, record) != length + _FRAME_BYTES:
                raise ShortWrite
            tail.next_seq += 1
            tail.size = size = tail.size + length + _FRAME_BYTES
            if size > tail.limit:
                self._cross()
            while self._deferred:
                self._write_deferred()
            is_mine = self._is_busy = False
            self._release()
        except _Reentered:
            try:
                payload = _metrics_payload(key_block, values, step, time_us)
                self._deferred.append((KIND_METRICS, k, payload))
            finally:
                self._release()
        except BaseException as error:  # noqa: BLE001 _settle counts it or gives it back
            try:
                make_payload = partial(_metrics_payload, key_block, values, step, time_us)
                failure = self._settle(error, KIND_METRICS, k, make_payload, is_mine=is_mine)
            except BaseException:
                self._leave()
                raise
            if failure is not None:
                raise failure  # noqa: B904 it is the very error, or hides nothing

    def log_event(self, event: Event) -> int:
        """Record an event and return its sequence number. Raises PayloadTooLarge.

        On a full disk the end of a run is written into the reserve.
        """
        payload = framing.event_payload(event)
        if len(payload) > _EVENT_BYTES_MAX:
            raise PayloadTooLarge(
                f"an event of {len(payload)} bytes is beyond record_bytes_max ({RECORD_BYTES_MAX})"
            )
        seq = self._tail.next_seq
        is_mine: bool | None = None
        try:
            self._acquire()
            if self._is_busy:
                raise _Reentered
            is_mine = self._is_busy = True
            tail = self._tail
            if tail.loss is not None and event.type == EventType.RUN_ENDED:
                tail.close_loss(may_use_reserve=True)
            seq = tail.next_seq
            self._write_record(KIND_EVENT, 0, payload)
            while self._deferred:
                self._write_deferred()
            is_mine = self._is_busy = False
            self._release()
        except _Reentered:
            try:
                seq = self._tail.next_seq + 1 + len(self._deferred)
                self._deferred.append((KIND_EVENT, 0, payload))
            finally:
                self._release()
        except BaseException as error:  # noqa: BLE001 _settle counts it or gives it back
            try:
                make_payload = partial(bytes, payload)
                failure = self._settle(error, KIND_EVENT, 0, make_payload, is_mine=is_mine)
            except BaseException:
                self._leave()
                raise
            if failure is not None:
                raise failure  # noqa: B904 it is the very error, or hides nothing
        return seq

    @property
    def next_seq(self) -> int:
        """The sequence number of the next record."""
        return self._tail.next_seq

    @property
    def dropped(self) -> int:
        """How many records the disk did not take."""
        return self._tail.dropped

    @property
    def faults(self) -> int:
        """How often the disk failed, whether or not something was lost by it."""
        return self._tail.faults

    @property
    def folder(self) -> WriterFolder:
        return self._tail.folder

    @property
    def path(self) -> Path:
        return self._tail.folder.path

    @property
    def meta(self) -> WriterMeta:
        return self._tail.meta

    def acked_seq(self) -> int:
        """The sequence number up to which, exclusive, the server has confirmed; 1 for nothing."""
        folder = self._tail.folder
        if self._closed:
            # A shipper removes a closed writer's folder when everything in it is confirmed.
            is_removed = not folder.meta.exists()
            return self.next_seq if is_removed else acks.read_ack(folder.acks).next_seq
        if self._acks_fd < 0:
            try:
                self._acks_fd = os.open(folder.acks, os.O_RDONLY)
            except OSError:
                return acks.NO_ACK.next_seq  # no shipper has made it yet
        return acks.read_ack_fd(self._acks_fd).next_seq

    def flush_to_disk(self) -> bool:
        """Sync everything logged so far; False if the disk failed to make it durable."""
        tail = self._tail
        if not self._closed:
            self._syncer.sync()
        return tail.loss is None and not tail.segment.is_distrusted

    def ring_doorbell(self) -> bool:
        """Wake the shipper of this spool; False if none listens. Never waits."""
        return doorbell.ring(self._root.doorbell)

    def close(self) -> None:
        """Write what is owed, sync, and let go of the lock. A second call does nothing.

        Inside an interrupted log call of the same thread it is left to another thread, which
        does it right after that call.
        """
        if self._closed:
            return
        with self._syncer.lock:
            with self._mutex:
                if self._is_busy:
                    threading.Thread(target=self.close, name="tracker-close").start()
                    return
                if self._closed:
                    return
                self._is_busy = True
                try:
                    self._end_loss()
                    while self._deferred:
                        self._write_deferred()
                finally:
                    self._is_busy = False
                self._closed = "the spool writer is closed"
                self._tail.fd = CLOSED_FD
            try:
                self._syncer.sync()
            finally:
                self._let_go()
        show(self.take_notices())

    def abandon_after_fork(self) -> None:
        """In a forked child: close what was inherited. The parent's writer goes on undisturbed.

        No lock is taken: a thread that the child does not have may hold it.
        """
        self._closed = "this spool writer belongs to the process that forked this one"
        self._make_mutex()
        self._syncer = Syncer(self._tail, self)
        self._is_busy = False
        self._tail.abandon()
        self._file_lock.abandon_after_fork()
        self._close_acks()

    # What the durability thread calls.

    def sync(self) -> bool:
        """See `tracker.spool.durability.Syncable`. Also wakes the shipper, if there is news."""
        if self._deferred:
            self._write_left_over()
        had_news = self._syncer.sync()
        if had_news and self._tail.meta.mode == MODE_ONLINE:
            self.ring_doorbell()
        tail = self._tail
        if not self._is_synced_each:
            tail.limit = tail.next_limit()
        return had_news

    def arm(self) -> bool:
        tail = self._tail
        if self._closed or self._is_synced_each:
            return True
        tail.limit = CLOSED_FD
        return not tail.wants_sync() or tail.loss is not None

    def repair(self) -> bool:
        """See `tracker.spool.syncing.RepairGuard`. A folder that was deleted is made again."""
        with self._mutex:
            if self._is_busy:
                return False
            self._acquire()  # for _finish
            self._is_busy = True
            tail = self._tail
            try:
                if not tail.folder.path.exists():
                    before = self._file_lock
                    tail.meta, self._file_lock = restore_writer_folder(tail.folder, tail.meta)
                    before.release()
                    self._close_acks()  # the new folder gets others
                    tail.is_folder_new = True
                tail.replace_segment()
            except OSError:
                tail.faults += 1
                return False
            finally:
                self._finish()
            return True

    def take_notices(self) -> list[str]:
        tail = self._tail
        notices, tail.notices = tail.notices, []
        return notices

    # The slow half of a log call.

    def _settle(
        self,
        error: BaseException,
        kind: int,
        k: int,
        make_payload: Callable[[], bytes],
        *,
        is_mine: bool | None,
    ) -> BaseException | None:
        """End a log call that was cut short: repeat it, or count it.

        `is_mine`: whether `_is_busy` is this call's; None before it was, False after it.
        Returns what the call is to raise. What comes out of here is for `_leave` to put right.
        """
        if is_mine is None:
            # It came out of a handler: while this call waited for the lock, or as it got it.
            with suppress(RuntimeError):  # not held
                self._release()
        if not is_mine:
            return error
        failure: BaseException | None = None
        # An OSError without a number was raised by a handler, not by the disk.
        if not isinstance(error, OSError) or error.errno is None:
            failure = error
            with suppress(OSError):
                self._tail.settle_interrupted()
        elif self._closed:
            failure = SpoolClosed(self._closed)
        elif self._tail.handle_fault(error):
            self._write_record(kind, k, make_payload())
        self._finish()
        if failure is not None:
            self._leave()  # a call inside this one may have been ended before it let go
        if self._tail.notices:
            self._durability.wake()
        return failure

    def _leave(self) -> None:
        """Let go of whatever this thread's calls have left behind, if none is under way any more.

        Else it is left to the one that this call came into: the exception comes there next.
        """
        if is_inside_call(self, _CALLS):
            return
        self._acquire()
        try:
            if self._is_busy:
                with suppress(OSError):
                    self._tail.settle_interrupted()
                self._finish()
        finally:
            with suppress(RuntimeError):  # no longer held
                while True:
                    self._release()

    def _write_record(self, kind: int, k: int, payload: bytes) -> None:
        """Write a record or see it counted as lost. Busy is set."""
        tail = self._tail
        while True:
            record = framing.record(kind, k, 1, tail.next_seq, payload)
            record_bytes = len(record)
            try:
                if self._write(tail.fd, record) != record_bytes:
                    raise ShortWrite
            except OSError as error:
                if error.errno is None:
                    raise
                if self._closed:
                    raise SpoolClosed(self._closed) from None
                if tail.handle_fault(error):
                    continue
                return
            # No call between the two: only at calls can a handler's exception come in.
            tail.next_seq += 1
            tail.size += record_bytes
            if tail.size > tail.limit:
                self._cross()
            return

    def _write_deferred(self) -> None:
        """Write the first of the calls that came in while this one was under way."""
        tail = self._tail
        seq = tail.next_seq
        try:
            self._write_record(*self._deferred[0])
        except BaseException:
            with suppress(OSError):
                tail.settle_interrupted()
            raise
        finally:
            if tail.next_seq > seq:
                self._deferred.pop(0)

    def _write_left_over(self) -> None:
        """Write what a handler's exception kept an interrupted call from writing at its end."""
        with self._mutex:
            if not self._is_busy:
                self._acquire()  # for _finish
                self._is_busy = True
                self._finish()

    def _finish(self) -> None:
        try:
            while self._deferred and not self._closed:
                self._write_deferred()
        finally:
            self._is_busy = False
            self._release()

    def _metrics_packer(self, k: int) -> Callable[..., bytes]:
        packer = framing.metrics_body_struct(k).pack
        self._metrics_packers[k] = packer
        return packer

    def _end_loss(self) -> None:
        tail = self._tail
        if not tail.close_loss(may_use_reserve=True) and tail.loss is not None:
            tail.notices.append(
                f"{tail.loss.n} records are lost, and not even that could be recorded: "
                f"{tail.loss.reason}"
            )

    def _let_go(self) -> None:
        self._durability.remove(self)
        self._tail.abandon()
        with suppress(OSError):
            self._tail.folder.reserve.unlink(missing_ok=True)
        self._close_acks()
        self._file_lock.release()

    def _close_acks(self) -> None:
        fd, self._acks_fd = self._acks_fd, -1
        if fd >= 0:
            os.close(fd)

    def _make_mutex(self) -> None:
        self._mutex = threading.RLock()
        self._acquire = self._mutex.acquire
        self._release = self._mutex.release


_CALLS: Final = frozenset(
    call.__code__
    for call in (
        SpoolWriter.log_metric,
        SpoolWriter.log_metrics,
        SpoolWriter.log_event,
        SpoolWriter.close,
        SpoolWriter.repair,
        SpoolWriter._write_left_over,
    )
)
