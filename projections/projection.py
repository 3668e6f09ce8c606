"""What a projection is: a named, versioned fold of the log with a checkpoint of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from projections.columns import Columns
from projections.log import StoredBatch
from tracker.events.errors import TrackerError

DecodedBatch = tuple[StoredBatch, Columns]
"""A batch of the log and what its payload says. Shared by all projections: read only."""


class CheckpointMoved(TrackerError):
    """Somebody else wrote this projection's file since; nothing was written."""


class ProjectionStoreFailed(TrackerError):
    """The projection's file cannot be written now (disk full, I/O error); nothing was."""


class StoreAway(ProjectionStoreFailed):
    """The database does not answer now; what it holds is as it was."""


class Projection(Protocol):
    """Folds the log into rows that can be thrown away and made again.

    What is stored after position p depends on the log up to p and on nothing else: not
    on how it was cut into calls of `apply`, not on the clock, not on restarts. That is
    what lets `verify` compare a live projection with a rebuilt one, row for row.

    An object is made, used and closed in one thread: that of the projection runner, or
    of a rebuild. Its methods may block that thread. Readers use connections of their own.
    """

    @property
    def name(self) -> str:
        """`runs` or `series`."""
        ...

    @property
    def version(self) -> int:
        """Raised when schema or fold change meaning; another version is another file."""
        ...

    async def position(self) -> int:
        """The checkpoint: everything up to here is folded and committed. 0 in a new file."""
        ...

    async def apply(self, batches: Sequence[DecodedBatch]) -> None:
        """Fold consecutive batches; commit rows and checkpoint in one transaction.

        The checkpoint is moved by compare-and-set and ends at the last batch's last
        position. Batches at or below it are skipped, so a repeated call changes nothing.
        A batch whose columns hold nothing (`Columns(n, (), (), ())`) stands for one that
        could not be folded: it only moves the checkpoint. When it raises, nothing was
        changed: ProjectionStoreFailed and CheckpointMoved are about the file, anything
        else about a batch.
        """
        ...

    async def state_hash(self) -> Mapping[str, str]:
        """A SHA-256 in hex per table, over its rows in order of their primary keys."""
        ...

    async def aclose(self) -> None: ...
