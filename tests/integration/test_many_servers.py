"""Two servers over one PostgreSQL: what one takes in, the other answers with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.http_server import TestServer, batch_body, events_body, serving
from tracker.events.types import Event

SECRET = "never-to-be-seen"


@pytest.fixture
async def servers(
    postgres_dsn: str, tmp_path: Path
) -> AsyncIterator[tuple[TestServer, TestServer]]:
    place = urlsplit(postgres_dsn)
    user, _, where = place.netloc.rpartition("@")
    uri = place._replace(netloc=f"{user.partition(':')[0]}:{SECRET}@{where}").geturl()
    given = {"backend_store_uri": uri, "lease_ttl_s": 600.0}
    async with (
        serving(tmp_path / "one", **given) as one,
        serving(tmp_path / "other", **given) as other,
    ):
        yield one, other


def started(run_id: str) -> bytes:
    data = {"name": "a", "experiment_id": "0"}
    return events_body(1, Event("run.started", 1, data), run_id=run_id, writer_id=f"w-{run_id}")


async def test_what_one_server_acknowledged_is_read_from_the_other(
    servers: tuple[TestServer, TestServer],
) -> None:
    one, other = servers
    await one.append(started("run-1"))
    acked = await one.append(batch_body(2, 5, writer_id="w-run-1"))
    position = acked.json["position"]

    run = await other.ask("GET", f"/api/v1/runs/run-1?min_position={position}")
    events = await other.ask("GET", f"/api/v1/events?after={position - 1}&limit=1")
    series = await other.ask("GET", f"/api/v1/runs/run-1/metrics/loss?min_position={position}")

    assert run.status == 200
    assert json.loads(events.body.splitlines()[0])["position"] == position
    assert series.status == 200
    assert (await other.ask("GET", "/api/v1/writers/w-run-1")).json["next_seq"] == 7


async def test_a_long_poll_is_answered_when_another_server_appends(
    servers: tuple[TestServer, TestServer],
) -> None:
    one, other = servers
    waiting = asyncio.create_task(other.ask("GET", "/api/v1/events?after=0&limit=1&wait=60"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await one.append(started("run-1"))

    async with asyncio.timeout(30):  # long before its own time is up
        answer = await waiting

    assert json.loads(answer.body.splitlines()[0])["position"] == 1


async def test_of_two_servers_that_create_an_experiment_one_does(
    servers: tuple[TestServer, TestServer],
) -> None:
    answers = await asyncio.gather(
        *(s.ask("POST", "/api/v1/experiments", json={"name": "a"}) for s in servers * 2)
    )

    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]
    (created,) = [answer.json["experiment_id"] for answer in answers if answer.status == 201]
    taken = {a.json["error"]["details"]["experiment_id"] for a in answers if a.status == 409}
    assert taken == {created}


async def test_a_run_that_reports_to_one_server_is_alive_on_the_other(
    servers: tuple[TestServer, TestServer],
) -> None:
    one, other = servers
    await one.append(started("run-1"))

    async def liveness(server: TestServer) -> str:
        return str((await server.ask("GET", "/api/v1/runs/run-1?min_position=1")).json["liveness"])

    async with asyncio.timeout(60):
        while await liveness(other) != "live":
            await asyncio.sleep(0.05)
    assert await liveness(one) == "live"

    # It leaves in order, and says so to the other server.
    lease = {"writer_id": "w-run-1", "run_id": "run-1", "state": "closed"}
    await other.ask("POST", "/api/v1/leases", json={"leases": [lease]})
    async with asyncio.timeout(60):
        while await liveness(one) == "live":
            await asyncio.sleep(0.05)


async def test_a_death_may_be_reported_to_any_server(
    servers: tuple[TestServer, TestServer],
) -> None:
    one, other = servers
    await one.append(started("run-1"))
    report = {
        "writer_id": "w-run-1", "run_id": "run-1", "state": "dead",
        "reason": "killed by signal", "detail": "9", "next_seq": 2,
    }  # fmt: skip

    answers = await asyncio.gather(
        *(s.ask("POST", "/api/v1/leases", json={"leases": [report]}) for s in (other, one, other))
    )

    assert {answer.json["leases"][0]["outcome"] for answer in answers} == {"run_ended"}
    head = (await one.ask("GET", "/api/v1/log/head")).json["position"]
    assert head == 2, "the run ended once"
    run = await one.ask("GET", f"/api/v1/runs/run-1?min_position={head}")
    assert run.json["status"] == "FAILED"


async def test_ready_and_metrics_show_the_log_and_no_password(
    servers: tuple[TestServer, TestServer], tmp_path: Path
) -> None:
    one, other = servers
    await one.append(started("run-1"))

    async with asyncio.timeout(60):
        while (ready := await other.ask("GET", "/ready")).status != 200:
            await asyncio.sleep(0.05)
    metrics = await one.ask("GET", "/metrics")

    assert (ready.status, ready.json["head"]) == (200, 1)
    assert b"tracker_commit_seconds_count 1.0" in metrics.body
    settings = repr(one.app[next(key for key in one.app if "settings" in str(key))])
    shown = [ready.body.decode(), metrics.body.decode(), settings]
    shown += [path.read_text() for path in tmp_path.rglob("*.json")]
    assert SECRET not in "".join(shown)
