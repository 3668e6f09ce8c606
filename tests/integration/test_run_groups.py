"""POST /api/v1/runs/groups, and searches that bring only some columns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_server import TestServer, batch_body, events_body, serving
from tracker.events.types import Event


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as running:
        position = 0
        for number in range(5):
            run_id, writer_id = f"run-{number}", f"w{number}"
            started = Event("run.started", 1 + number, {"experiment_name": "x"})
            params = {"lr": "0.1" if number % 2 else "0.2", "seed": str(number)}
            logged = Event("params.logged", 2, {"params": params if number else {"seed": "0"}})
            await running.append(
                events_body(1, started, logged, writer_id=writer_id, run_id=run_id)
            )
            value = float("nan") if number == 4 else float(number)
            answer = await running.append(
                batch_body(3, 3, writer_id=writer_id, run_id=run_id, value=value)
            )
            position = answer.json["position"]
        await running.ask("GET", f"/api/v1/runs/run-0?min_position={position}")
        yield running


async def groups(server: TestServer, **asked: Any) -> Any:
    answer = await server.ask("POST", "/api/v1/runs/groups", json=asked)
    assert answer.status == 200, answer.json
    return answer.json


async def test_without_fields_the_search_is_counted(server: TestServer) -> None:
    everything = await groups(server)
    some = await groups(server, filter="params.lr = '0.1' OR params.seed = '0'")

    assert (everything["runs"], some["runs"]) == (5, 3)


async def test_runs_are_grouped_by_a_param_and_those_without_it_stand_apart(
    server: TestServer,
) -> None:
    answer = await groups(server, group_by=["params.lr"], metrics=["loss", "unknown"])

    by_value = {group["values"][0]: group for group in answer["groups"]}
    assert {value: group["count"] for value, group in by_value.items()} == {
        "0.1": 2, "0.2": 2, None: 1,
    }  # fmt: skip
    assert by_value["0.1"]["metrics"] == {"loss": {"count": 2, "mean": 2.0, "min": 1.0, "max": 3.0}}
    # NaN is no number: it is left out of the aggregates, and of their count.
    assert by_value["0.2"]["metrics"]["loss"] == {"count": 1, "mean": 2.0, "min": 2.0, "max": 2.0}


async def test_more_groups_than_asked_for_are_said_to_be_left_out(server: TestServer) -> None:
    answer = await groups(server, group_by=["params.seed"], max_results=2)

    assert len(answer["groups"]) == 2
    assert answer["is_reduced"] is True
    assert answer["runs"] == 5


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"group_by": ["nonsense"]}, "invalid_query"),
        ({"group_by": ["params."]}, "invalid_query"),
        ({"filter": "params.lr ="}, "invalid_query"),
        ({"group_by": ["status"] * 4}, "invalid_request"),
    ],
)
async def test_what_cannot_be_grouped_is_refused_with_its_reason(
    server: TestServer, asked: dict[str, Any], code: str
) -> None:
    answer = await server.ask("POST", "/api/v1/runs/groups", json=asked)

    assert answer.status == 400
    assert answer.code == code


async def test_a_search_brings_only_the_columns_asked_for(server: TestServer) -> None:
    asked = {"columns": ["params.lr", "metrics.unknown"], "filter": "params.lr = '0.1'"}
    answer = await server.ask("POST", "/api/v1/runs/search", json=asked)

    assert [(run["params"], run["metrics"]) for run in answer.json["runs"]] == [
        ({"lr": "0.1"}, {}), ({"lr": "0.1"}, {}),
    ]  # fmt: skip


async def test_a_column_of_no_kind_is_refused(server: TestServer) -> None:
    answer = await server.ask("POST", "/api/v1/runs/search", json={"columns": ["status"]})

    assert answer.status == 400
    assert "params.KEY" in answer.json["error"]["message"]
