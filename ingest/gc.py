"""Garbage collection of artifact stores: condemn what nobody refers to, later remove it.

One collection of a workspace looks at every blob once:

    referred to (any workspace's trees, this machine's spool)    a condemnation is taken back
    uploaded within the undo window                              left alone
    not condemned yet                                            condemned, with the time
    condemned for less than the undo window                      waits; can be undone
    condemned for longer                                         removed

What is removed was therefore condemned by an earlier collection. References are asked for
again right before. The steps that keep this right while servers take uploads, and when a
collector is killed between any two of them, are those of `artifact_stores.ledger`. What a
spool on another machine refers to is no reference here: that spool holds the bytes itself,
and sends them again when they are missing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ingest.artifact_stores.base import ArtifactStore
from ingest.artifact_stores.ledger import Ledger, Note, StoredBlob
from ingest.artifact_stores.together import together
from ingest.blob_uploads import Digest
from ingest.gc_references import References

UNDO_WINDOW_S: Final = 7 * 24 * 3600.0
DIGESTS_NAMED_MAX: Final = 1000
_BLOBS_A_STEP: Final = 500
_REMOVED_A_STEP: Final = 50
_AT_ONCE: Final = 8
# Who said that he wants a blob has taken its note back by then, or has died.
_WANTED_US_MAX: Final = 3600 * 1_000_000
# A removal that stood still for longer is given up: others may have gone on meanwhile.
_REMOVAL_S_MAX: Final = 60.0

Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Tally:
    """How many blobs, how many bytes, and the names of the first."""

    blobs: int = 0
    bytes: int = 0
    digests: list[str] = field(default_factory=list)

    def add(self, blob: StoredBlob, *, is_named: bool = False) -> None:
        self.blobs += 1
        self.bytes += blob.size
        if is_named and len(self.digests) < DIGESTS_NAMED_MAX:
            self.digests.append(blob.digest)


@dataclass(slots=True)
class GcReport:
    """What a collection found and did; of a dry run, what it would have done."""

    workspaces: list[str] = field(default_factory=list)
    is_dry_run: bool = False
    stored: Tally = field(default_factory=Tally)
    referred: Tally = field(default_factory=Tally)
    young: Tally = field(default_factory=Tally)
    condemned: Tally = field(default_factory=Tally)
    waiting: Tally = field(default_factory=Tally)
    restored: Tally = field(default_factory=Tally)
    removed: Tally = field(default_factory=Tally)
    spared: Tally = field(default_factory=Tally)  # wanted again just before their removal


@dataclass(frozen=True, slots=True)
class GcPlan:
    undo_window_s: float = UNDO_WINDOW_S
    is_dry_run: bool = False
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000

    @property
    def undo_window_us(self) -> int:
        return round(self.undo_window_s * 1e6)


async def collect(
    stores: Mapping[str, ArtifactStore],
    references: Sequence[References],
    plan: GcPlan,
    *,
    progress: Progress = lambda stage, done, total: None,
) -> GcReport:
    """Collect in the stores of these workspaces. `references` are those of all workspaces.

    Raises Busy when another collection is under way, and what stores and references raise;
    what was done until then stays done, and the next collection goes on from there.
    """
    report = GcReport(sorted(stores), plan.is_dry_run)
    for store in stores.values():
        collection = _Collection(store, references, plan, report, progress)
        if plan.is_dry_run:
            await collection.run()
        else:
            async with store.ledger.collecting():
                await collection.clear_leftovers()
                await collection.run()
    return report


async def undo(stores: Mapping[str, ArtifactStore]) -> GcReport:
    """Take back every condemnation; what was removed is gone. Raises Busy."""
    report = GcReport(sorted(stores))
    for store in stores.values():
        async with store.ledger.collecting():
            async for digest, _ in store.ledger.notes(Note.CONDEMNED):
                size = await store.stat(digest)
                await store.ledger.remove(Note.CONDEMNED, digest)
                if size is not None:
                    report.restored.add(StoredBlob(digest, size, 0), is_named=True)
    return report


class _Collection:
    """One collection of one workspace's store."""

    def __init__(
        self,
        store: ArtifactStore,
        references: Sequence[References],
        plan: GcPlan,
        report: GcReport,
        progress: Progress,
    ) -> None:
        self._store = store
        self._ledger: Ledger = store.ledger
        self._references = references
        self._plan = plan
        self._report = report
        self._progress = progress

    async def clear_leftovers(self) -> None:
        """Clear what a killed collector, or a killed server, has left half done."""
        async for digest, _ in self._ledger.notes(Note.REMOVING):
            if await self._store.stat(digest) is None:
                await self._ledger.remove(Note.CONDEMNED, digest)
            await self._ledger.remove(Note.REMOVING, digest)
        async for digest, time_us in self._ledger.notes(Note.WANTED):
            if time_us + _WANTED_US_MAX < self._plan.now_us():
                await self._ledger.remove(Note.CONDEMNED, digest)
                await self._ledger.remove(Note.WANTED, digest)

    async def run(self) -> None:
        condemned = {d: time_us async for d, time_us in self._ledger.notes(Note.CONDEMNED)}
        due: list[StoredBlob] = []
        seen = 0
        async for blobs in _in_steps(self._ledger.blobs(), _BLOBS_A_STEP):
            referred = await self._referred([blob.digest for blob in blobs])
            for blob in blobs:
                noted_us = condemned.pop(blob.digest, None)
                await self._judge(blob, noted_us, blob.digest in referred, due)
            seen += len(blobs)
            self._progress("looked at", seen, seen)
        if not self._plan.is_dry_run:
            for digest in condemned:  # their blobs are gone
                if await self._store.stat(digest) is None:
                    await self._ledger.remove(Note.CONDEMNED, digest)
        await self._remove_due(due)

    async def _judge(
        self, blob: StoredBlob, noted_us: int | None, is_referred: bool, due: list[StoredBlob]
    ) -> None:
        report, now_us = self._report, self._plan.now_us()
        report.stored.add(blob)
        is_young = blob.time_us + self._plan.undo_window_us > now_us
        if is_referred or is_young or (noted_us is not None and blob.time_us > noted_us):
            (report.referred if is_referred else report.young).add(blob)
            if noted_us is not None:
                report.restored.add(blob, is_named=True)
                await self._unless_dry(self._ledger.remove, blob.digest)
        elif noted_us is None:
            report.condemned.add(blob, is_named=True)
            await self._unless_dry(self._ledger.write, blob.digest)
        elif noted_us + self._plan.undo_window_us > now_us:
            report.waiting.add(blob)
        else:
            due.append(blob)

    async def _remove_due(self, due: list[StoredBlob]) -> None:
        for at in range(0, len(due), _REMOVED_A_STEP):
            step = due[at : at + _REMOVED_A_STEP]
            # Asked again: since the first look, somebody may have logged it.
            referred = await self._referred([blob.digest for blob in step])
            for blob in step:
                if blob.digest in referred:
                    self._report.spared.add(blob)
                elif self._plan.is_dry_run:
                    self._report.removed.add(blob, is_named=True)
            if not self._plan.is_dry_run:
                doomed = [blob for blob in step if blob.digest not in referred]
                await together(map(self._remove, doomed), at_once=_AT_ONCE)
            self._progress("removed", at + len(step), len(due))

    async def _remove(self, blob: StoredBlob) -> None:
        """The collector's five steps of `artifact_stores.ledger`."""
        ledger, digest, started = self._ledger, blob.digest, time.monotonic()
        await ledger.write(Note.REMOVING, digest)
        is_wanted = await ledger.has(Note.WANTED, digest)
        is_condemned = await ledger.has(Note.CONDEMNED, digest)
        is_late = time.monotonic() - started > _REMOVAL_S_MAX
        if is_wanted or is_late or not is_condemned:
            self._report.spared.add(blob)
        else:
            await self._store.delete(digest)
            await ledger.remove(Note.CONDEMNED, digest)
            self._report.removed.add(blob, is_named=True)
        await ledger.remove(Note.REMOVING, digest)

    async def _referred(self, digests: list[Digest]) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for references in self._references:
            found |= await references.of(digests)
        return found

    async def _unless_dry(
        self, change: Callable[[Note, Digest], Awaitable[None]], digest: Digest
    ) -> None:
        if not self._plan.is_dry_run:
            await change(Note.CONDEMNED, digest)


async def _in_steps(
    blobs: AsyncIterator[StoredBlob], count: int
) -> AsyncIterator[list[StoredBlob]]:
    held: list[StoredBlob] = []
    async for blob in blobs:
        held.append(blob)
        if len(held) >= count:
            yield held
            held = []
    if held:
        yield held
