"""Questions about the past over HTTP and from the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.state import EVENT_STORE
from tests.support.histories import MODEL_SHA256, START_US, fill
from tests.support.http_server import TestServer, serving
from tests.support.logs import Metrics, batch_to_append, event
from tests.support.processes import run_cli


@pytest.fixture(params=["sqlite", "postgres"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestServer]:
    """Over either store."""
    given = {}
    if request.param == "postgres":
        given["backend_store_uri"] = request.getfixturevalue("postgres_dsn")
    async with serving(tmp_path, **given) as opened:
        yield opened


@pytest.fixture
async def file_server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as opened:
        yield opened


class Story:
    """A run that changes: what was true between its chapters."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        self.store = server.app[EVENT_STORE]
        self.seq = 1

    async def tell(self, *records: Any) -> int:
        answer = await self.store.append(batch_to_append("r", "w", self.seq, list(records)))
        self.seq = answer.next_seq
        return answer.position

    async def search(self, filter: str, **then: int) -> list[str]:
        body = {"filter": filter, "min_position": await self.last(), **then}
        answer = await self.server.ask("POST", "/api/v1/runs/search", json=body)
        assert answer.status == 200, answer.json
        return [run["run_id"] for run in answer.json["runs"]]

    async def last(self) -> int:
        return (await self.store.head()).next_position - 1


async def test_a_search_finds_what_was_true_then(server: TestServer) -> None:
    story = Story(server)
    begun = await story.tell(
        event("run.started", START_US, experiment_name="vision"),
        event("params.logged", START_US, params={"lr": "0.1"}),
        Metrics({"loss": 0.9}, 1, START_US),
    )
    tagged = await story.tell(
        event("tags.set", START_US, tags={"best": "yes"}), Metrics({"loss": 0.1}, 2, START_US)
    )
    await story.tell(event("run.ended", START_US, status="FINISHED"))

    assert await story.search("metrics.loss < 0.5") == ["r"]
    assert await story.search("metrics.loss < 0.5", as_of_position=begun) == []
    assert await story.search("metrics.loss > 0.5", as_of_position=begun) == ["r"]
    assert await story.search("tags.best = 'yes'", as_of_position=begun) == []
    assert await story.search("tags.best = 'yes'", as_of_position=tagged - 1) == ["r"]
    assert await story.search("metrics.loss < 0.5", as_of_position=tagged - 1) == []
    assert await story.search("attributes.status = 'FINISHED'", as_of_position=tagged) == []
    assert await story.search("liveness = 'live'", as_of_position=tagged) == ["r"]
    assert await story.search("", as_of_position=0) == []


async def test_a_time_means_what_the_server_had_received(server: TestServer) -> None:
    story = Story(server)
    await story.tell(event("run.started", START_US), Metrics({"loss": 1.0}, 1, START_US))
    await asyncio.sleep(0.01)
    then = time.time_ns() // 1000
    await asyncio.sleep(0.01)
    await story.tell(Metrics({"loss": 0.2}, 2, START_US))

    assert await story.search("metrics.loss = 1.0", as_of_time=then) == ["r"]
    assert await story.search("metrics.loss = 1.0") == []


