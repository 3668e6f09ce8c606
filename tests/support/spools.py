"""A second, strict reading of spool segments, and a disk that fails on command."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from tracker.spool.files import OS_FILES, FileCalls
from tracker.spool.folder import SpoolRoot, WriterFolder
from tracker.spool.framing import KIND_METRICS
from tracker.spool.meta import WriterMeta
from tracker.spool.writer import SpoolWriter

WRITER_ID = "0123456789abcdef0123456789abcdef"
NOW_US = 1_700_000_000_000_000


@dataclass(frozen=True)
class Record:
    seq: int
    kind: int
    n: int
    payload: bytes
    k: int = 0

    @property
    def step(self) -> int:
        assert self.kind == KIND_METRICS
        return int(struct.unpack_from("<q", self.payload)[0])

    @property
    def values(self) -> tuple[float, ...]:
        return struct.unpack_from(f"<{self.k}d", self.payload, 16)

    @property
    def keys(self) -> list[str]:
        return self.payload[16 + 8 * self.k :].decode().split("\0")

    @property
    def row(self) -> Any:
        return json.loads(self.payload)


def meta_for_tests(run_id: str = "run-1", **fields: Any) -> WriterMeta:
    return WriterMeta(writer_id=WRITER_ID, run_id=run_id, **fields)


def writer_in(path: Path, **options: Any) -> SpoolWriter:
    """A new writer of the spool in `path`; `options` are those of `SpoolWriter.create`."""
    return SpoolWriter.create(SpoolRoot(path / "spool"), meta_for_tests(), **options)


def read_strictly(folder: WriterFolder, *, may_be_torn: bool = False) -> list[Record]:
    """Every record of every segment; fails unless the sequence is dense and every byte good.

    With may_be_torn the last segment may end in the middle of a record.
    """
    records: list[Record] = []
    expected: int | None = None
    segments = folder.segments()
    for segment in segments:
        data = segment.path.read_bytes()
        magic, writer, _, first_seq, crc = struct.unpack_from("<8s32sIQI", data)
        assert magic == b"TRKSPL01"
        assert writer.decode() == folder.writer_id
        assert crc == crc32(data[:52])
        assert first_seq == segment.first_seq
        assert expected in (None, first_seq)
        expected, offset = first_seq, 56
        while offset < len(data):
            if may_be_torn and segment is segments[-1] and len(data) - offset < 24:
                return records
            length, crc, kind, k, n, seq = struct.unpack_from("<IIHHIQ", data, offset)
            end = offset + 8 + length
            if may_be_torn and segment is segments[-1] and end > len(data):
                return records
            assert crc == crc32(data[offset + 8 : end])
            assert seq == expected
            records.append(Record(seq, kind, n, data[offset + 24 : end], k))
            expected, offset = seq + n, end
    return records


@dataclass
class FailingDisk:
    """A FileCalls that works, until told: `fail_write` and `fail_sync` say how, per call."""

    fail_write: Callable[[int, bytes], int | None] = lambda fd, data: None
    fail_sync: Callable[[int], None] = lambda fd: None
    fail_open: Callable[[Path], None] = lambda path: None
    synced: list[int] = field(default_factory=list)

    @property
    def files(self) -> FileCalls:
        return FileCalls(write=self._write, datasync=self._sync, open=self._open)

    def _write(self, fd: int, data: bytes) -> int:
        written = self.fail_write(fd, data) if fd >= 0 else None
        return os.write(fd, data) if written is None else written

    def _sync(self, fd: int) -> None:
        self.fail_sync(fd)
        self.synced.append(fd)
        OS_FILES.datasync(fd)

    def _open(self, path: Path, flags: int) -> int:
        self.fail_open(path)
        return OS_FILES.open(path, flags)


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def full_after(bytes_max: int, disk_bytes: list[int]) -> Callable[[int, bytes], int | None]:
    """A disk of `bytes_max` bytes: the write that crosses it is short, the next ones refused.

    `disk_bytes[0]` is what has been written; a test makes room by lowering it.
    """

    def write(fd: int, data: bytes) -> int | None:
        room = bytes_max - disk_bytes[0]
        if room <= 0:
            raise refuse(errno.ENOSPC)
        taken = min(room, len(data))
        disk_bytes[0] += taken
        return os.write(fd, data[:taken])

    return write
