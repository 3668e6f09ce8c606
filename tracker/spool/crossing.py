"""What is due when a record ends beyond the tail's limit: a sync, the next segment, or both.

A call happens every 1 MiB and at the end of a segment; at level "fsync", where the limit
lies before every record, after each one. The writer's lock is held, so the level "os"
only opens files and wakes the thread.
"""

from __future__ import annotations

from tracker.spool.durability import Durability
from tracker.spool.meta import sync_folder
from tracker.spool.syncing import Syncer
from tracker.spool.tail import Tail


class Crossing:
    """Called under the writer's lock, after the record. Raises no OSError: faults are counted."""

    __slots__ = ("_durability", "_is_synced_each", "_syncer", "_tail")

    def __init__(
        self, tail: Tail, syncer: Syncer, durability: Durability, *, is_synced_each: bool
    ) -> None:
        self._tail = tail
        self._syncer = syncer
        self._durability = durability
        self._is_synced_each = is_synced_each

    def __call__(self) -> None:
        tail = self._tail
        if self._is_synced_each:
            self._sync_record()
        is_full = tail.size >= tail.segment_bytes_max
        if is_full:
            self._rotate()
        if not self._is_synced_each:
            tail.limit = tail.next_limit()
            self._durability.wake()

    def _rotate(self) -> None:
        tail = self._tail
        try:
            tail.rotate(tail.next_seq)
            if self._is_synced_each:
                # The records to come are only as durable as the new segment's name.
                sync_folder(tail.folder.path)
                self._durability.wake()  # closes the old segment
        except OSError:
            tail.faults += 1  # go on in the old one, which may grow, and try again later

    def _sync_record(self) -> None:
        tail = self._tail
        if tail.segment.is_distrusted:
            return  # the thread replaces it, with pauses: not every call must pay for trying
        try:
            tail.files.datasync(tail.segment.fd)
        except OSError:
            tail.faults += 1
            try:
                tail.replace_segment()
                tail.files.datasync(tail.segment.fd)
            except OSError as error:
                tail.segment.is_distrusted = True
                self._syncer.count(error)
                self._durability.wake()
                return
        tail.segment.synced_bytes = tail.size