async def test_series_trees_and_experiments_are_as_they_were(server: TestServer) -> None:
    store = server.app[EVENT_STORE]
    await fill(store, runs=2)
    rows = await store.read(after=0, batches_max=10**6, bytes_max=10**9)
    of_run = [row for row in rows if row.run_id == "run-1"]
    middle = of_run[2].first_position + 9  # within a batch of training
    await server.ask("GET", f"/api/v1/runs/run-1?min_position={rows[-1].last_position}")

    series = f"/api/v1/runs/run-1/metrics/loss?as_of_position={middle}"
    history = (await server.ask("GET", series)).json
    buckets = (await server.ask("GET", f"{series}&buckets=10")).json
    arrow = await server.ask(
        "GET", series, headers={"Accept": "application/vnd.apache.arrow.stream"}
    )
    keys = (await server.ask("GET", f"/api/v1/runs/run-1/metrics?as_of_position={middle}")).json
    many = {"run_ids": ["run-0", "run-1"], "keys": ["loss"], "as_of_position": middle}
    queried = (await server.ask("POST", "/api/v1/metrics/query", json=many)).json
    before = of_run[0].first_position
    tree = f"/api/v1/runs/run-1/artifacts?recursive=true&as_of_position={before + 3}"
    files = (await server.ask("GET", tree)).json
    no_files = (await server.ask("GET", tree.replace(str(before + 3), str(before + 2)))).json
    experiments = (await server.ask("GET", f"/api/v1/experiments?as_of_position={before - 1}")).json

    assert history["steps"] == list(range(35))
    assert buckets["points"] == 35
    assert arrow.status == 200
    assert keys["metrics"]["loss"]["count"] == 35
    assert [each["points"] for each in queried["series"]] == [50, 35]
    assert [file["digest"] for file in files["artifacts"]] == [MODEL_SHA256]
    assert no_files["artifacts"] == []
    names = {each["name"] for each in experiments["experiments"]}
    assert "planned" in names
    assert "speech" not in names


@pytest.mark.parametrize(
    ("then", "says"),
    [
        ("as_of_position=999999", "not from 0 to"),
        ("as_of_position=-1", "not from 0 to"),
        ("as_of_position=1&as_of_time=5", "not both"),
        ("as_of_time=9000000000000000", "has not come yet"),
        ("as_of_position=x", "not an integer"),
    ],
)
async def test_a_past_that_cannot_be_is_refused(
    file_server: TestServer, then: str, says: str
) -> None:
    await fill(file_server.app[EVENT_STORE], runs=1)
    head = (await file_server.ask("GET", "/api/v1/log/head")).json["position"]

    for path in ("experiments", "runs/run-0", "runs/run-0/metrics", "runs/run-0/artifacts"):
        answer = await file_server.ask("GET", f"/api/v1/{path}?min_position={head}&{then}")

        assert answer.status == 400, path
        assert says in answer.json["error"]["message"]


async def test_a_run_that_had_no_events_then_is_told(server: TestServer) -> None:
    await fill(server.app[EVENT_STORE], runs=2)

    answer = await server.ask("GET", "/api/v1/runs/run-1/metrics?as_of_position=2")

    assert (answer.status, answer.code) == (404, "run_not_found")
    assert "had no events then" in answer.json["error"]["message"]


async def test_the_command_line_says_which_time_it_understood(
    file_server: TestServer, tmp_path: Path
) -> None:
    server = file_server
    store = server.app[EVENT_STORE]
    await fill(store, runs=2)

    async def cli(*arguments: str, zone: str = "UTC") -> tuple[str, str]:
        done = await asyncio.to_thread(
            run_cli, tmp_path, *arguments, TRACKER_URI=server.url, TZ=zone
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    now_json, _ = await cli("runs", "search", "--json")
    early, told = await cli("runs", "search", "--as-of", "2020-11-20 14:00", "--json")
    _, in_tokyo = await cli("runs", "search", "--as-of", "2020-11-20 14:00", zone="Asia/Tokyo")
    _, given = await cli("metrics", "run-1", "loss", "--as-of-position", "90", "--csv")
    points, _ = await cli("metrics", "run-1", "loss", "--as-of-position", "90", "--csv")

    assert early.strip() == "[]"
    assert "run-1" in now_json
    assert "as of 2020-11-20 14:00:00 UTC (UTC+0000)" in told
    assert "as of 2020-11-20 14:00:00 JST (UTC+0900)" in in_tokyo
    assert "as of position 90" in given
    assert 1 < len(points.splitlines()) < 101


async def test_a_time_that_is_none_is_told(file_server: TestServer, tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        run_cli, tmp_path, "runs", "search", "--as-of", "yesterday-ish", TRACKER_URI=file_server.url
    )

    assert done.returncode == 2
    assert "is no time: write 2026-11-20" in done.stderr
