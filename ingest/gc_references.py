"""Which blobs somebody refers to: the trees of a workspace, and the spools of this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from ingest.blob_uploads import Digest
from projections.columns import decode_payload
from projections.log import EventLogReader
from projections.read_models import RunsReadStore
from projections.runs_store import RunsProjection
from tracker.events.types import EventType
from tracker.spool.acks import read_ack
from tracker.spool.folder import SpoolRoot, WriterFolder
from tracker.spool.quarantine import NullQuarantine
from tracker.spool.reader import SpoolReader
from tracker.spool.staging import staged_files

_BATCHES_A_READ: Final = 256
_BYTES_A_READ: Final = 16 * 1024 * 1024
_SPOOL_KNOWN_S: Final = 5.0

OnFold = Callable[[int, int], None]
"""(position, head) while a log is folded."""


class References(Protocol):
    async def of(self, digests: Sequence[Digest]) -> frozenset[str]:
        """Those of the digests that are referred to now. Raises TrackerError if unknown."""
        ...


class TreeReferences:
    """What the trees of one workspace name: its projection, and the log behind it.

    A projection lags, and a server may append meanwhile. So every question also reads the
    log on from where the projection was at first; what is named there counts, even where
    a later event takes it back.
    """

    def __init__(self, runs: RunsReadStore, log: EventLogReader) -> None:
        self._runs = runs
        self._log = log
        self._read_to: int | None = None
        self._named_since: set[str] = set()

    async def of(self, digests: Sequence[Digest]) -> frozenset[str]:
        if self._read_to is None:
            self._read_to = await self._runs.position()
        found = await self._runs.referred_digests(digests)
        await self._read_on()
        return found | self._named_since.intersection(digests)

    async def _read_on(self) -> None:
        while True:
            batches = await self._log.read(
                after=self._read_to or 0,
                batches_max=_BATCHES_A_READ,
                bytes_max=_BYTES_A_READ,
            )
            if not batches:
                return
            for batch in batches:
                columns = decode_payload(batch.payload, n=batch.n, is_trusted=True)
                for item in columns.events:
                    if item.event.type == EventType.ARTIFACT_LOGGED:
                        self._named_since.add(str(item.event.data.get("digest") or ""))
            self._read_to = batches[-1].last_position


class SpoolReferences:
    """What is staged in the spool of this machine, or named by a record nobody has acked.

    The spool is alive, so it is read again and again; what was staged since the last time
    is not uploaded yet, and is kept when it is.
    """

    def __init__(self, root: Path) -> None:
        self._root = SpoolRoot(root)
        self._known: frozenset[str] = frozenset()
        self._known_until = 0.0

    async def of(self, digests: Sequence[Digest]) -> frozenset[str]:
        if time.monotonic() >= self._known_until:
            self._known = await asyncio.to_thread(self.all)
            self._known_until = time.monotonic() + _SPOOL_KNOWN_S
        return self._known.intersection(digests)

    def all(self) -> frozenset[str]:
        """Every digest the spool refers to. Raises OSError."""
        return frozenset(
            digest for folder in self._root.writer_folders() for digest in _named_by(folder)
        )


def _named_by(folder: WriterFolder) -> Iterator[str]:
    # Records first: a file is staged before its record, and goes after the record is acked.
    reader = SpoolReader(
        folder, next_seq=read_ack(folder.acks).next_seq, quarantine=NullQuarantine()
    )
    while True:
        chunk = reader.read(is_final=False)
        if chunk is None:
            break
        for spooled in chunk.events:
            if spooled.event.type == EventType.ARTIFACT_LOGGED:
                yield str(spooled.event.data.get("digest") or "")
    yield from staged_files(folder.path)


async def fold_log(log: EventLogReader, path: Path, on_fold: OnFold) -> None:
    """Make a runs projection of the whole log in a new file, for a log that has none.

    Raises CorruptPayload for a batch that cannot be read: what it names is unknown then.
    """
    projection = RunsProjection(path)
    try:
        head = (await log.head()).next_position - 1
        position = 0
        while position < head:
            batches = await log.read(
                after=position, batches_max=_BATCHES_A_READ, bytes_max=_BYTES_A_READ
            )
            await projection.apply(
                [(b, decode_payload(b.payload, n=b.n, is_trusted=True)) for b in batches]
            )
            position = batches[-1].last_position
            on_fold(position, head)
    finally:
        await projection.aclose()
