"""A server that is stalled for seconds: what it says must make nobody lose or repeat anything."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingest.components import COUNTERS
from ingest.errors import StoreUnavailable
from ingest.state import EVENT_STORE
from projections import readers
from projections.projection import ProjectionStoreFailed
from projections.readers import Readers
from projections.runner import ProjectionRunner
from projections.search.errors import InvalidQuery
from tests.support.http_server import TestServer, batch_body, events_body, serving
from tracker.events.types import Event

MLFLOW = "/api/2.0/mlflow"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


@asynccontextmanager
async def folding_nothing() -> AsyncIterator[None]:
    """As if the projections' thread had not had its turn for longer than anybody waits."""
    is_idle = threading.Event()

    async def no_round(self: ProjectionRunner) -> bool:
        is_idle.set()
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProjectionRunner, "_live_round", no_round)
        patch.setattr("ingest.decisions.FOLD_TIMEOUT_S", 0.05)
        patch.setattr("ingest.mlflow.reading.FOLD_TIMEOUT_S", 0.05)
        # A round that had begun before would still fold what comes now.
        assert await asyncio.to_thread(is_idle.wait, 60)
        yield


async def ask(server: TestServer, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    answer = await server.ask("POST", path, json=body)
    assert answer.status != 503 or answer.headers["Retry-After"]
    return answer.status, answer.json


async def test_metrics_of_a_run_that_is_not_folded_yet_are_put_off_and_not_refused(
    server: TestServer,
) -> None:
    metric = {"run_id": "run-1", "key": "loss", "value": 1.0, "timestamp": 1, "step": 0}
    async with folding_nothing():
        await server.append(events_body(1, Event("run.started", 1, {})))
        put_off = await ask(server, f"{MLFLOW}/runs/log-metric", metric)
    taken = await ask(server, f"{MLFLOW}/runs/log-metric", metric)

    assert (put_off[0], put_off[1]["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert taken == (200, {})


@pytest.mark.parametrize("path", [f"{MLFLOW}/experiments/create", "/api/v1/experiments"])
async def test_an_experiment_that_is_recorded_and_not_folded_yet_was_created(
    server: TestServer, path: str
) -> None:
    """Whoever were told to send it again would hear that the name is taken: by himself."""
    async with folding_nothing():
        status, said = await ask(server, path, {"name": "a"})
    assert status in (200, 201), said

    found = await server.ask("GET", "/api/v1/experiments?name=a&min_position=1")
    (experiment,) = found.json["experiments"]
    assert experiment | said == experiment


async def test_a_tag_of_an_experiment_that_is_deleted_and_not_folded_yet_is_deleted(
    server: TestServer,
) -> None:
    created = await ask(server, "/api/v1/experiments", {"name": "a", "tags": {"team": "vision"}})
    said = {"experiment_id": created[1]["experiment_id"], "key": "team"}
    async with folding_nothing():
        assert await ask(server, f"{MLFLOW}/experiments/delete-experiment-tag", said) == (200, {})


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_decision_whose_answer_was_lost_is_taken_once(
    server: TestServer, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    """MLflow's clients send again what was answered with 503, and have another run then."""
    store = server.app[EVENT_STORE]
    append, losses = store.append_decision, iter((True, True))

    async def losing(**decision: Any) -> Any:
        is_lost = next(losses, False)
        if is_stored or not is_lost:
            result = await append(**decision)
        if is_lost:
            raise StoreUnavailable("the connection was lost; send it again")
        return result

    monkeypatch.setattr(store, "append_decision", losing)
    status, said = await ask(server, f"{MLFLOW}/runs/create", {"experiment_id": "0"})
    assert status == 200, said

    found = await ask(server, "/api/v1/runs/search", {"min_position": 1})
    assert [run["run_id"] for run in found[1]["runs"]] == [said["run"]["info"]["run_id"]]
    assert (await store.head()).next_position == 2


async def test_a_stream_whose_log_goes_away_ends_with_no_second_answer_in_it(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(**asked: Any) -> Any:
        raise StoreUnavailable("the database is away", retry_after_s=1.0)

    async with server.session.get(f"{server.url}/api/v1/events/stream") as response:
        assert await response.content.readline() == b"retry: 1000\n"
        monkeypatch.setattr(server.app[EVENT_STORE], "read", away)
        await server.append(batch_body())
        with pytest.raises(aiohttp.ClientPayloadError):
            async with asyncio.timeout(60):
                assert b"HTTP" not in await response.content.read()

    assert server.app[COUNTERS].refusals["store_unavailable"] == 1


@pytest.mark.parametrize(
    ("searches", "meant"), [(True, InvalidQuery), (False, ProjectionStoreFailed)]
)
async def test_only_a_search_that_takes_too_long_is_the_fault_of_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searches: bool, meant: type[Exception]
) -> None:
    sqlite3.connect(tmp_path / "a.sqlite").close()
    monkeypatch.setattr(readers, "QUERY_TIMEOUT_S", -1.0)
    reading = Readers(tmp_path / "a.sqlite")
    endless = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )

    with pytest.raises(meant):
        await reading.run(lambda connection: connection.execute(endless), searches=searches)
    await reading.aclose()
