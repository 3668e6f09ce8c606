"""Segment files from the writer's side: making, checking, rewriting and closing them.

Rewriting answers an EIO. Linux marks pages clean after a failed fsync, so a second fsync
of that file succeeds and proves nothing; the only way to make the records durable is to
write them into another file. The new file takes the old one's name by one rename, so a
reader meets either the one or the other, and both begin with the same bytes: offsets
into the old one hold in the new one. The old one stays as `.abandoned-N`, which also
keeps its bad blocks from being given out again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

from tracker.events.limits import RECORD_BYTES_MAX
from tracker.spool import framing
from tracker.spool.files import FileCalls, write_all
from tracker.spool.folder import WriterFolder
from tracker.spool.meta import WriterMeta

HEADER_BYTES: Final = framing.SEGMENT_HEADER.size
_OPEN_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT
_ABANDONED_MAX: Final = 1000


class OpenSegment:
    """A segment being written, or sealed and waiting for its last datasync."""

    __slots__ = ("fd", "first_seq", "is_distrusted", "path", "synced_bytes")

    def __init__(self, fd: int, path: Path, first_seq: int) -> None:
        self.fd = fd
        self.path = path
        self.first_seq = first_seq
        self.synced_bytes = 0
        # After a failed sync: another sync of this file would succeed and prove nothing.
        self.is_distrusted = False

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):  # somebody closed our descriptor; there is nothing left to do
                os.close(fd)


def create_segment(
    files: FileCalls, folder: WriterFolder, meta: WriterMeta, first_seq: int
) -> OpenSegment:
    """A new segment; it gets its name when it has its header."""
    path = folder.segment(first_seq)
    new_path = path.with_suffix(".new")
    fd = files.open(new_path, _OPEN_FLAGS | os.O_TRUNC)
    try:
        write_all(files, fd, framing.segment_header(meta.writer_id, meta.epoch, first_seq))
        new_path.rename(path)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            new_path.unlink(missing_ok=True)
        raise
    return OpenSegment(fd, path, first_seq)


def rewrite_segment(
    files: FileCalls, meta: WriterMeta, old: OpenSegment
) -> tuple[OpenSegment, int, int]:
    """Write the good records of `old` into a file that takes its name.

    Returns the new segment, its size in bytes and the sequence number after its last
    record. `old` stays open. Raises OSError when the disk refuses the new file too.
    """
    header = framing.segment_header(meta.writer_id, meta.epoch, old.first_seq)
    records = _read_records(old)
    good, next_seq = _good_part(records, old.first_seq)
    new_path = old.path.with_suffix(".rewriting")
    fd = files.open(new_path, _OPEN_FLAGS | os.O_TRUNC)
    try:
        write_all(files, fd, header + records[:good])
        _keep_abandoned(old.path)
        new_path.replace(old.path)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            new_path.unlink(missing_ok=True)
        raise
    return OpenSegment(fd, old.path, old.first_seq), HEADER_BYTES + good, next_seq


def segment_from_reserve(
    files: FileCalls, folder: WriterFolder, meta: WriterMeta, *, first_seq: int, records: bytes
) -> tuple[OpenSegment, int]:
    """Turn the reserve file, whose blocks the disk has already given, into a segment.

    Nothing has to be allocated, so this works on a full disk. Returns the segment and
    its size. Raises OSError, also when the reserve has been used before.
    """
    content = framing.segment_header(meta.writer_id, meta.epoch, first_seq) + records
    reserve = files.open(folder.reserve, os.O_RDWR)
    try:
        write_all(files, reserve, content)
        os.ftruncate(reserve, len(content))
    finally:
        os.close(reserve)
    path = folder.segment(first_seq)
    folder.reserve.rename(path)
    return OpenSegment(files.open(path, _OPEN_FLAGS), path, first_seq), len(content)


def records_in(data: bytes, first_seq: int) -> Iterator[tuple[int, int]]:
    """(end offset, next sequence number) of each good record, up to the first bad one."""
    offset, expected = 0, first_seq
    while offset + framing.RECORD_HEADER.size <= len(data):
        length, crc, _, _, n, seq = framing.RECORD_HEADER.unpack_from(data, offset)
        end = offset + framing.FRAME.size + length
        if length > RECORD_BYTES_MAX or end > len(data) or seq != expected or n == 0:
            return
        if crc32(data[offset + framing.FRAME.size : end]) != crc:
            return
        offset, expected = end, expected + n
        yield offset, expected


def _good_part(records: bytes, first_seq: int) -> tuple[int, int]:
    end, next_seq = 0, first_seq
    for end, next_seq in records_in(records, first_seq):  # noqa: B007 the last ones are meant
        pass
    return end, next_seq


def _read_records(segment: OpenSegment) -> bytes:
    """From the descriptor, or by name if that was closed under us."""
    try:
        size = os.fstat(segment.fd).st_size
        return os.pread(segment.fd, size, HEADER_BYTES)
    except OSError:
        return segment.path.read_bytes()[HEADER_BYTES:]


def _keep_abandoned(path: Path) -> None:
    for number in range(1, _ABANDONED_MAX):
        try:
            os.link(path, path.with_name(f"{path.name}.abandoned-{number}"))
        except FileExistsError:
            continue
        except OSError:
            return  # no hard links here, or no room: then the old file just goes
        return
