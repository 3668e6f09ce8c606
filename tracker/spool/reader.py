"""Reading a spool: every good record once and in order, whatever happened to the file.

A record counts if its length, its crc and its sequence fit (see framing). What does not
is one of these:

    not all there, at the end of a segment that may still grow     wait
    not all there, at the end of the last segment of a dead writer a torn tail: cut off
    bad, and a good record follows somewhere                       lost up to that record
    bad or missing, and a later segment exists                     lost up to that segment
    of a sequence that was read before                             skipped

Lost ranges become part of the chunk, so that the server's sequence stays dense and the
loss is on record; the bytes go to quarantine. Nothing a file contains makes this raise:
only the operating system's own refusals (OSError) come through.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from tracker.events.limits import INT64_MAX, INT64_MIN, RECORD_BYTES_MAX
from tracker.events.types import Event
from tracker.spool import framing
from tracker.spool.chunks import Chunk, MetricRows, SpooledEvent
from tracker.spool.folder import SegmentFile, WriterFolder
from tracker.spool.quarantine import Keeper, Quarantine

HEADER_BYTES: Final = framing.SEGMENT_HEADER.size
READ_BYTES: Final = 4 * 1024 * 1024
_FRAME_BYTES: Final = framing.FRAME.size
_RECORD_BYTES_MIN: Final = framing.RECORD_HEADER.size
# kind, k and n of a plausible record: metrics and events stand for one number each.
_PLAUSIBLE: Final = re.compile(rb"(?s)(?:[\x01\x02]\x00..\x01\x00\x00\x00|\x03\x00\x00\x00)")
_JUMP_MAX: Final = 2**40


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """When a chunk is full. One record more than a limit may be in it, never more."""

    records: int = 16_384
    points: int = 100_000
    spool_bytes: int = 4 * 1024 * 1024


DEFAULT_LIMITS: Final = ChunkLimits()


class SpoolReader:
    """Reads one writer's segments from `next_seq` on. Not thread-safe.

    Segments may be unlinked below the cursor and replaced by a rewritten file with the
    same beginning; both are fine, as every read opens the file anew.
    """

    def __init__(
        self, folder: WriterFolder, *, next_seq: int, quarantine: Keeper | None = None
    ) -> None:
        self._folder = folder
        self._quarantine = quarantine or Quarantine(folder.quarantine)
        self._segment: SegmentFile | None = None
        self._offset = HEADER_BYTES
        self.next_seq = next_seq

    def rewind(self, next_seq: int) -> None:
        """Read from another sequence number on, also from an earlier one if it is still there."""
        self._segment = None
        self._offset = HEADER_BYTES
        self.next_seq = next_seq

    def read(self, *, is_final: bool, limits: ChunkLimits = DEFAULT_LIMITS) -> Chunk | None:
        """The next records, or None if there are none now.

        `is_final` says that the writer is gone, so that a torn end will never be completed.
        """
        chunk = Chunk(self.next_seq, self.next_seq)
        while True:
            segments = self._folder.segments()
            if not self._locate(segments, chunk):
                break
            assert self._segment is not None
            later = next((s for s in segments if s.first_seq > self._segment.first_seq), None)
            chunk.is_full = self._read_segment(chunk, limits, later=later, is_final=is_final)
            if chunk.is_full or later is None:
                break
            self._segment, self._offset = later, HEADER_BYTES
        self.next_seq = chunk.next_seq
        return chunk if chunk.n else None

    def _locate(self, segments: list[SegmentFile], chunk: Chunk) -> bool:
        """Set the cursor to the segment that holds the next sequence number."""
        if self._segment in segments:
            return True
        # None yet; or it is gone: unlinked by another shipper, or given up by its writer, which
        # then goes on in the one before.
        if not segments:
            return False
        holding = [s for s in segments if s.first_seq <= chunk.next_seq]
        if holding:
            self._segment = holding[-1]
        else:
            self._segment = segments[0]
            chunk.lose(
                width=self._segment.first_seq - chunk.next_seq,
                time_us=_now_us(),
                reason="the records were not in the spool any more",
            )
        self._offset = HEADER_BYTES
        return True

    def _read_segment(
        self, chunk: Chunk, limits: ChunkLimits, *, later: SegmentFile | None, is_final: bool
    ) -> bool:
        """Take what the current segment has; True if the chunk is full."""
        assert self._segment is not None
        path = self._segment.path
        is_sealed = later is not None or is_final
        size = READ_BYTES
        while True:
            try:
                data = _read_at(path, self._offset, size)
            except FileNotFoundError:
                data = b""
            end, is_full = _take_records(data, chunk, limits)
            self._offset += end
            if is_full:
                return True
            rest = data[end:]
            if len(data) == size:
                # More is there: go on, with a larger buffer if one record fills this one.
                size = READ_BYTES if end else 2 * size
                if size <= 2 * RECORD_BYTES_MAX + READ_BYTES:
                    continue
            if not rest and not (later and later.first_seq > chunk.next_seq):
                return False
            if not self._skip_bad(rest, chunk, later=later, is_sealed=is_sealed):
                return False
            size = READ_BYTES

    def _skip_bad(
        self, rest: bytes, chunk: Chunk, *, later: SegmentFile | None, is_sealed: bool
    ) -> bool:
        """Go past what is no record; True if reading goes on in this segment."""
        assert self._segment is not None
        most = later.first_seq if later else chunk.next_seq + _JUMP_MAX
        found = _find_record(rest, least=chunk.next_seq, most=most)
        if found is not None:
            offset, seq = found
            self._set_aside(rest[:offset], chunk, width=seq - chunk.next_seq)
            self._offset += offset
            return True
        if not is_sealed:
            return False
        if later is not None:
            self._set_aside(rest, chunk, width=later.first_seq - chunk.next_seq)
        elif rest:
            self._set_aside(rest, chunk, width=_whole_bad_records(rest, chunk.next_seq))
        self._offset += len(rest)
        return False

    def _set_aside(self, data: bytes, chunk: Chunk, *, width: int) -> None:
        assert self._segment is not None
        reason = "corrupt in the spool" if data else "missing in the spool"
        self._quarantine.keep(
            data,
            segment=self._segment.path.name,
            offset=self._offset,
            first_seq=chunk.next_seq,
            width=width,
            reason=reason,
        )
        chunk.lose(width=width, time_us=_now_us(), reason=reason)


def _take_records(data: bytes, chunk: Chunk, limits: ChunkLimits) -> tuple[int, bool]:
    """Take good records from the start of `data`: (bytes taken, whether the chunk is full).

    This loop is what bounds how fast a spool drains; one turn is about a microsecond.
    """
    view = memoryview(data)
    unpack = framing.RECORD_HEADER.unpack_from
    groups = chunk.metrics
    offset, size = 0, len(data)
    expected, running = chunk.next_seq, chunk.records_crc
    records, points = chunk.records, chunk.points
    bytes_max = limits.spool_bytes - chunk.spool_bytes
    is_full = False
    while size - offset >= _RECORD_BYTES_MIN:
        if records >= limits.records or points >= limits.points or offset >= bytes_max:
            is_full = True
            break
        length, crc, kind, k, n, seq = unpack(data, offset)
        body = offset + _FRAME_BYTES
        end = body + length
        if length > RECORD_BYTES_MAX or end > size or crc32(view[body:end]) != crc:
            break
        if seq != expected:
            if seq + n <= expected:
                offset = end
                continue
            break
        if kind == framing.KIND_METRICS:
            row_end = offset + 40 + 8 * k
            if n != 1 or k == 0 or row_end >= end:
                break
            key_block = data[row_end:end]
            group = groups.get((key_block, k))
            if group is None:
                group = groups[key_block, k] = MetricRows(key_block, k)
            group.rows += view[offset + 16 : row_end]
            points += k
        else:
            chunk.next_seq = expected
            if not _take_other(kind, n, data[offset + _RECORD_BYTES_MIN : end], chunk):
                break
        running = crc32(view[offset + 4 : body], running)
        records += 1
        expected += n
        offset = end
    chunk.next_seq, chunk.records_crc, chunk.records = expected, running, records
    chunk.spool_bytes += offset
    return offset, is_full


def _take_other(kind: int, n: int, payload: bytes, chunk: Chunk) -> bool:
    """Take an event or a dropped record at chunk.next_seq; False if it is neither."""
    try:
        row = json.loads(payload)
        if kind == framing.KIND_EVENT and n == 1:
            event_type, version, time_us, data = row
            if not _is_event(event_type, version, time_us, data):
                return False
            chunk.events.append(
                SpooledEvent(chunk.next_seq, Event(event_type, time_us, data, version))
            )
            return True
        if kind == framing.KIND_DROPPED and n >= 1:
            time_us, reason = row
            if not (_is_int64(time_us) and isinstance(reason, str)):
                return False
            before = chunk.next_seq, chunk.records_crc
            chunk.lose(width=n, time_us=time_us, reason=reason)
            chunk.next_seq, chunk.records_crc = before
            return True
    except (ValueError, TypeError, RecursionError):
        return False
    return False


def _is_event(event_type: object, version: object, time_us: object, data: object) -> bool:
    is_named = isinstance(event_type, str) and _is_int64(version)
    return is_named and _is_int64(time_us) and isinstance(data, dict)


def _is_int64(value: object) -> bool:
    return type(value) is int and INT64_MIN <= value <= INT64_MAX


def _find_record(data: bytes, *, least: int, most: int) -> tuple[int, int] | None:
    """(offset, seq) of the first good record in `data` whose sequence is in [least, most)."""
    view = memoryview(data)
    for match in _PLAUSIBLE.finditer(data, _FRAME_BYTES):
        offset = match.start() - _FRAME_BYTES
        if offset + _RECORD_BYTES_MIN > len(data):
            return None
        length, crc, _, _, _, seq = framing.RECORD_HEADER.unpack_from(data, offset)
        end = offset + _FRAME_BYTES + length
        if not least <= seq < most or end > len(data) or seq > INT64_MAX:
            continue
        if crc32(view[offset + _FRAME_BYTES : end]) == crc and _is_sound(data[offset:end]):
            return offset, seq
    return None


def _is_sound(record: bytes) -> bool:
    """Whether a record with a good crc is one that _take_records would take."""
    _, _, kind, k, n, seq = framing.RECORD_HEADER.unpack_from(record)
    if kind == framing.KIND_METRICS:
        return bool(n == 1 and k > 0 and 40 + 8 * k < len(record))
    return _take_other(kind, n, record[_RECORD_BYTES_MIN:], Chunk(seq, seq))


def end_of_records(data: bytes) -> int:
    """Where the last good record in `data` ends, whatever lies before it; 0 if there is none."""
    view = memoryview(data)
    end = offset = 0
    while len(data) - offset >= _RECORD_BYTES_MIN:
        length, crc, *_ = framing.RECORD_HEADER.unpack_from(data, offset)
        body, stop = offset + _FRAME_BYTES, offset + _FRAME_BYTES + length
        is_good = framing.BODY.size <= length <= RECORD_BYTES_MAX and stop <= len(data)
        if is_good and crc32(view[body:stop]) == crc:
            end = offset = stop
            continue
        found = _find_record(data[offset:], least=1, most=INT64_MAX)
        if found is None:
            break
        offset += found[0]
    return end


def _whole_bad_records(data: bytes, expected: int) -> int:
    """1 if the end of a spool is one whole record with a bad checksum, 0 if it is torn."""
    if len(data) < _RECORD_BYTES_MIN:
        return 0
    length, _, kind, _, _, seq = framing.RECORD_HEADER.unpack_from(data)
    is_whole = _FRAME_BYTES + length == len(data)
    return 1 if is_whole and (seq == expected or kind in (1, 2)) else 0


def _read_at(path: Path, offset: int, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def _now_us() -> int:
    return time.time_ns() // 1000
