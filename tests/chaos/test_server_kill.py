"""A server killed at any moment under load: nothing acknowledged is lost, nothing is twice.

Several writers send without pause, repeat whatever got no answer, and keep what was
acknowledged. After every SIGKILL a new server opens the same store. Seeds make the moments
repeatable; TRACKER_CHAOS_ROUNDS=full (or a number) asks for all twenty.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from ingest.event_stores.sqlite import SqliteEventStore
from tests.support.http_server import BATCH, batch_body
from tests.support.log_checks import check_log, head_after
from tests.support.processes import ServerProcess

WRITERS = 6
ROUNDS_IN_CI = 4
ROUNDS_FULL = 20


def rounds() -> int:
    asked = os.environ.get("TRACKER_CHAOS_ROUNDS", "")
    return int(asked) if asked.isdecimal() else ROUNDS_FULL if asked else ROUNDS_IN_CI


@dataclass
class Writer:
    """A shipper in small: one batch in flight, sent again until it is answered."""

    index: int
    chance: random.Random
    acked_next_seq: int = 1
    acks: int = 0

    async def run(self, session: aiohttp.ClientSession, uri: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            n = self.chance.randint(1, 30)
            # Sometimes from before the watermark, as a shipper that lost its acks would.
            first = max(1, self.acked_next_seq - self.chance.choice((0, 0, 0, 3)))
            body = batch_body(
                first, n, writer_id=f"w{self.index}", run_id=f"run-{self.index}", value=self.index
            )
            try:
                async with session.post(f"{uri}/api/v1/append", data=body, headers=BATCH) as reply:
                    answer = await reply.json()
            except (aiohttp.ClientError, OSError, ValueError):
                await asyncio.sleep(0.02)  # killed, or not back yet
                continue
            if reply.status == 200:
                assert answer["next_seq"] >= self.acked_next_seq
                self.acked_next_seq = answer["next_seq"]
                self.acks += 1
            else:
                assert reply.status == 503, answer


async def assert_store_is_whole(path: Path, writers: list[Writer]) -> int:
    store = await SqliteEventStore.open(path)
    try:
        rows = await store.read(after=0, batches_max=10**9, bytes_max=10**12)
        head = await store.head()
        states = {writer.index: await store.writer(f"w{writer.index}") for writer in writers}
    finally:
        await store.aclose()
    next_seqs = check_log(rows)
    assert head == head_after(rows)
    for writer in writers:
        stored = next_seqs.get(f"w{writer.index}", 1)
        assert stored >= writer.acked_next_seq, "what was acknowledged is there"
        state = states[writer.index]
        assert (state.next_seq if state else 1) == stored
    return len(rows)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_server_killed_under_load_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(20_261_121)
    server = ServerProcess(tmp_path)
    await asyncio.to_thread(server.start)
    writers = [Writer(index, random.Random(index)) for index in range(WRITERS)]
    stop = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for writer in writers:
                group.create_task(writer.run(session, server.uri, stop))
            for _ in range(rounds()):
                acks_before = sum(writer.acks for writer in writers)
                await asyncio.sleep(chance.uniform(0.05, 0.8))
                await asyncio.to_thread(server.kill)
                await assert_store_is_whole(server.store_path, writers)
                await asyncio.to_thread(server.start)
                async with asyncio.timeout(120):
                    while sum(w.acks for w in writers) <= acks_before:
                        await asyncio.sleep(0.01)
            stop.set()
    finally:
        code = await asyncio.to_thread(server.stop)

    assert code == 0
    batches = await assert_store_is_whole(server.store_path, writers)
    assert batches >= rounds()
