"""Writers and readers over several servers that hold everything they are told to account.

Writers send to whatever server they like, repeat what got no answer and keep what was
acknowledged. Readers ask one server for what another has shown: nobody may be behind what has
been seen, and nothing may be folded twice. A server that is away, or answers 503 with a time
to come back, is asked again.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.http_server import BATCH, batch_body

REQUEST_TIMEOUT_S = 10.0
AGAIN_S = 0.02


@dataclass
class ServerLoad:
    """Writer `w3` writes the steps 1, 2, 3, … of the metric `loss` of `run-3`, each once."""

    uris: Sequence[str]
    session: aiohttp.ClientSession
    writers: int
    acked: list[int] = field(init=False)
    """The next sequence of each writer, as it was told."""
    acks: int = 0
    seen_position: int = 0
    """The log's, by acks."""
    folded_position: int = 0
    """The read models', by answers."""
    reads: int = 0
    """Of the log."""
    row_reads: int = 0
    """Of the read models."""
    refused: list[str] = field(default_factory=list)
    """What the answers said that were to come back later."""
    is_over: bool = False

    def __post_init__(self) -> None:
        self.acked = [1] * self.writers

    async def write(self, index: int, *, pause_s: float = 0.0) -> None:
        chance = random.Random(index)
        while not self.is_over:
            n = chance.randint(1, 30)
            # Sometimes from before the watermark, as a shipper that lost its acks would.
            first = max(1, self.acked[index] - chance.choice((0, 0, 0, 3)))
            body = batch_body(first, n, writer_id=f"w{index}", run_id=f"run-{index}", value=index)
            answer = await self._ask("POST", chance.choice(self.uris), "/api/v1/append", body)
            if answer is not None:
                reply = json.loads(answer)
                assert reply["next_seq"] >= self.acked[index]
                self.acked[index] = reply["next_seq"]
                self.seen_position = max(self.seen_position, reply["position"])
                self.acks += 1
            await asyncio.sleep(pause_s)

    async def read(self, seed: int) -> None:
        """Whatever was shown by one server is there when another is asked."""
        chance = random.Random(seed)
        while not self.is_over:
            position = self.seen_position
            if not position:
                await asyncio.sleep(0.01)
                continue
            path = f"/api/v1/events?after={position - 1}&limit=1"
            answer = await self._ask("GET", chance.choice(self.uris), path)
            if answer is not None:
                event = json.loads(answer.splitlines()[0])
                assert event["position"] == position, "a reader was behind what had been seen"
                self.reads += 1
            await asyncio.sleep(0.005)

    async def read_rows(self, seed: int) -> None:
        """The read models never go back, have what they were asked to wait for, each once."""
        chance = random.Random(seed)
        while not self.is_over:
            index, waits = chance.randrange(self.writers), chance.random() < 0.5
            acked, position = self.acked[index], self.seen_position if waits else None
            if acked > 1:
                uri = chance.choice(self.uris)
                await self.read_row(uri, index, acked=acked, min_position=position)
            await asyncio.sleep(0.01)

    async def read_row(self, uri: str, index: int, *, acked: int, min_position: int | None) -> bool:
        """Ask a server for a run and check what it says; False when it cannot say.

        `acked` is what the writer had been told when the log was at `min_position`.
        """
        folded = self.folded_position
        query = "" if min_position is None else f"?min_position={min_position}"
        answer = await self._ask("GET", uri, f"/api/v1/runs/run-{index}{query}", may_lack=not query)
        if answer is None:
            return False
        run: dict[str, Any] = json.loads(answer)
        loss = run["metrics"]["loss"]
        assert loss["count"] == loss["last"]["step"], "each point was folded once"
        assert run["position"] >= folded, "a reader was behind what had been seen"
        if min_position is not None:
            assert run["position"] >= min_position
            assert loss["count"] >= acked - 1, "what was acknowledged is in the read model"
        self.folded_position = max(self.folded_position, run["position"])
        self.row_reads += 1
        return True

    async def follow(self) -> list[tuple[int, str, int]]:
        """(position, writer, sequence) of the whole log, each page from another server."""
        seen: list[tuple[int, str, int]] = []
        after, turn = 0, 0
        while not self.is_over or after < self.seen_position:
            turn += 1
            path = f"/api/v1/events?after={after}&limit=500&wait=0.1"
            answer = await self._ask("GET", self.uris[turn % len(self.uris)], path)
            for line in (answer or b"").splitlines():
                event: dict[str, Any] = json.loads(line)
                seen.append((event["position"], event["writer_id"], event["seq"]))
                after = event["position"]
            await asyncio.sleep(0.01)
        return seen

    async def until(self, condition: Callable[[], bool], *, within_s: float = 180.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.01)

    async def acknowledges(self, count: int) -> None:
        """Wait until this many more appends were acknowledged."""
        before = self.acks
        await self.until(lambda: self.acks >= before + count)

    async def goes_on(self) -> None:
        """Wait until every writer's worth of acks, and each kind of read, has come anew."""
        acks, reads, row_reads = self.acks, self.reads, self.row_reads
        await self.until(
            lambda: (
                self.acks >= acks + self.writers
                and self.reads > reads
                and self.row_reads > row_reads
            )
        )

    async def _ask(
        self, method: str, uri: str, path: str, body: bytes = b"", *, may_lack: bool = False
    ) -> bytes | None:
        """The body of a 200; None when the server is away or says to come back.

        `may_lack`: 404 is an answer too, of a read model that has not come so far.
        """
        headers = BATCH if body else {}
        try:
            async with self.session.request(
                method, uri + path, data=body or None, headers=headers
            ) as reply:
                text = await reply.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            await asyncio.sleep(AGAIN_S)
            return None
        if reply.status == 200:
            return text
        if not (may_lack and reply.status == 404):
            assert reply.status == 503, (method, path, reply.status, text)
            assert reply.headers["Retry-After"], text
            self.refused.append(text.decode())
        await asyncio.sleep(AGAIN_S)
        return None


@asynccontextmanager
async def server_load(
    uris: Sequence[str], *, writers: int, pause_s: float = 0.0
) -> AsyncIterator[ServerLoad]:
    """Writers and a reader of each kind at work for the length of the block."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        load = ServerLoad(uris, session, writers)
        for index in range(writers):
            group.create_task(load.write(index, pause_s=pause_s))
        group.create_task(load.read(100))
        group.create_task(load.read_rows(101))
        try:
            yield load
        finally:
            load.is_over = True
