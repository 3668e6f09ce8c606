"""From a time to a position: how far the log had come when the clock said so.

The server's clock along the log never falls, so a search by halves finds the place with
some forty reads of one batch each, however long the log is.
"""

from __future__ import annotations

from projections.log import EventLogReader, StoredBatch


async def position_at(log: EventLogReader, time_us: int) -> int:
    """The last position received at or before `time_us`; 0 when there was nothing yet."""
    low, high = 0, (await log.head()).next_position - 1
    while low < high:
        middle = (low + high) // 2
        batch = await _batch_after(log, middle)
        if batch is None:
            high = middle
        elif batch.received_at_us <= time_us:
            low = batch.last_position
        else:
            high = min(middle, batch.first_position - 1)
    return low


async def _batch_after(log: EventLogReader, position: int) -> StoredBatch | None:
    batches = await log.read(after=position, batches_max=1, bytes_max=1)
    return batches[0] if batches else None
