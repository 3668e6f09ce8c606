"""The tail of a writer's spool: where the next record goes, and what is done when it cannot.

What holds
  - `next_seq` is the number of the next record; `size` is where the good part of the
    current segment ends. The file's own end decides whether an interrupted write counts.
  - `fd` is the current segment's descriptor, or CLOSED_FD while every call must take the
    slow way: the tail is closed, or a loss is open.
  - A full disk opens a loss: calls are counted, tried again every 0.25 s, and one DROPPED
    record takes their numbers when it fits. At close, and for the end of a run, the
    reserve file becomes the segment that holds it.
  - A failing disk (EIO, a closed descriptor, a stale handle) gets another file: the
    segment is rewritten under its name, see `tracker.spool.segments`.

Not thread-safe: the writer's lock is held around every call here, except `wants_sync`
and `arm`, which only read and hint.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Final

from tracker.events.limits import SEGMENT_BYTES_MAX
from tracker.spool.creation import NewFolder
from tracker.spool.durability import UNSYNCED_BYTES_MAX
from tracker.spool.files import FileCalls, write_all
from tracker.spool.losses import NO_SPACE, Loss, reason_of
from tracker.spool.segments import (
    HEADER_BYTES,
    OpenSegment,
    create_segment,
    records_in,
    rewrite_segment,
    segment_from_reserve,
)

CLOSED_FD: Final = -1


class ShortWrite(OSError):
    """The kernel took only a part of a record."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Tail:
    """State of one writer's spool. `log_*` reads and writes its fields directly."""

    __slots__ = (
        "_is_warned",
        "_repaired_at_seq",
        "are_names_unsynced",
        "dropped",
        "faults",
        "fd",
        "files",
        "folder",
        "is_folder_new",
        "limit",
        "loss",
        "meta",
        "next_seq",
        "notices",
        "sealed",
        "segment",
        "segment_bytes_max",
        "size",
    )

    def __init__(
        self,
        files: FileCalls,
        new: NewFolder,
        *,
        first_seq: int,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self.files = files
        self.folder = new.folder
        self.meta = new.meta
        self.segment = new.segment
        self.segment_bytes_max = segment_bytes_max
        self.sealed: list[OpenSegment] = []
        self.are_names_unsynced = True
        self.is_folder_new = True  # nor are the names on the way to the folder synced
        self.next_seq = first_seq
        self.fd = new.segment.fd
        self.size = HEADER_BYTES
        self.limit = CLOSED_FD  # a record that ends beyond it calls `SpoolWriter._cross`
        self.loss: Loss | None = None
        self.dropped = 0
        self.faults = 0
        self.notices: list[str] = []
        self._repaired_at_seq = 0
        self._is_warned = False

    def next_limit(self) -> int:
        """The size at which the next sync or the next segment is due."""
        soft = self.size + UNSYNCED_BYTES_MAX
        return (
            soft if self.size >= self.segment_bytes_max else min(soft, self.segment_bytes_max - 1)
        )

    def wants_sync(self) -> bool:
        segment = self.segment
        return segment.fd >= 0 and (
            self.are_names_unsynced
            or bool(self.sealed)
            or segment.synced_bytes < self.size
            or segment.is_distrusted
        )

    def settle_interrupted(self) -> None:
        """Believe the file: count the record if all of it is there, cut it off if not."""
        fd = self.segment.fd
        size = os.fstat(fd).st_size
        if size > self.size:
            data = os.pread(fd, size - self.size, self.size)
            for end, next_seq in records_in(data, self.next_seq):
                self.size, self.next_seq = self.size + end, next_seq
                break
        if size > self.size:
            os.ftruncate(fd, self.size)

    def handle_fault(self, error: OSError) -> bool:
        """After a failed write: True if the record may be written again, else it is dealt with."""
        if self.loss is not None:
            return self._retry_after_loss(self.loss)
        self.faults += 1
        if isinstance(error, ShortWrite):
            error = self._reason_for(error)
        is_broken = error.errno not in NO_SPACE
        seq = self.next_seq
        try:
            self.settle_interrupted()
        except OSError:
            is_broken = True
        is_written = self.next_seq > seq
        is_first_try = self._repaired_at_seq != seq
        self._repaired_at_seq = seq
        if is_first_try and self._make_room(error, is_broken):
            return not is_written
        if not is_written:
            self._open_loss(error, is_broken=is_broken)
        return False

    def rotate(self, first_seq: int) -> None:
        """Go on in a new segment; the old one is left to the next sync. Raises OSError."""
        old, path = self.segment, self.folder.segment(first_seq)
        try:
            new = create_segment(self.files, self.folder, self.meta, first_seq)
            self.segment, self.fd, self.size = new, new.fd, HEADER_BYTES
        except BaseException:
            # A handler's exception may come between the two lines. A segment that is not
            # gone on in must not be found: its name says that its records begin there.
            if self.segment is old and old.first_seq != first_seq:
                try:
                    path.unlink(missing_ok=True)
                except BaseException:  # a second exception out of a handler
                    path.unlink(missing_ok=True)
                    raise
            raise
        self.are_names_unsynced = True
        self.limit = CLOSED_FD
        self.sealed.append(old)

    def replace_segment(self) -> None:
        """Go on in another file of the same name, with the same records. Raises OSError."""
        try:
            self._replace_segment()
        except BaseException as error:
            if not isinstance(error, OSError) or error.errno is None:
                # Out of a handler: the new file may have taken the name, so it must be gone on in.
                self._replace_segment()
            raise

    def _replace_segment(self) -> None:
        old = self.segment
        old.is_distrusted = True
        new, size, next_seq = rewrite_segment(self.files, self.meta, old)
        expected = self.loss.first_seq if self.loss else self.next_seq
        if next_seq < expected:
            n = expected - next_seq
            reason = "records of a failed segment could not be read back"
            data = Loss(next_seq, reason, is_segment_broken=True, n=n).record()
            write_all(self.files, new.fd, data)
            size += len(data)
            self.dropped += n
        self.segment, self.size = new, size
        if self.loss is None:
            self.fd = new.fd
        self.are_names_unsynced = True
        self.limit = CLOSED_FD
        old.close()

    def close_loss(self, *, may_use_reserve: bool) -> bool:
        """Write the DROPPED record of the open loss; False if the disk still refuses."""
        loss = self.loss
        if loss is None:
            return True
        if self._write_loss(loss) or (may_use_reserve and self._write_loss_to_reserve(loss)):
            self.loss = None
            self.fd = self.segment.fd
            self.limit = CLOSED_FD
            return True
        loss.postpone()
        return False

    def abandon(self) -> None:
        """Close every descriptor and nothing else."""
        self.fd = CLOSED_FD
        for segment in [self.segment, *self.sealed]:
            segment.close()
        self.sealed = []

    def _make_room(self, error: OSError, is_broken: bool) -> bool:
        try:
            if is_broken:
                self.replace_segment()
                return True
            if error.errno == errno.EFBIG and self.size > HEADER_BYTES:
                self.rotate(self.next_seq)
                return True
        except OSError:
            return False
        return isinstance(error, ShortWrite)

    def _reason_for(self, error: ShortWrite) -> OSError:
        """Why a write was short: the kernel says so only when it takes not a single byte."""
        try:
            self.files.write(self.segment.fd, b"\0")  # cut off with the torn record
        except OSError as refusal:
            return refusal
        return error

    def _open_loss(self, error: OSError, *, is_broken: bool) -> None:
        reason = reason_of(error)
        self.loss = Loss(self.next_seq, reason, is_segment_broken=is_broken)
        self.fd = CLOSED_FD
        self._count_lost_call(self.loss)
        if not self._is_warned:
            self._is_warned = True
            self.notices.append(
                f"{reason}. Log calls are LOST until it takes them again; they are counted "
                f"and the run will say how many. Spool: {self.folder.path}"
            )

    def _retry_after_loss(self, loss: Loss) -> bool:
        if loss.is_retry_due() and self.close_loss(may_use_reserve=False):
            return True
        self._count_lost_call(loss)
        return False

    def _count_lost_call(self, loss: Loss) -> None:
        loss.n += 1
        self.next_seq += 1
        self.dropped += 1

    def _write_loss(self, loss: Loss) -> bool:
        try:
            if loss.is_segment_broken:
                self.replace_segment()
            if loss.n:
                self._append(loss.record())
        except OSError:
            return False
        return True

    def _append(self, data: bytes) -> None:
        """Write whole or not at all; raises OSError."""
        fd, size = self.segment.fd, len(data)
        try:
            write_all(self.files, fd, data)
        except BaseException:
            with suppress(OSError):  # then the reader finds a torn record, and stops before it
                os.ftruncate(fd, self.size)
            raise
        self.size += size

    def _write_loss_to_reserve(self, loss: Loss) -> bool:
        data = loss.record()
        try:
            new, size = segment_from_reserve(
                self.files, self.folder, self.meta, first_seq=loss.first_seq, records=data
            )
        except OSError:
            return False
        old, self.segment = self.segment, new
        self.size = size
        self.are_names_unsynced = True
        self.sealed.append(old)
        return True
