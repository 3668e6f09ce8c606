"""What a projection sees of the event log, and nothing more.

The stores in `ingest.event_stores` implement it; keeping it this narrow is what lets a
log in SQLite, in PostgreSQL, in an archive or in memory feed the same folds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tracker.events.errors import TrackerError

GENESIS_CHAIN: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """One row of the log: n events at positions first_position … first_position + n - 1."""

    first_position: int
    n: int
    run_id: str
    writer_id: str
    epoch: int
    first_seq: int
    records_crc: int
    received_at_us: int
    schema: int
    payload_sha256: bytes
    chain_sha256: bytes
    payload: bytes

    @property
    def last_position(self) -> int:
        return self.first_position + self.n - 1

    def link_after(self, previous: bytes) -> bytes:
        """What its chain_sha256 has to be when the row before has `previous`."""
        return chain_link(
            previous,
            first_position=self.first_position,
            n=self.n,
            run_id=self.run_id,
            writer_id=self.writer_id,
            epoch=self.epoch,
            first_seq=self.first_seq,
            records_crc=self.records_crc,
            received_at_us=self.received_at_us,
            schema=self.schema,
            payload_sha256=self.payload_sha256,
        )


class LogDamaged(TrackerError):
    """A part of the log cannot be read: what was kept elsewhere is gone or changed.

    The positions from `first_position` to `last_position` are affected.
    """

    def __init__(self, message: str, *, first_position: int, last_position: int) -> None:
        super().__init__(message)
        self.first_position, self.last_position = first_position, last_position


@dataclass(frozen=True, slots=True)
class LogHead:
    """Where the next event goes, and the chain's value up to it."""

    next_position: int = 1
    chain_sha256: bytes = GENESIS_CHAIN


class EventLogReader(Protocol):
    """Reads the log of one workspace in position order.

    Positions are dense and commit-ordered: whoever has read up to n never later finds
    something at or below n. tests/contract/test_event_store.py holds every store to it.
    """

    async def head(self) -> LogHead: ...

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        """Batches whose last position is beyond `after`, in order, at least one if any.

        Stops at `batches_max` batches or when their payloads pass `bytes_max`. A batch
        that `after` lies inside of is returned whole. `until` excludes batches that
        begin beyond it.
        """
        ...


def chain_link(
    previous: bytes,
    *,
    first_position: int,
    n: int,
    run_id: str,
    writer_id: str,
    epoch: int,
    first_seq: int,
    records_crc: int,
    received_at_us: int,
    schema: int,
    payload_sha256: bytes,
) -> bytes:
    """SHA-256 over the previous link and everything a row says, with the payload's digest.

    The digest stands for the payload so that a payload can be erased one day and the
    chain still verifies.
    """
    text = (
        f"{first_position}\0{n}\0{run_id}\0{writer_id}\0{epoch}\0{first_seq}\0"
        f"{records_crc}\0{received_at_us}\0{schema}\0"
    )
    return hashlib.sha256(previous + text.encode() + payload_sha256).digest()
