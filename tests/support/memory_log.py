"""An event log in memory that holds what a test puts there: an EventLogReader, nothing else."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence

from projections.columns import Float64s, Int64s, decode_payload
from projections.log import LogHead, StoredBatch
from projections.projection import DecodedBatch
from tracker.events.wire import encode_payload, metrics_frame

Record = tuple[int, int, Mapping[str, float]]
"""step, time in microseconds, values by key."""


class MemoryLog:
    def __init__(self) -> None:
        self.batches: list[StoredBatch] = []
        self.next_position = 1
        self.reads = 0

    def append(self, run_id: str, records: Sequence[Record]) -> StoredBatch:
        """One batch of metric records, packed into frames by their keys as a shipper does."""
        by_keys: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for offset, (_, _, values) in enumerate(records):
            by_keys[tuple(values)].append(offset)
        frames = [
            metrics_frame(
                offsets=offsets,
                keys=keys,
                steps=array("q", [records[i][0] for i in offsets]),
                times=array("q", [records[i][1] for i in offsets]),
                values=[array("d", [records[i][2][key] for i in offsets]) for key in keys],
            )
            for keys, offsets in by_keys.items()
        ]
        return self.append_payload(run_id, encode_payload(frames), n=len(records))

    def append_columns(
        self,
        run_id: str,
        keys: Sequence[str],
        steps: Int64s,
        times_us: Int64s,
        values: Sequence[Float64s],
    ) -> StoredBatch:
        """One batch of one frame, for long series."""
        frame = metrics_frame(
            offsets=range(len(steps)),
            keys=keys,
            steps=array("q", steps.tobytes()),
            times=array("q", times_us.tobytes()),
            values=[array("d", column.tobytes()) for column in values],
        )
        return self.append_payload(run_id, encode_payload([frame]), n=len(steps))

    def append_payload(self, run_id: str, payload: bytes, *, n: int) -> StoredBatch:
        batch = StoredBatch(
            first_position=self.next_position,
            n=n,
            run_id=run_id,
            writer_id="w" + run_id,
            epoch=1,
            first_seq=self.next_position,
            records_crc=0,
            received_at_us=0,
            schema=1,
            payload_sha256=hashlib.sha256(payload).digest(),
            chain_sha256=b"",
            payload=payload,
        )
        self.batches.append(batch)
        self.next_position += n
        return batch

    def decoded(self) -> list[DecodedBatch]:
        return [(batch, decode_payload(batch.payload, n=batch.n)) for batch in self.batches]

    async def head(self) -> LogHead:
        return LogHead(self.next_position)

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        self.reads += 1
        found: list[StoredBatch] = []
        size = 0
        for batch in self.batches:
            if batch.last_position <= after or run_id not in (None, batch.run_id):
                continue
            is_full = len(found) >= batches_max or size >= bytes_max
            if is_full or (until is not None and batch.first_position > until):
                break
            found.append(batch)
            size += len(batch.payload)
        return found
