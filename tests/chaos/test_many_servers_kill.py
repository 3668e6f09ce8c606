"""Three servers and their PostgreSQL under load, each killed at random, again and again.

Writers send to whatever server they like, repeat what got no answer and keep what was
acknowledged; readers ask one server for what another has shown. A training logs through the
SDK meanwhile. The seed makes the order of the killings repeatable; TRACKER_CHAOS_ROUNDS=full
(or a number) kills each of the four twenty times.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingest.event_stores.postgres_reader import reading_log
from projections.columns import decode_payload
from tests.support.http_server import BATCH, batch_body
from tests.support.log_checks import check_log, whole_log
from tests.support.postgres import DURABLE, PostgresServer, running_postgres
from tests.support.processes import ServerProcess, run_cli, start_script

SERVERS, WRITERS = 3, 6
ROUNDS_IN_CI = 1
ROUNDS_FULL = 20

TRAINING = """
import time, tracker
tracker.set_experiment("chaos")
with tracker.start_run(run_name="through-it-all") as run:
    print(run.info.run_id, flush=True)
    for step in range(400):
        tracker.log_metric("loss", 1 / (step + 1), step=step)
        time.sleep(0.005)
    assert tracker.flush(timeout=240)
"""


def rounds() -> int:
    asked = os.environ.get("TRACKER_CHAOS_ROUNDS", "")
    return int(asked) if asked.isdecimal() else ROUNDS_FULL if asked else ROUNDS_IN_CI


@dataclass
class Load:
    """Writers and readers over all servers, and what they have seen."""

    uris: Sequence[str]
    session: aiohttp.ClientSession
    acked: list[int] = field(default_factory=lambda: [1] * WRITERS)
    acks: int = 0
    seen_position: int = 0
    reads: int = 0
    refusals: int = 0
    is_over: bool = False

    async def write(self, index: int) -> None:
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

    async def follow(self) -> list[tuple[int, str, int]]:
        """Read the log once from its start, each page from another server."""
        seen: list[tuple[int, str, int]] = []
        after, turn = 0, 0
        while not self.is_over or after < self.seen_position:
            turn += 1
            path = f"/api/v1/events?after={after}&limit=500&wait=0.1"
            answer = await self._ask("GET", self.uris[turn % SERVERS], path)
            for line in (answer or b"").splitlines():
                event: dict[str, Any] = json.loads(line)
                seen.append((event["position"], event["writer_id"], event["seq"]))
                after = event["position"]
            await asyncio.sleep(0.01)
        return seen

    async def _ask(self, method: str, uri: str, path: str, body: bytes = b"") -> bytes | None:
        """The body of a 200; None when the server is away or says to come back."""
        headers = BATCH if body else {}
        try:
            async with self.session.request(
                method, uri + path, data=body or None, headers=headers
            ) as reply:
                text = await reply.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            await asyncio.sleep(0.02)
            return None
        if reply.status == 200:
            return text
        assert reply.status == 503, (reply.status, text)
        assert reply.headers["Retry-After"]
        self.refusals += 1
        await asyncio.sleep(0.02)
        return None


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with running_postgres(DURABLE) as server:
        yield server


def server_on(postgres: PostgresServer, home: Path) -> ServerProcess:
    return ServerProcess(home, arguments=("--backend-store-uri", postgres.dsn()))


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_servers_and_postgres_killed_under_load_lose_and_double_nothing(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    chance = random.Random(20_261_121)
    servers = [server_on(postgres, tmp_path / f"s{index}") for index in range(SERVERS)]
    await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
    training = start_script(tmp_path / "training", TRAINING, TRACKER_URI=servers[0].uri)
    victims: list[ServerProcess | PostgresServer] = [*servers, postgres] * rounds()
    chance.shuffle(victims)
    try:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            load = Load([server.uri for server in servers], session)
            for index in range(WRITERS):
                group.create_task(load.write(index))
            group.create_task(load.read(100))
            following = group.create_task(load.follow())
            for victim in victims:
                await asyncio.sleep(chance.uniform(0.05, 0.8))
                await asyncio.to_thread(victim.kill)
                acks, reads = load.acks, load.reads
                await asyncio.to_thread(victim.start)
                async with asyncio.timeout(60):
                    while load.acks < acks + WRITERS or load.reads <= reads:
                        await asyncio.sleep(0.01)
            code = await asyncio.to_thread(training.wait, 240)
            load.is_over = True
        assert code == 0, training.communicate()
        run_id = training.communicate()[0].strip()

        async with reading_log(postgres.dsn()) as log:
            rows = await whole_log(log)
        trained = [row for row in rows if row.run_id == run_id]
        stored = check_log(rows, steps_of=[f"w{i}" for i in range(WRITERS)])
        for index in range(WRITERS):
            assert stored[f"w{index}"] >= load.acked[index] > 1
        steps = [
            step
            for row in trained
            for frame in decode_payload(row.payload, n=row.n).metrics
            for step in frame.steps.tolist()
        ]
        assert sorted(steps) == list(range(400))
        seen = await following
        assert [position for position, _, _ in seen] == list(range(1, len(seen) + 1))
        verified = await asyncio.to_thread(run_cli, tmp_path, "verify", postgres.dsn())
        assert verified.returncode == 0, verified.stdout
    finally:
        training.kill()
        codes = [await asyncio.to_thread(server.stop) for server in servers]
    assert codes == [0] * SERVERS
