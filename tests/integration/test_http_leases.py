"""Leases over HTTP: who reports, who left, and what a death means for a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_server import TestServer, batch_body, events_body, serving
from tracker.events.types import Event

START = Event("run.started", 1_700_000_000_000_000, {"name": "mine"})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


async def report(server: TestServer, **lease: Any) -> str:
    lease = {"writer_id": "w1", "run_id": "run-1"} | lease
    answer = await server.ask("POST", "/api/v1/leases", json={"leases": [lease]})
    assert answer.status == 200, answer.body
    assert answer.json["ttl_s"] == 30
    return str(answer.json["leases"][0]["outcome"])


async def run_of(server: TestServer, *, min_position: int = 0) -> dict[str, Any]:
    answer = await server.ask("GET", f"/api/v1/runs/run-1?min_position={min_position}")
    assert answer.status == 200, answer.body
    run: dict[str, Any] = answer.json
    return run


async def head_of(server: TestServer) -> int:
    return int((await server.ask("GET", "/api/v1/log/head")).json["position"])


async def test_a_live_writer_makes_its_run_live_until_it_leaves(server: TestServer) -> None:
    await server.append(events_body(1, START))

    assert await report(server) == "renewed"
    assert (await run_of(server, min_position=1))["liveness"] == "live"

    assert await report(server, state="closed") == "released"
    assert (await run_of(server))["liveness"] == "lost"


async def test_the_death_of_the_owner_ends_the_run_with_its_reason(server: TestServer) -> None:
    await server.append(events_body(1, START))
    await server.append(batch_body(2, 3))

    outcome = await report(
        server, state="dead", next_seq=5, reason="killed by signal", detail="SIGKILL (9)"
    )

    assert outcome == "run_ended"
    run = await run_of(server, min_position=5)
    assert (run["status"], run["liveness"]) == ("FAILED", "ended")
    assert (run["end_reason"], run["end_detail"]) == ("killed by signal", "SIGKILL (9)")


async def test_a_death_is_recorded_once_however_often_it_is_reported(server: TestServer) -> None:
    await server.append(events_body(1, START))

    outcomes = [await report(server, state="dead", next_seq=2) for _ in range(3)]

    assert outcomes == ["run_ended"] * 3
    assert await head_of(server) == 2
    assert (await run_of(server))["end_reason"] == "lost"


async def test_a_death_waits_for_what_the_writer_had_spooled(server: TestServer) -> None:
    await server.append(events_body(1, START))

    assert await report(server, state="dead", next_seq=9) == "behind"
    assert (await run_of(server, min_position=1))["status"] == "RUNNING"


async def test_the_death_of_a_joined_writer_ends_nothing(server: TestServer) -> None:
    await server.append(events_body(1, START))
    joined = Event("run.joined", START.time_us + 1, {"rank": 1})
    await server.append(events_body(1, joined, writer_id="w2"))

    assert await report(server, writer_id="w2", state="dead", next_seq=2) == "not_owner"
    assert (await run_of(server, min_position=2))["status"] == "RUNNING"


async def test_the_death_of_a_writer_nobody_knows_is_said_so(server: TestServer) -> None:
    assert await report(server, state="dead", next_seq=1) == "unknown_writer"
    assert await head_of(server) == 0


async def test_what_ended_by_itself_stays_as_it_ended(server: TestServer) -> None:
    ended = Event("run.ended", START.time_us + 5, {"status": "FINISHED"})
    await server.append(events_body(1, START, ended))

    assert await report(server, state="dead", next_seq=3) == "run_ended"
    assert (await run_of(server))["status"] == "FINISHED"
    assert await head_of(server) == 2


async def test_late_data_of_the_dead_revives_the_run(server: TestServer) -> None:
    await server.append(events_body(1, START))
    await report(server, state="dead", next_seq=2)

    late = await server.append(batch_body(2, 3))

    run = await run_of(server, min_position=late.json["position"])
    assert (run["status"], run["liveness"]) == ("RUNNING", "live")


async def test_a_run_whose_clock_is_ahead_of_the_servers_can_end_too(server: TestServer) -> None:
    in_2100 = 4_102_444_800_000_000
    await server.append(events_body(1, Event("run.started", in_2100, {})))

    assert await report(server, state="dead", next_seq=2) == "run_ended"
    assert (await run_of(server))["status"] == "FAILED"


async def test_after_a_restart_every_lease_gets_one_more_term(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.append(events_body(1, START))
        await report(server)

    async with serving(tmp_path) as server:
        assert (await run_of(server, min_position=1))["liveness"] == "live"


@pytest.mark.parametrize(
    "lease",
    [
        {"writer_id": "../x"},
        {"state": "asleep"},
        {"next_seq": "5"},
        {"reason": "r" * 257},
        {"more": 1},
    ],
)
async def test_a_report_that_makes_no_sense_is_refused(
    server: TestServer, lease: dict[str, Any]
) -> None:
    body = {"leases": [{"writer_id": "w1", "run_id": "run-1"} | lease]}

    answer = await server.ask("POST", "/api/v1/leases", json=body)

    assert (answer.status, answer.code) == (400, "invalid_request")
