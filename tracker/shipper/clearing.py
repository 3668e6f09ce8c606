"""Clearing up after a delivery: acks on disk, then segments unlinked, in the end the folder.

A segment goes only after the ack that covers it is durable. On a full disk that order
would keep the very bytes whose removal makes room for the ack: there the segments go
first, which is safe because a shipper asks the server where to begin and never an ack.
A copy of a spool is acked but never emptied.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

from tracker.shipper.blobs import NamedBlob
from tracker.spool.acks import destination_hash, write_ack
from tracker.spool.folder import WriterFolder
from tracker.spool.locks import WriterState, writer_state
from tracker.spool.meta import WriterMeta
from tracker.spool.staging import BLOBS_NAME, staged_files

FINISHED_META: Final = "meta.finished.json"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Clearing:
    """Acks and empties one writer's folder, for one destination."""

    def __init__(self, folder: WriterFolder, meta: WriterMeta, *, uri: str) -> None:
        self._folder = folder
        self._meta = meta
        self._destination = destination_hash(uri)
        self._acked_seq = 1
        self._uploaded: list[tuple[int, str]] = []  # (sequence, digest) of records not acked yet

    def take_for(self, meta: WriterMeta) -> None:
        """The folder was deleted under its writer, which has made it again: this is its meta."""
        self._meta = meta

    def note_uploaded(self, blobs: Sequence[NamedBlob]) -> None:
        """These are in the store; their staged files may go when their records are acked."""
        known = {seq for seq, _ in self._uploaded}
        self._uploaded += [(b.seq, b.digest) for b in blobs if b.seq not in known]

    def acknowledge(self, next_seq: int) -> None:
        """Put the ack on disk and unlink what lies fully below it.

        Raises OSError when the disk refuses; the same call may be made again.
        """
        if next_seq <= self._acked_seq:
            return
        try:
            write_ack(self._folder.acks, next_seq=next_seq, destination=self._destination)
        except OSError as error:
            if error.errno not in _NO_ROOM or not self._unlink_below(next_seq):
                raise
            write_ack(self._folder.acks, next_seq=next_seq, destination=self._destination)
        self._acked_seq = next_seq
        self._unlink_below(next_seq)
        self._unstage_below(next_seq)

    def remove_folder(self) -> None:
        """Delete the folder; with evidence in it, keep that and only retire the writer."""
        path = self._folder.path
        if self._folder.quarantine.exists() or self._folder.rejected.exists():
            shutil.rmtree(path / BLOBS_NAME, ignore_errors=True)
            for segment in self._folder.segments():
                segment.path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):  # another shipper of the same spool did it
                self._folder.meta.rename(path / FINISHED_META)
            return
        # Whoever is killed in here leaves a writer that the next shipper takes up and removes:
        # meta and lock, which prove that it is gone, and the acks stay to the last.
        last = (self._folder.meta, self._folder.acks, self._folder.lock)
        for entry in _entries(path):
            if entry in last:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                _unlink(entry)
        for entry in last:
            _unlink(entry)
        for folder in (path, path.parent):  # the run's folder, if this was its last writer
            with suppress(OSError):
                folder.rmdir()

    def _unstage_below(self, next_seq: int) -> None:
        """Each record has a staged file of its own; those of acked records go."""
        due = [entry for entry in self._uploaded if entry[0] < next_seq]
        if not due or writer_state(self._folder, self._meta) is WriterState.FOREIGN:
            return
        self._uploaded = [entry for entry in self._uploaded if entry[0] >= next_seq]
        staged = staged_files(self._folder.path)
        for _, digest in due:
            if staged.get(digest):
                with suppress(OSError):
                    staged[digest].pop().unlink()

    def _unlink_below(self, next_seq: int) -> int:
        """How many segments went. The last one stays: its writer may be in it."""
        if writer_state(self._folder, self._meta) is WriterState.FOREIGN:
            return 0
        unlinked = 0
        for segment, later in pairwise(self._folder.segments()):
            if later.first_seq <= next_seq:
                with suppress(OSError):
                    segment.path.unlink()
                    unlinked += 1
        return unlinked


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except FileNotFoundError:
        return []  # another shipper of the same spool did it


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
