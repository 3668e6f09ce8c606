"""A chunk: what a reader takes from a spool at once, already regrouped by key.

Metric rows are gathered as the raw bytes they have in the segment, one bytearray per set
of keys, so that a shipper turns them into columns without unpacking a single record.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from tracker.events.types import Event
from tracker.spool.framing import KEY_SEPARATOR, ROW_PREFIX_BYTES

_CRC: Final = struct.Struct("<I")


@dataclass(slots=True)
class MetricRows:
    """Records that logged the same keys: rows of (seq, step, time_us, value × k)."""

    key_block: bytes
    k: int
    rows: bytearray = field(default_factory=bytearray)

    @property
    def keys(self) -> list[str]:
        return self.key_block.decode("utf-8", "backslashreplace").split(KEY_SEPARATOR.decode())

    @property
    def n(self) -> int:
        return len(self.rows) // (ROW_PREFIX_BYTES + 8 * self.k)


@dataclass(frozen=True, slots=True)
class SpooledEvent:
    seq: int
    event: Event


@dataclass(frozen=True, slots=True)
class LostRange:
    """Sequence numbers first_seq … first_seq + width - 1, whose records are gone, and why."""

    first_seq: int
    width: int
    time_us: int
    reason: str


@dataclass(slots=True)
class Chunk:
    """Consecutive sequence numbers first_seq … next_seq - 1 of one writer."""

    first_seq: int
    next_seq: int
    metrics: dict[tuple[bytes, int], MetricRows] = field(default_factory=dict)
    events: list[SpooledEvent] = field(default_factory=list)
    lost: list[LostRange] = field(default_factory=list)
    records_crc: int = 0
    records: int = 0
    spool_bytes: int = 0
    is_full: bool = False  # a limit ended it: there is more to read at once

    @property
    def n(self) -> int:
        return self.next_seq - self.first_seq

    @property
    def points(self) -> int:
        return sum(group.n * group.k for group in self.metrics.values())

    @property
    def last_time_us(self) -> int:
        """The time of the last event taken, for ranges that have none of their own."""
        return self.events[-1].event.time_us if self.events else 0

    def lose(self, *, width: int, time_us: int, reason: str) -> None:
        """Let the next `width` sequence numbers be known as lost."""
        if width <= 0:
            return
        text = f"{self.next_seq}:{width}".encode()
        self.lost.append(LostRange(self.next_seq, width, time_us, reason))
        self.records_crc = crc32(_CRC.pack(crc32(text)), self.records_crc)
        self.next_seq += width
