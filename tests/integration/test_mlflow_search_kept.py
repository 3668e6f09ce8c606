"""A search shows every run as it is now, however much of its page was kept from before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from projections.runs_kept import KeptRuns, RunState
from projections.runs_latest import latest_runs
from projections.sqlite import open_for_reading
from tests.support.http_server import TestServer, batch_body, events_body, serving
from tests.support.run_tables import MetricRow, RunRow, RunTables
from tracker.events.types import Event, EventType

API = "/api/2.0/mlflow"
MODEL = {"model_id": "m-" + "1" * 32}
DATASET = {"name": "d", "digest": "1", "source_type": "local", "source": "there"}
# One of each kind of write that changes what a page shows of a run.
WRITES: list[tuple[str, dict[str, Any]]] = [
    ("runs/log-metric", {"key": "loss", "value": 0.5, "timestamp": 5, "step": 1}),
    ("runs/log-metric", {"key": "loss", "value": "NaN", "timestamp": 5, "step": 2}),
    ("runs/log-metric", {"key": "odd", "value": -0.0, "timestamp": 5, "step": 2}),
    ("runs/log-parameter", {"key": "lr", "value": "1"}),
    ("runs/set-tag", {"key": "team", "value": "a"}),
    ("runs/set-tag", {"key": "team", "value": "ü"}),
    ("runs/delete-tag", {"key": "team"}),
    ("runs/update", {"run_name": "renamed"}),
    ("runs/update", {"status": "FINISHED", "end_time": 9_000}),
    ("runs/log-inputs", {"datasets": [{"dataset": DATASET, "tags": []}], "models": [MODEL]}),
    ("runs/outputs", {"models": [{**MODEL, "step": 3}]}),
    ("runs/delete", {}),
    ("runs/restore", {}),
]


@pytest.fixture(params=["sqlite", "postgres"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestServer]:
    given = {}
    if request.param == "postgres":
        given["backend_store_uri"] = request.getfixturevalue("postgres_dsn")
    async with serving(tmp_path, **given) as server:
        yield server


async def post(server: TestServer, path: str, body: dict[str, Any]) -> Any:
    answer = await server.ask("POST", f"{API}/{path}", json=body)
    assert answer.status == 200, (path, answer.json)
    return answer.json


async def found(server: TestServer, *experiment_ids: str) -> dict[str, Any]:
    body = {"experiment_ids": experiment_ids, "run_view_type": "ALL"}
    answer = await post(server, "runs/search", body)
    return {run["info"]["run_id"]: run for run in answer["runs"]}


async def found_natively(server: TestServer, run_id: str, *experiment_ids: str) -> Any:
    body = {"experiment_ids": experiment_ids, "view": "all"}
    answer = await server.ask("POST", "/api/v1/runs/search", json=body)
    return next(run for run in answer.json["runs"] if run["run_id"] == run_id)


async def one_natively(server: TestServer, run_id: str) -> Any:
    answer = await server.ask("GET", f"/api/v1/runs/{run_id}")
    return answer.json


def without_writers(run: dict[str, Any]) -> dict[str, Any]:
    """Only a run by itself has them, and what is known from them; the position is the page's."""
    return {name: run[name] for name in run if name not in ("writers", "position")}


async def one(server: TestServer, run_id: str) -> Any:
    answer = await server.ask("GET", f"{API}/runs/get", params={"run_id": run_id})
    return answer.json["run"]


async def test_a_search_shows_each_run_as_it_is_by_itself(server: TestServer) -> None:
    experiment = await post(server, "experiments/create", {"name": "other"})
    both = ("0", experiment["experiment_id"])
    said = [{"experiment_id": "0"}, experiment]
    ids = [(await post(server, "runs/create", body))["run"]["info"]["run_id"] for body in said]
    before = await found(server, *both)

    for path, body in WRITES:
        await post(server, path, {"run_id": ids[1], **body})
        now = await found(server, *both)
        assert now[ids[1]] != before[ids[1]], path
        assert now[ids[1]] == await one(server, ids[1]), path
        told, asked = (
            await found_natively(server, ids[1], *both),
            await one_natively(server, ids[1]),
        )
        assert without_writers(told) == without_writers(asked), path
        assert now[ids[0]] == before[ids[0]]
        before = now
    for change, stage in {"delete": "deleted", "restore": "active"}.items():
        await post(server, f"experiments/{change}", experiment)
        now = await found(server, *both)
        assert now[ids[1]] == await one(server, ids[1])
        assert now[ids[1]]["info"]["lifecycle_stage"] == stage
    answer = await server.append(batch_body(run_id=ids[0]))
    assert answer.status == 200
    assert (await found(server, *both))[ids[0]] == await one(server, ids[0])


async def test_a_rebuild_leaves_nothing_of_what_was_kept(tmp_path: Path, postgres_dsn: str) -> None:
    """A read model that was damaged, and shown, is built anew: all are shown as it is now."""
    async with serving(tmp_path, backend_store_uri=postgres_dsn) as server:
        tags = Event(EventType.TAGS_SET, 1, {"tags": {"team": "right"}})
        await server.append(events_body(1, tags))
        assert (await server.ask("GET", "/api/v1/runs/run-1?min_position=1")).status == 200
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute("UPDATE tracker_1_runs_1.run_tag SET value = 'wrong'")
        await connection.close()
        before = await found_natively(server, "run-1", "0")
        await server.ask("POST", "/api/v1/rebuild", json={"projection": "all"})
        async with asyncio.timeout(60):
            while True:
                answer = await server.ask("GET", "/api/v1/rebuild")
                if {each["state"] for each in answer.json["rebuilds"]} == {"done"}:
                    break
                await asyncio.sleep(0.05)
        after = await found_natively(server, "run-1", "0")

    assert before["tags"]["team"] == "wrong"
    assert after["tags"]["team"] == "right"


def states(*run_nos: int) -> list[RunState]:
    return [RunState(run_no, 1, False, "") for run_no in run_nos]


def test_no_more_is_kept_than_there_is_room_for(tmp_path: Path) -> None:
    metrics = {f"m{i}": MetricRow.of(1.0) for i in range(10)}
    tables = RunTables(tmp_path / "runs.sqlite")
    tables.put(runs=[RunRow(f"run{i}", metrics=metrics) for i in range(6)])
    connection = open_for_reading(tmp_path / "runs.sqlite")
    runs = KeptRuns(latest_runs, entries_max=50)  # of which a run here has 15 or 16

    first = runs.of(connection, states(1, 2, 3))
    again = runs.of(connection, states(3, 2, 1))
    runs.of(connection, states(4))
    later = runs.of(connection, states(1, 2, 3))

    assert again == first[::-1]  # the same objects
    assert [a is b for a, b in zip(first, later, strict=True)] == [True, True, False]
    connection.close()
    tables.close()


def test_a_page_of_kept_runs_ends_where_one_of_new_runs_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.runs_views.PAGE_ENTRIES_MAX", 100)
    metrics = {f"m{i}": MetricRow.of(1.0) for i in range(40)}
    tables = RunTables(tmp_path / "runs.sqlite")
    tables.put(runs=[RunRow(f"run{i}", metrics=metrics) for i in range(3)])
    connection = open_for_reading(tmp_path / "runs.sqlite")
    runs = KeptRuns(latest_runs, entries_max=10**6)

    assert [len(runs.of(connection, states(n))) for n in (1, 2, 3)] == [1, 1, 1]
    assert [run.run_id for run in runs.of(connection, states(1, 2, 3))] == ["run0", "run1"]
    connection.close()
    tables.close()
