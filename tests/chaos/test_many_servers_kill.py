"""Three servers and their PostgreSQL under load, each killed at random, again and again.

Writers send to whatever server they like, repeat what got no answer and keep what was
acknowledged; readers ask one server for what another has shown. A training logs through the
SDK meanwhile. The seed makes the order of the killings repeatable; TRACKER_CHAOS_ROUNDS=full
(or a number) kills each of the four twenty times.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.event_stores.postgres_reader import reading_log
from projections.columns import decode_payload
from tests.support.log_checks import check_log, whole_log
from tests.support.postgres import DURABLE, PostgresServer, running_postgres
from tests.support.processes import ServerProcess, run_cli, start_script
from tests.support.server_load import server_load

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
    uris = [server.uri for server in servers]
    try:
        async with server_load(uris, writers=WRITERS) as load:
            following = asyncio.create_task(load.follow())
            for victim in victims:
                await asyncio.sleep(chance.uniform(0.05, 0.8))
                await asyncio.to_thread(victim.kill)
                await asyncio.to_thread(victim.start)
                await load.goes_on()
            code = await asyncio.to_thread(training.wait, 240)
            load.is_over = True
            seen = await following
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
        assert [position for position, _, _ in seen] == list(range(1, len(seen) + 1))
        verified = await asyncio.to_thread(run_cli, tmp_path, "verify", postgres.dsn())
        assert verified.returncode == 0, verified.stdout
    finally:
        training.kill()
        codes = [await asyncio.to_thread(server.stop) for server in servers]
    assert codes == [0] * SERVERS
