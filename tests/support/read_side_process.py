"""A process with a store and its read side, made to be killed.

    python -m tests.support.read_side_process STORE apply|rebuild

Prints `acked N` for every position it was told is durable, so that a test knows what must
be there afterwards. With `rebuild` it rebuilds the runs projection again and again.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ingest.event_stores.sqlite import SqliteEventStore
from ingest.read_side import open_read_side
from tests.support.logs import Metrics, Record, batch_to_append, event


async def main(path: Path, mode: str) -> None:
    store = await SqliteEventStore.open(path)
    async with open_read_side(store, path, retire_s=0.01) as side:
        while True:
            if mode == "rebuild":
                side.rebuild("runs")
            for writer in ("w1", "w2", "w3"):
                state = await store.writer(writer)
                first_seq = 1 if state is None else state.next_seq
                records: list[Record] = [
                    event("tags.set", first_seq, tags={"n": str(first_seq)}),
                    event("params.logged", first_seq, params={f"p{first_seq}": writer}),
                    *[Metrics({"a": n, "b": -n}, first_seq + n, n) for n in range(50)],
                ]
                batch = batch_to_append(f"run-{writer}", writer, first_seq, records)
                result = await store.append(batch)
                print(f"acked {result.position}", flush=True)
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
