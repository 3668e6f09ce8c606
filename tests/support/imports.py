"""Small logs to copy: made by a store, or put together row by row with a right chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingest.event_stores.memory import MemoryEventStore
from projections.log import GENESIS_CHAIN, StoredBatch
from tests.support.log_checks import numbered_batch, whole_log
from tracker.events.types import Event


async def a_log() -> list[StoredBatch]:
    """Three writers of two runs, and a decision of the server."""
    store = MemoryEventStore()
    await store.append(numbered_batch(1, 3))
    await store.append(numbered_batch(1, 4, writer_id="w2"))
    await store.append(numbered_batch(1, 2, writer_id="w3", run_id="run-2"))
    await store.append_decision(
        run_id="run-1", events=[Event("tags.set", 1, {"tags": {"x": "y"}}, 1)], decided_at=9
    )
    await store.append(numbered_batch(4, 2))
    await store.append(numbered_batch(3, 5, writer_id="w3", run_id="run-2", epoch=2))
    return await whole_log(store)


def rechained(rows: Sequence[StoredBatch]) -> list[StoredBatch]:
    """The rows as a log of their own: positions from 1, and the chain that goes with them."""
    position, chain = 1, GENESIS_CHAIN
    result = []
    for row in rows:
        placed = replace(row, first_position=position)
        chain = placed.link_after(chain)
        result.append(replace(placed, chain_sha256=chain))
        position += row.n
    return result
