"""Making a writer's records survive a power cut, beside its log calls.

A sync is done outside the writer's lock. Only when one fails is the lock taken, for as
long as it takes to write the segment's records (16 MiB at most) into another file.
Syncs of one writer follow each other under a lock of their own, always taken first.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final, Protocol

from tracker.spool.creation import sync_new_folder
from tracker.spool.losses import reason_of
from tracker.spool.meta import sync_folder
from tracker.spool.segments import OpenSegment, rewrite_segment
from tracker.spool.tail import Tail

_RETRY_S: Final = 1.0
_RETRY_MAX_S: Final = 60.0


class RepairGuard(Protocol):
    """Lets a repair at the tail while no log call is under way."""

    def repair(self) -> bool:
        """Replace the tail's segment under the writer's lock; False if that was not possible."""


class Syncer:
    """Syncs one writer's segments and folder. No OSError leaves it: faults are counted."""

    __slots__ = ("_guard", "_is_warned", "_retry_at_s", "_retry_s", "_tail", "lock")

    def __init__(self, tail: Tail, guard: RepairGuard) -> None:
        self.lock = threading.RLock()
        self._tail = tail
        self._guard = guard
        self._retry_s = _RETRY_S
        self._retry_at_s = 0.0
        self._is_warned = False

    def sync(self) -> bool:
        """Sync everything written before the call; False if there was nothing to do."""
        with self.lock:
            if not self._tail.wants_sync():
                return False
            self._sync_names()
            self._sync_sealed()
            self._sync_current()
            return True

    def _sync_names(self) -> None:
        tail = self._tail
        if tail.are_names_unsynced:
            tail.are_names_unsynced = False
            try:
                if tail.is_folder_new:
                    tail.is_folder_new = False
                    sync_new_folder(tail.folder)
                else:
                    sync_folder(tail.folder.path)
            except OSError as error:
                self.count(error)

    def _sync_sealed(self) -> None:
        tail = self._tail
        while tail.sealed:
            segment = tail.sealed.pop(0)
            try:
                tail.files.datasync(segment.fd)
            except OSError as error:
                self.count(error)
                self._rewrite_sealed(segment)
            segment.close()

    def _rewrite_sealed(self, segment: OpenSegment) -> None:
        # Nobody writes to it any more, so no lock is needed. A shipper that unlinks it at
        # this moment has it acked already; then the file comes back and is unlinked again.
        if not segment.path.exists():
            return
        tail = self._tail
        try:
            new, _, _ = rewrite_segment(tail.files, tail.meta, segment)
        except OSError as error:
            self.count(error)
            return
        try:
            tail.files.datasync(new.fd)
        except OSError as error:
            self.count(error)
        new.close()

    def _sync_current(self) -> None:
        tail = self._tail
        segment, size = tail.segment, tail.size
        if not segment.is_distrusted:
            if segment.synced_bytes >= size or segment.fd < 0:
                return
            self._see_whether_deleted(segment)
        if not segment.is_distrusted:
            try:
                tail.files.datasync(segment.fd)
            except OSError as error:
                if segment is not tail.segment:
                    return  # rotated or replaced meanwhile: the next sync sees to it
                self.count(error)
                segment.is_distrusted = True
            else:
                segment.synced_bytes = size
                self._retry_s = _RETRY_S
                return
        self._replace_current()

    def _see_whether_deleted(self, segment: OpenSegment) -> None:
        # Somebody emptied the spool under a live run. A shipper never unlinks the segment
        # that is being written.
        try:
            is_deleted = os.fstat(segment.fd).st_nlink == 0
        except OSError:
            is_deleted = True  # our descriptor was closed under us
        if is_deleted and segment is self._tail.segment:
            segment.is_distrusted = True
            self._tail.faults += 1
            self._tail.notices.append(
                f"the spool was deleted while a run was writing to it; what is not yet sent is "
                f"written anew, as far as it is there. Spool: {self._tail.folder.path}"
            )

    def _replace_current(self) -> None:
        now = time.monotonic()
        if now < self._retry_at_s or not self._guard.repair():
            return
        tail = self._tail
        segment, size = tail.segment, tail.size
        try:
            tail.files.datasync(segment.fd)
            segment.synced_bytes = size
        except OSError as error:
            self.count(error)
            segment.is_distrusted = True
            self._retry_at_s, self._retry_s = now + self._retry_s, self._retry_s * 2
            self._retry_s = min(self._retry_s, _RETRY_MAX_S)

    def count(self, error: OSError) -> None:
        """Count a failed sync, and have it said once."""
        tail = self._tail
        tail.faults += 1
        if not self._is_warned:
            self._is_warned = True
            tail.notices.append(
                f"{reason_of(error)} (on fsync). Records are kept and written anew; until that "
                f"succeeds a power cut may lose them. Spool: {tail.folder.path}"
            )
