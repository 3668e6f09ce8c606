"""What verify reports: each thing that is off, and what was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

# More than these are counted, not listed: one lost file would list a million.
FINDINGS_LISTED_MAX: Final = 1_000


class Fault(StrEnum):
    ARCHIVE_DAMAGED = "archive_damaged"
    MISSING_POSITIONS = "missing_positions"
    OVERLAPPING_POSITIONS = "overlapping_positions"
    PAYLOAD_CHANGED = "payload_changed"
    PAYLOAD_UNREADABLE = "payload_unreadable"
    CHAIN_BROKEN = "chain_broken"
    HEAD_WRONG = "head_wrong"
    MISSING_SEQUENCES = "missing_sequences"
    REPEATED_SEQUENCES = "repeated_sequences"
    EPOCH_FELL = "epoch_fell"
    WRITER_MOVED = "writer_moved"
    WRITER_TABLE_WRONG = "writer_table_wrong"
    PROJECTION_AHEAD = "projection_ahead"
    PROJECTION_UNREADABLE = "projection_unreadable"
    PROJECTION_CANNOT_BE_REBUILT = "projection_cannot_be_rebuilt"
    PROJECTION_ROW_WRONG = "projection_row_wrong"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is off. `position` is where in the log, or None."""

    fault: Fault
    position: int | None
    message: str


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """`done` of `total` in the unit of the stage: positions."""

    stage: str
    done: int
    total: int


OnProgress = Callable[[VerifyProgress], None]


@dataclass(slots=True)
class ProjectionProof:
    """A serving build, and the hashes of its tables as they are."""

    name: str
    version: int
    position: int
    rows: int
    hashes: dict[str, str]


@dataclass(slots=True)
class VerifyReport:
    """`head` is the position up to which the log was proved; `chain` its value there."""

    head: int = 0
    chain: str = ""
    batches: int = 0
    events: int = 0
    points: int = 0
    dropped: int = 0
    writers: int = 0
    projections: list[ProjectionProof] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    findings_count: int = 0

    @property
    def is_clean(self) -> bool:
        return self.findings_count == 0

    def add(self, fault: Fault, message: str, *, position: int | None = None) -> None:
        self.findings_count += 1
        if len(self.findings) < FINDINGS_LISTED_MAX:
            self.findings.append(Finding(fault, position, message))
