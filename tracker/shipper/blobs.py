"""Which staged files must be in the store before records that name them may be sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tracker.events.errors import TrackerError
from tracker.events.types import EventType
from tracker.spool.chunks import Chunk
from tracker.spool.staging import staged_files

# What is sent before the records that name it are; so small files never wait for large ones.
ROUND_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob that a record names. `path`: where it is staged; None when it is not."""

    seq: int
    digest: str
    size: int
    path: Path | None


@dataclass(slots=True)
class Round:
    """The blobs of one chunk, up to as many bytes as are uploaded at once."""

    blobs: list[NamedBlob] = field(default_factory=list)
    records: int | None = None  # when the chunk names more than a round takes: how many fit

    @property
    def bytes(self) -> int:
        return sum(blob.size for blob in self.blobs)


class LostBlob(TrackerError):
    """A staged file cannot be uploaded, ever."""


def round_of(chunk: Chunk, writer_folder: Path) -> Round:
    """What must be in the store before this chunk may be sent."""
    found, staged = Round(), staged_files(writer_folder)
    size = 0
    for spooled in chunk.events:
        data = spooled.event.data
        digest = data.get("digest")
        if spooled.event.type != EventType.ARTIFACT_LOGGED or not isinstance(digest, str):
            continue
        paths = staged.get(digest)
        blob = NamedBlob(
            spooled.seq, digest, int(data.get("size") or 0), (paths and paths[0]) or None
        )
        size += blob.size
        if found.blobs and size > ROUND_BYTES_MAX:
            found.records = blob.seq - chunk.first_seq
            break
        found.blobs.append(blob)
    return found
