"""Small logs to copy: made by a store, or put together row by row with a right chain."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

from ingest.event_stores.base import BatchToAppend, EventStore
from ingest.event_stores.memory import MemoryEventStore
from projections.log import GENESIS_CHAIN, StoredBatch, chain_link
from tracker.events import wire
from tracker.events.types import Event

EVERYTHING = 10**9


def batch(
    first_seq: int, n: int, *, writer_id: str = "w1", run_id: str = "run-1", epoch: int = 1
) -> BatchToAppend:
    """n records of one metric; step equals the sequence number."""
    frame = wire.metrics_frame(
        offsets=range(n),
        keys=["loss"],
        steps=array("q", range(first_seq, first_seq + n)),
        times=array("q", [1_700_000_000_000_000 + first_seq + i for i in range(n)]),
        values=[array("d", [0.5]) * n],
    )
    crc = crc32(f"{writer_id} {first_seq} {n}".encode())
    header = wire.BatchHeader(run_id, writer_id, epoch, first_seq, n, crc)
    return BatchToAppend(header, wire.encode_payload([frame]))


async def a_log() -> list[StoredBatch]:
    """Three writers of two runs, and a decision of the server."""
    store = MemoryEventStore()
    await store.append(batch(1, 3))
    await store.append(batch(1, 4, writer_id="w2"))
    await store.append(batch(1, 2, writer_id="w3", run_id="run-2"))
    await store.append_decision(
        run_id="run-1", events=[Event("tags.set", 1, {"tags": {"x": "y"}}, 1)], decided_at=9
    )
    await store.append(batch(4, 2))
    await store.append(batch(3, 5, writer_id="w3", run_id="run-2", epoch=2))
    return await rows_of(store)


async def rows_of(store: EventStore) -> list[StoredBatch]:
    return list(await store.read(after=0, batches_max=EVERYTHING, bytes_max=EVERYTHING))


def rechained(rows: Sequence[StoredBatch]) -> list[StoredBatch]:
    """The rows as a log of their own: positions from 1, and the chain that goes with them."""
    position, chain = 1, GENESIS_CHAIN
    result = []
    for row in rows:
        chain = chain_link(
            chain,
            first_position=position,
            n=row.n,
            run_id=row.run_id,
            writer_id=row.writer_id,
            epoch=row.epoch,
            first_seq=row.first_seq,
            records_crc=row.records_crc,
            received_at_us=row.received_at_us,
            schema=row.schema,
            payload_sha256=row.payload_sha256,
        )
        result.append(replace(row, first_position=position, chain_sha256=chain))
        position += row.n
    return result
