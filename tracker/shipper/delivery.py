"""Delivering one writer: ask where the server stands, send from there, acknowledge, clean up.

    ask next_seq ─▶ read a chunk ─▶ send ─▶ ack on disk ─▶ unlink what lies below ─▶ …
                         │ nothing left, writer gone
                         ▼
                    report closed or dead ─▶ remove the folder

The server's word on next_seq is asked for first and believed always; what it says is below
is never sent again. One batch is outstanding at a time, so a gap can only mean that the
server was set back, and reading goes on from where it says.

The records of an artifact writer name files; those are uploaded before the records that
name them are sent, so what the server's log names is in its store.

A batch that the server refuses for good is halved until the record that it refuses stands
alone; that one goes to `rejected/` with the reason, and a dropped range takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

from tracker.shipper.backoff import Backoff
from tracker.shipper.blobs import LostBlob, round_of
from tracker.shipper.clearing import Clearing
from tracker.shipper.collect import Unencodable, batch_of, readable, refused_chunk
from tracker.shipper.liveness import LOST, Ending, ProcessWatch
from tracker.shipper.state import DeliveryState, DeliveryStatus
from tracker.shipper.transmit import (
    BatchRefused,
    Lease,
    SequenceExpected,
    Transmitter,
    Unreachable,
    WriterRefused,
)
from tracker.shipper.uploads import Uploader
from tracker.spool.chunks import Chunk
from tracker.spool.folder import WriterFolder
from tracker.spool.locks import WriterState, writer_state
from tracker.spool.meta import KIND_ARTIFACTS, MetaUnreadable, WriterMeta, load_meta
from tracker.spool.quarantine import Quarantine
from tracker.spool.reader import DEFAULT_LIMITS, ChunkLimits, SpoolReader

# While data streams, an ack costs a sync of the disk; twice a second is plenty to free space.
ACK_INTERVAL_S: Final = 0.5
# How long a live writer's records gather when nobody rings, and how that grows when idle.
POLL_FIRST_S: Final = 0.1
POLL_LAST_S: Final = 0.2
# A process that ends lets go of its lock some time before it is gone, and on a machine with too
# much to do that takes seconds; how it ended is known soon after.
DYING_WAIT_S: Final = 10.0
ENDING_WAIT_S: Final = 1.0
# `tracker sync` without --watch gives up after these many failures in a row (about 10 s).
ONE_SHOT_TRIES: Final = 6

T = TypeVar("T")

Bell = Callable[[], asyncio.Event]
"""The event that is set when somebody rings next."""


class Delivery:
    """Delivers one writer folder to one server until the writer is gone and all is stored."""

    def __init__(
        self,
        folder: WriterFolder,
        meta: WriterMeta,
        transmitter: Transmitter,
        *,
        bell: Bell,
        slots: asyncio.Semaphore,
        is_one_shot: bool = False,
        ends_lost: bool = False,
    ) -> None:
        self._folder = folder
        self._meta = meta
        self._transmitter = transmitter
        self._bell = bell
        self._slots = slots
        self._is_one_shot = is_one_shot
        self._ends_lost = ends_lost
        self._clearing = Clearing(folder, meta, uri=transmitter.uri)
        self._reader = SpoolReader(folder, next_seq=1)
        self._records_max = DEFAULT_LIMITS.records
        self._backoff = Backoff()
        self._watch = ProcessWatch(meta)
        self._acked_at = 0.0
        self.state = DeliveryState(meta.writer_id, meta.run_id, transmitter.uri)
        self._uploads = (
            Uploader(transmitter, self.state.counts, folder.path, workspace=meta.workspace)
            if meta.kind == KIND_ARTIFACTS
            else None
        )

    @property
    def workspace(self) -> str:
        return self._meta.workspace

    def lease(self) -> Lease | None:
        """The word on a live writer that has said something; None otherwise."""
        if not self.state.is_live or self.state.next_seq == 1:
            return None
        return Lease(self._meta.writer_id, self._meta.run_id, "live")

    async def run(self) -> None:
        """Deliver; return when nothing is left to do here (see state.status)."""
        try:
            await self._until_reached(self._resume)
            await self._deliver()
        except Unreachable as failure:
            self.state.problem = str(failure)  # one shot only; it stays pending
        except WriterRefused as refusal:
            self.state.status, self.state.problem = DeliveryStatus.REFUSED, str(refusal)
        except OSError as error:
            self.state.status = DeliveryStatus.UNREADABLE
            self.state.problem = f"{self._folder.path} cannot be read: {error}"
        except Exception as error:
            # One writer's surprise must not end the delivery of all others; it is shown,
            # reported as undelivered, and tried again later.
            self.state.status = DeliveryStatus.FAILED
            self.state.problem = f"a defect of the shipper: {type(error).__name__}: {error}"
            logging.getLogger(__name__).exception("delivering %s failed", self._folder.path)
        finally:
            self._watch.close()

    async def _deliver(self) -> None:
        poll_s = POLL_FIRST_S
        while self.state.status is DeliveryStatus.PENDING:
            # Taken before the look: a ring during it must not be slept through.
            rung = self._bell()
            before = self.state.next_seq
            if await self._until_reached(self._turn):
                continue
            if self._is_one_shot:
                return
            has_moved = self.state.next_seq != before
            poll_s = POLL_FIRST_S if has_moved else min(POLL_LAST_S, poll_s * 1.5)
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_s):
                    await rung.wait()

    async def _turn(self) -> bool:
        """One look at the writer, and what follows from it; whether to look again at once."""
        # The order matters: what a dead writer has written is complete when it is read.
        liveness = self._look()
        self.state.is_live = liveness is WriterState.LIVE
        is_final = liveness in (WriterState.DEAD, WriterState.REBOOTED) or (
            self._is_one_shot and liveness is WriterState.FOREIGN
        )
        if await self._send_next(is_final=is_final):
            return True
        # The end of what there is. A live writer's next records are left to gather: ten
        # steps in one batch cost half the bytes of ten batches, and a fraction of the work.
        self._acknowledge()
        self.state.is_caught_up = not is_final
        if is_final:
            await self._finish(liveness)
            return True
        if liveness is WriterState.FOREIGN and not self._folder.meta.exists():
            self.state.status = DeliveryStatus.DELIVERED  # by another shipper, which removed it
            return True
        return False

    def _look(self) -> WriterState:
        liveness = writer_state(self._folder, self._meta)
        if liveness is not WriterState.FOREIGN:
            return liveness
        # Deleted under its writer, and made again: then it has another lock, which is noted.
        with suppress(MetaUnreadable):
            meta = load_meta(self._folder.meta)
            if meta.lock_inode != self._meta.lock_inode:
                self._meta = meta
                self._clearing.take_for(meta)
                return writer_state(self._folder, meta)
        return liveness

    async def _resume(self) -> None:
        """Begin where the server stands."""
        self._go_to(await self._expected_seq())

    async def _expected_seq(self) -> int:
        return await self._transmitter.next_seq(
            self._meta.writer_id, workspace=self._meta.workspace
        )

    def _go_to(self, next_seq: int) -> None:
        """Go on where the server says it stands."""
        self._reader.rewind(next_seq)
        self.state.next_seq = next_seq

    async def _send_next(self, *, is_final: bool) -> bool:
        """Read and send one chunk; whether there is, or may be, more to read at once.

        A chunk is held only while a slot is: when the server is away, a hundred waiting
        writers hold nothing, and read again when it is back.
        """
        async with self._slots:
            chunk = self._reader.read(is_final=is_final, limits=self._limits())
            if chunk is None:
                return False
            self.state.is_caught_up = False
            try:
                if (not chunk.lost or await self._is_loss_news(chunk)) and (
                    self._uploads is None or await self._upload_first(chunk)
                ):
                    await self._send(chunk)
            except Unreachable:
                self._reader.rewind(chunk.first_seq)
                raise
        return is_final or self._is_one_shot or chunk.is_full or not self._is_at(chunk.next_seq)

    async def _upload_first(self, chunk: Chunk) -> bool:
        """Bring what the chunk names into the store; False if it is read anew, in part."""
        assert self._uploads is not None
        due = round_of(chunk, self._folder.path)
        if due.records is not None:
            # Less at once, so that what is uploaded first is seen first.
            self._records_max = due.records
            self._reader.rewind(chunk.first_seq)
            return False
        if not due.blobs:
            return True
        try:
            await self._uploads.upload(due.blobs)
        except LostBlob as lost:
            if await self._is_loss_news(chunk):
                await self._narrow(chunk, str(lost))
            return False
        self._clearing.note_uploaded(due.blobs)
        return True

    def _is_at(self, next_seq: int) -> bool:
        return self._reader.next_seq == self.state.next_seq == next_seq

    async def _is_loss_news(self, chunk: Chunk) -> bool:
        """Whether the server still waits for a chunk with a hole in it, or whose file is gone.

        If not, nothing is lost: another shipper has delivered those records and unlinked them,
        or the file, before they were read here.
        """
        expected = await self._expected_seq()
        if expected != chunk.first_seq:
            self._go_to(expected)
        return expected == chunk.first_seq

    async def _send(self, chunk: Chunk) -> None:
        """Send a chunk; it is stored, or reading goes on from where the server says."""
        try:
            batch = batch_of(
                chunk,
                run_id=self._meta.run_id,
                writer_id=self._meta.writer_id,
                epoch=self._meta.epoch,
            )
            next_seq = await self._transmitter.append(batch.body, workspace=self._meta.workspace)
        except SequenceExpected as expected:
            self._go_to(expected.next_seq)
            return
        except (BatchRefused, Unencodable) as refusal:
            await self._narrow(chunk, str(refusal))
            return
        if next_seq != batch.next_seq:  # another shipper was quicker, or the server set back
            self._go_to(next_seq)
        if next_seq < batch.next_seq:
            return
        self.state.next_seq = next_seq
        self._records_max = min(DEFAULT_LIMITS.records, self._records_max * 2)
        self.state.counts.add_batch(batch, spool_bytes=chunk.spool_bytes)
        if time.monotonic() - self._acked_at >= ACK_INTERVAL_S:
            self._acknowledge()

    async def _narrow(self, chunk: Chunk, reason: str) -> None:
        """Find out which record is refused; give it up when it stands alone."""
        if chunk.records > 1:
            self._records_max = max(1, chunk.records // 2)
            self._reader.rewind(chunk.first_seq)
            return
        if chunk.records == 0:
            raise WriterRefused(reason)  # even a bare loss is refused: nothing can go on
        Quarantine(self._folder.rejected).keep(
            readable(chunk), first_seq=chunk.first_seq, width=chunk.n, reason=reason
        )
        given_up = refused_chunk(
            chunk, f"rejected: {reason}"[:2000], time_us=time.time_ns() // 1000
        )
        await self._send(given_up)
        self.state.counts.rejected += chunk.n

    def _limits(self) -> ChunkLimits:
        if self._records_max >= DEFAULT_LIMITS.records:
            return DEFAULT_LIMITS
        return replace(DEFAULT_LIMITS, records=self._records_max)

    def _acknowledge(self) -> None:
        self._acked_at = time.monotonic()
        try:
            self._clearing.acknowledge(self.state.next_seq)
        except OSError as error:
            self.state.problem = f"the ack cannot be written: {error}"

    async def _finish(self, liveness: WriterState) -> None:
        """All is stored and the writer is gone: report it, then remove the folder."""
        if liveness is WriterState.FOREIGN:
            if self._ends_lost and self._meta.is_owner:
                await self._report_dead(Ending(LOST, "ended by tracker sync --end-lost"))
            self.state.status = DeliveryStatus.DELIVERED
            return
        has_said_something = self.state.next_seq > 1
        is_dead_owner = self._meta.is_owner and self._meta.run_id and not self._has_closed()
        if has_said_something and is_dead_owner:
            if not await self._report_dead(await self._ending()):
                return
        elif has_said_something:
            await self._report(Lease(self._meta.writer_id, self._meta.run_id, "closed"))
        self._clearing.remove_folder()
        self.state.status = DeliveryStatus.DELIVERED

    def _has_closed(self) -> bool:
        """Whether the writer was closed in order, by a process that lives on.

        One that dies loses its lock some time before it is gone. But whoever closes a writer
        gives its reserve back before the lock, and whoever dies does not.
        """
        return self._watch.is_alive() and not self._folder.reserve.exists()

    async def _report_dead(self, ending: Ending) -> bool:
        """Tell the server; False if it wants records first that it turns out not to have."""
        outcome = await self._report(
            Lease(
                self._meta.writer_id,
                self._meta.run_id,
                "dead",
                next_seq=self.state.next_seq,
                reason=ending.reason,
                detail=ending.detail,
            )
        )
        if outcome == "behind":
            await self._resume()
            return False
        return True

    async def _report(self, lease: Lease) -> str | None:
        outcomes = await self._transmitter.report([lease], workspace=self._meta.workspace)
        return outcomes.get(lease.writer_id)

    async def _ending(self) -> Ending:
        dead_by = time.monotonic() + DYING_WAIT_S
        told_by: float | None = None
        while True:
            ending = self._watch.ending()
            if ending.reason != LOST or not self._watch.is_watching:
                return ending
            now = time.monotonic()
            if told_by is None and (now >= dead_by or not self._watch.is_alive()):
                told_by = now + ENDING_WAIT_S
            if told_by is not None and now >= told_by:
                return ending
            await asyncio.sleep(0.02)

    async def _until_reached(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the server answers; what the answer says is the caller's matter."""
        while True:
            try:
                value = await attempt()
            except Unreachable as failure:
                self.state.problem = str(failure)
                if self._is_one_shot and self._backoff.failures >= ONE_SHOT_TRIES:
                    raise
                await asyncio.sleep(self._backoff.next_s(retry_after_s=failure.retry_after_s))
            except (SequenceExpected, BatchRefused, WriterRefused):
                self._backoff.reset()
                raise
            else:
                self._backoff.reset()
                self.state.problem = None
                return value
