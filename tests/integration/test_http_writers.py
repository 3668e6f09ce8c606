"""Who is connected, over HTTP: live by a lease, lost when nobody reports for a run that goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_server import TestServer, batch_body, events_body, serving
from tracker.events.types import Event

BEGUN_US = 1_700_000_000_000_000
START = Event("run.started", BEGUN_US, {"name": "mine"})
PROCESS = Event("tags.set", BEGUN_US, {"tags": {"tracker.host": "node-1", "tracker.pid": "77"}})
JOINED = Event("run.joined", BEGUN_US, {"host": "node-2", "pid": 88})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


async def report(server: TestServer, writer_id: str, run_id: str, state: str) -> None:
    lease = {"writer_id": writer_id, "run_id": run_id, "state": state}
    answer = await server.ask("POST", "/api/v1/leases", json={"leases": [lease]})
    assert answer.status == 200, answer.body


async def folded(server: TestServer) -> None:
    head = (await server.ask("GET", "/api/v1/log/head")).json["position"]
    await server.ask("POST", "/api/v1/runs/search", json={"min_position": head})


async def connected(server: TestServer, query: str = "") -> dict[str, Any]:
    await folded(server)
    answer = await server.ask("GET", f"/api/v1/writers{query}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


async def test_a_live_writer_is_named_with_its_process_and_how_far_it_was_received(
    server: TestServer,
) -> None:
    await server.append(events_body(1, START, PROCESS, writer_id="w1"))
    await server.append(events_body(1, JOINED, writer_id="w2"))
    await server.append(batch_body(3, 4, writer_id="w1"))

    found = await connected(server)

    first, second = found["writers"]
    assert (found["live_count"], found["is_whole"]) == (2, True)
    assert first | {"received_at_us": 0, "lease_expires_us": 0, "position": 0} == {
        "writer_id": "w1", "run_id": "run-1", "run_name": "mine", "run_start_time_us": BEGUN_US,
        "state": "live", "epoch": 1, "next_seq": 7, "position": 0, "received_at_us": 0,
        "lease_expires_us": 0, "about": {"host": "node-1", "pid": "77"},
    }  # fmt: skip
    assert first["lease_expires_us"] > first["received_at_us"] > BEGUN_US
    assert (second["next_seq"], second["about"]) == (2, {"host": "node-2", "pid": 88})


async def test_a_writer_that_only_reported_is_connected_before_its_first_batch(
    server: TestServer,
) -> None:
    await report(server, "early", "run-early", "live")

    (writer,) = (await connected(server))["writers"]

    assert (writer["state"], writer["next_seq"], writer["position"]) == ("live", 1, None)
    assert (writer["run_name"], writer["about"]) == (None, {})


async def test_writers_are_lost_when_their_run_goes_on_and_gone_when_it_ended(
    server: TestServer,
) -> None:
    ended = Event("run.ended", BEGUN_US + 1, {"status": "FINISHED"})
    await server.append(events_body(1, START, run_id="lost", writer_id="wl"))
    await server.append(events_body(1, START, ended, run_id="over", writer_id="wo"))
    await server.append(events_body(1, START, run_id="going", writer_id="wg"))
    for run_id, writer_id in (("lost", "wl"), ("over", "wo")):
        await report(server, writer_id, run_id, "closed")

    found = await connected(server)

    assert [(one["writer_id"], one["state"]) for one in found["writers"]] == [
        ("wg", "live"),
        ("wl", "lost"),
    ]
    assert found["writers"][1]["lease_expires_us"] is None


async def test_more_writers_than_asked_for_are_counted(server: TestServer) -> None:
    for number in range(4):
        await report(server, f"w{number}", f"run-{number}", "live")

    found = await connected(server, "?max_results=3")

    assert [one["writer_id"] for one in found["writers"]] == ["w0", "w1", "w2"]
    assert (found["live_count"], found["is_whole"]) == (4, False)
    for refused in ("0", "501", "many"):
        answer = await server.ask("GET", f"/api/v1/writers?max_results={refused}")
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert "max_results" in str(answer.json["error"]["message"])
