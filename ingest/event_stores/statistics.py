"""What whoever commits counts of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

COMMIT_S_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
GROUP_SIZE_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(slots=True)
class CommitStatistics:
    """Written by who commits, read by whoever reports; single numbers, no lock."""

    groups: int = 0
    batches: int = 0
    failures: int = 0
    commit_s_total: float = 0.0
    commit_s_last: float = 0.0
    checkpoints: int = 0
    group_size_counts: dict[float, int] = field(default_factory=dict)
    commit_s_counts: dict[float, int] = field(default_factory=dict)

    def count(self, batches: int, commit_s: float) -> None:
        """One transaction of this many batches was committed."""
        self.groups += 1
        self.batches += batches
        self.commit_s_total += commit_s
        self.commit_s_last = commit_s
        # An import's group may be larger than any of appends.
        size_bucket = next((b for b in GROUP_SIZE_BUCKETS if batches <= b), float("inf"))
        self.group_size_counts[size_bucket] = self.group_size_counts.get(size_bucket, 0) + 1
        time_bucket = next((b for b in COMMIT_S_BUCKETS if commit_s <= b), float("inf"))
        self.commit_s_counts[time_bucket] = self.commit_s_counts.get(time_bucket, 0) + 1


@runtime_checkable
class Measured(Protocol):
    """A store that commits in groups."""

    @property
    def statistics(self) -> CommitStatistics: ...

    @property
    def queue_length(self) -> int: ...
