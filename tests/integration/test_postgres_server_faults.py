"""Whole servers on PostgreSQL, read models and all: a pooler between, a full disk, a bad line."""

from __future__ import annotations

import asyncio
import os
import random
from array import array
from pathlib import Path
from typing import Any

import pytest

from ingest.event_stores.postgres_reader import reading_log
from tests.support.http_server import Answer, TestServer, frames_body, serving
from tests.support.log_checks import check_log, whole_log
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import DURABLE, fresh_database, running_postgres
from tests.support.postgres_disk import postgres_on_a_small_disk
from tests.support.postgres_proxy import PostgresProxy, running_postgres_proxy
from tests.support.processes import ServerProcess, run_cli
from tests.support.server_load import server_load
from tracker.events import wire

CUTS_IN_CI, CUTS_FULL = 4, 40
POINTS = 10_000


async def verified(server: TestServer) -> dict[str, Any]:
    """The report of a verification that this server was asked for."""
    assert (await server.ask("POST", "/api/v1/verify")).status == 202
    async with asyncio.timeout(60):
        while (state := (await server.ask("GET", "/api/v1/verify")).json)["state"] == "running":
            await asyncio.sleep(0.05)
    report: dict[str, Any] = state["report"]
    return report


async def answered(server: TestServer, path: str) -> Answer:
    """Its answer, as soon as it is not told to come back later."""
    async with asyncio.timeout(60):
        while (answer := await server.ask("GET", path)).status == 503:
            await asyncio.sleep(0.05)
    assert answer.status == 200, answer.body
    return answer


async def rebuilt(server: TestServer) -> None:
    asked = {"projection": "all"}
    assert (await server.ask("POST", "/api/v1/rebuild", json=asked)).status == 202
    async with asyncio.timeout(60):
        while True:
            states = (await server.ask("GET", "/api/v1/rebuild")).json["rebuilds"]
            assert not [state for state in states if state["error"]], states
            if {state["state"] for state in states} == {"done"}:
                return
            await asyncio.sleep(0.05)


async def test_servers_fold_answer_and_rebuild_through_pgbouncer_in_transaction_mode(
    postgres_dsn: str, tmp_path: Path
) -> None:
    with running_pgbouncer(postgres_dsn) as pooled:
        async with (
            serving(tmp_path / "one", backend_store_uri=pooled) as one,
            serving(tmp_path / "other", backend_store_uri=pooled) as other,
        ):
            async with server_load([one.url, other.url], writers=3, pause_s=0.02) as load:
                await load.goes_on()
                await rebuilt(other)
                await load.goes_on()
            # What a session is thought to have kept would be a refusal of the store.
            assert not [text for text in load.refused if "projection_behind" not in text]
            position = load.seen_position
            for server in (one, other):
                for index, next_seq in enumerate(load.acked):
                    path = f"/api/v1/runs/run-{index}"
                    run = await answered(server, f"{path}?min_position={position}")
                    series = await server.ask("GET", f"{path}/metrics/loss?limit=20000")
                    assert run.json["metrics"]["loss"]["count"] == next_seq - 1
                    assert len(series.json["steps"]) == next_seq - 1
            assert (await verified(one))["is_clean"]


async def append_noise(server: TestServer, first_seq: int, chance: random.Random) -> Any:
    """Points that nothing can make smaller."""
    frame = wire.metrics_frame(
        offsets=range(POINTS),
        keys=["noise"],
        steps=array("q", range(first_seq, first_seq + POINTS)),
        times=array("q", [1_700_000_000_000_000] * POINTS),
        values=[array("d", [chance.random() for _ in range(POINTS)])],
    )
    return await server.append(frames_body([frame], first_seq, POINTS))


async def test_a_full_disk_is_answered_503_and_nothing_is_skipped_when_there_is_room(
    tmp_path: Path,
) -> None:
    chance = random.Random(17)
    with postgres_on_a_small_disk() as (dsn, make_room):
        async with serving(tmp_path, backend_store_uri=dsn) as server:
            next_seq = 1
            while (answer := await append_noise(server, next_seq, chance)).status == 200:
                next_seq = answer.json["next_seq"]
                assert next_seq < 300 * POINTS, "the disk never became full"
            assert (answer.status, answer.code) == (503, "store_unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
            if os.getuid() == 0:
                assert "disk is full" in answer.json["error"]["message"]
            # A session that is new to the database may not even get in.
            reading = await server.ask("GET", "/api/v1/runs/run-1")
            assert reading.status in (200, 404) or reading.headers["Retry-After"]

            make_room()

            async with asyncio.timeout(60):
                while (answer := await append_noise(server, next_seq, chance)).status != 200:
                    assert answer.status == 503, answer.body
                    await asyncio.sleep(0.05)
            run = await answered(
                server, f"/api/v1/runs/run-1?min_position={answer.json['position']}"
            )
            noise = run.json["metrics"]["noise"]
            assert noise["count"] == noise["last"]["step"] == next_seq + POINTS - 1
            assert (await verified(server))["is_clean"]


def cuts() -> int:
    asked = os.environ.get("TRACKER_CHAOS_ROUNDS", "")
    return int(asked) if asked.isdecimal() else CUTS_FULL if asked else CUTS_IN_CI


async def cut(proxy: PostgresProxy, where: str) -> None:
    """Cut all lines, for new ones too, or the next that is about to say COMMIT, or just has."""
    before = proxy.cuts
    if where == "all":
        proxy.is_refusing = True
        proxy.cut_all()
        await asyncio.sleep(0.1)
        proxy.is_refusing = False
        return
    proxy.cut_after_commit, proxy.cut_before_commit = where == "after", where == "before"
    async with asyncio.timeout(60):
        while proxy.cuts == before:
            await asyncio.sleep(0.005)
    proxy.cut_after_commit = proxy.cut_before_commit = False


@pytest.mark.timeout(600)
async def test_a_server_whose_line_is_cut_in_mid_commit_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    """Its log's commits and its folds': whether one came through is in the database only."""
    chance = random.Random(23)
    with running_postgres(DURABLE) as postgres, fresh_database(postgres.dsn()) as dsn:
        async with running_postgres_proxy(dsn) as (proxy, through):
            server = ServerProcess(tmp_path, arguments=("--backend-store-uri", through))
            await asyncio.to_thread(server.start)
            try:
                async with server_load([server.uri], writers=4, pause_s=0.01) as load:
                    for _ in range(cuts()):
                        await load.goes_on()
                        await asyncio.sleep(chance.uniform(0, 0.1))
                        await cut(proxy, chance.choice(("after", "after", "before", "all")))
                    await load.goes_on()
            finally:
                code = await asyncio.to_thread(server.stop)
            assert (code, proxy.cuts > 0) == (0, True)
        async with reading_log(dsn) as log:
            stored = check_log(await whole_log(log))
        assert all(stored[f"w{index}"] >= acked > 1 for index, acked in enumerate(load.acked))
        done = await asyncio.to_thread(run_cli, tmp_path, "verify", dsn)
        assert done.returncode == 0, done.stdout
