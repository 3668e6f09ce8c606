"""What a shipper knows and counts while it delivers; read by hosts, progress bars, reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tracker.shipper.collect import Batch


class DeliveryStatus(StrEnum):
    PENDING = "pending"  # something is left to send, or may still come
    DELIVERED = "delivered"  # the writer is gone and everything it left is stored
    REFUSED = "refused"  # the server will take nothing more of this writer
    UNREADABLE = "unreadable"  # the folder cannot be read
    FAILED = "failed"  # something happened that this shipper was not made for


@dataclass(slots=True)
class DeliveryCounts:
    records: int = 0
    points: int = 0
    lost: int = 0  # sequence numbers reported as dropped, refused ones among them
    rejected: int = 0  # records the server refused for good
    batches: int = 0
    wire_bytes: int = 0
    spool_bytes: int = 0
    blob_bytes: int = 0  # of files, which travel beside the records

    def add_batch(self, batch: Batch, *, spool_bytes: int) -> None:
        """Count a batch that is stored."""
        self.batches += 1
        self.records += batch.records
        self.points += batch.points
        self.lost += batch.lost
        self.wire_bytes += len(batch.body)
        self.spool_bytes += spool_bytes

    def add(self, other: DeliveryCounts) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class DeliveryState:
    """One writer. `problem` is the sentence to show while nothing moves."""

    writer_id: str
    run_id: str
    uri: str
    status: DeliveryStatus = DeliveryStatus.PENDING
    next_seq: int = 1
    is_live: bool = False
    is_caught_up: bool = False
    problem: str | None = None
    counts: DeliveryCounts = field(default_factory=DeliveryCounts)
