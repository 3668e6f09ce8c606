"""The ledger of garbage collection, and the rule that keeps a wanted blob.

Removing a blob takes two steps, days apart. Condemning makes a note beside the blob; the blob
stays and can be read. Whoever is told "present, you need not send it" of a condemned blob
relies on it from then on, so that answer takes the note back. Both sides may act at once, on
different machines, and there is no lock that folders and S3 have in common. Hence notes of
three kinds, and an order of steps:

    collector                                  whoever answers "present"
    1. write removing                          1. read condemned; none: done
    2. read wanted: cancel if it is there      2. write wanted
    3. read condemned: cancel if it is gone    3. read removing: if there, answer busy
    4. remove the blob                         4. remove condemned, then wanted
    5. remove condemned, then removing

Each side writes before it reads, so at least one of them sees the other. A collector that was
killed leaves `removing` behind: it counts only while a collector is alive, and the next one
clears it away. That a blob was removed but its notes were not is no harm either: a blob
uploaded since is younger than the undo window and thereby safe.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ingest.blob_uploads import Digest
from ingest.errors import Busy


class Note(StrEnum):
    CONDEMNED = "condemned"
    WANTED = "wanted"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """`time_us` is when its bytes arrived, by the store's clock."""

    digest: Digest
    size: int
    time_us: int


class Ledger(Protocol):
    """Notes about blobs, one of a kind per blob, kept in the store. See the module's theory."""

    def blobs(self) -> AsyncIterator[StoredBlob]:
        """Every blob of the workspace, in no particular order; files of other names are not."""
        ...

    def notes(self, note: Note) -> AsyncIterator[tuple[Digest, int]]:
        """(digest, when it was written by the store's clock) of every note of this kind."""
        ...

    async def has(self, note: Note, digest: Digest) -> bool: ...

    async def write(self, note: Note, digest: Digest) -> None:
        """Writing a note again leaves it as it is, or younger."""
        ...

    async def remove(self, note: Note, digest: Digest) -> None:
        """Removing what is not there is fine."""
        ...

    def collecting(self) -> AbstractAsyncContextManager[None]:
        """Be the collector of this workspace for the block. Raises Busy: there is another."""
        ...

    async def is_collecting(self) -> bool:
        """Whether a collector may be alive."""
        ...


async def keep(ledger: Ledger, digest: Digest) -> None:
    """Take back that `digest` was condemned, before it is called present. Raises Busy."""
    if not await ledger.has(Note.CONDEMNED, digest):
        return
    await ledger.write(Note.WANTED, digest)
    if await ledger.has(Note.REMOVING, digest) and await ledger.is_collecting():
        raise Busy(f"blob {digest} is being removed just now; try again", retry_after_s=1.0)
    await ledger.remove(Note.CONDEMNED, digest)
    await ledger.remove(Note.WANTED, digest)
