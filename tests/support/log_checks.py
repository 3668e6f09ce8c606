"""What must hold of every log: dense positions, an unbroken chain, each sequence once."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from zlib import crc32

from ingest.event_stores.base import BatchToAppend
from projections.columns import decode_payload
from projections.log import GENESIS_CHAIN, EventLogReader, LogHead, StoredBatch
from tracker.events import wire

EVERYTHING = 10**9


def numbered_batch(
    first_seq: int,
    n: int,
    *,
    writer_id: str = "w1",
    run_id: str = "run-1",
    epoch: int = 1,
    value: float = 0.5,
) -> BatchToAppend:
    """n records of one metric; step equals the sequence number, so contents can be told."""
    frame = wire.metrics_frame(
        offsets=range(n),
        keys=["loss"],
        steps=array("q", range(first_seq, first_seq + n)),
        times=array("q", [1_700_000_000_000_000 + first_seq + i for i in range(n)]),
        values=[array("d", [value]) * n],
    )
    payload = wire.encode_payload([frame])
    header = wire.BatchHeader(run_id, writer_id, epoch, first_seq, n, crc32(payload))
    return BatchToAppend(header, payload)


async def whole_log(log: EventLogReader, *, after: int = 0) -> list[StoredBatch]:
    return list(await log.read(after=after, batches_max=EVERYTHING, bytes_max=EVERYTHING))


def head_after(rows: Sequence[StoredBatch]) -> LogHead:
    return LogHead(rows[-1].last_position + 1, rows[-1].chain_sha256) if rows else LogHead()


def check_log(
    rows: Sequence[StoredBatch], *, steps_of: Collection[str] | None = None
) -> dict[str, int]:
    """Assert that the log is whole; return the next sequence of every writer.

    `steps_of` are the writers whose batches are numbered_batch's, or batch_body's; all by default.
    """
    position, chain = 1, GENESIS_CHAIN
    next_seqs: dict[str, int] = {}
    received_at_us = 0
    for row in rows:
        assert row.first_position == position, "positions are dense"
        assert row.first_seq == next_seqs.get(row.writer_id, 1), "each sequence once, in order"
        assert row.received_at_us >= received_at_us, "the log's clock never falls"
        is_numbered = steps_of is None or row.writer_id in steps_of
        for frame in decode_payload(row.payload, n=row.n).metrics if is_numbered else ():
            expected = list(range(row.first_seq, row.first_seq + row.n))
            assert frame.steps.tolist() == expected, "every record is the one that was sent"
        chain = row.link_after(chain)
        assert row.chain_sha256 == chain
        position += row.n
        next_seqs[row.writer_id] = row.first_seq + row.n
        received_at_us = row.received_at_us
    return next_seqs
