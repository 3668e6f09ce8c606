"""Logged models over the native API: what MLflow's clients write is there for everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_server import Answer, TestServer, serving

API = "/api/2.0/mlflow"
NOTHING = {"model_id": "m-" + "0" * 32}


@pytest.fixture(params=["sqlite", "postgres"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestServer]:
    given = {}
    if request.param == "postgres":
        given["backend_store_uri"] = request.getfixturevalue("postgres_dsn")
    async with serving(tmp_path, **given) as server:
        yield server


async def mlflow(server: TestServer, path: str, body: dict[str, Any], verb: str = "POST") -> Any:
    answer = await server.ask(verb, f"{API}/{path}", json=body)
    assert answer.status == 200, (path, answer.json)
    return answer.json


async def created(server: TestServer, **said: Any) -> str:
    answer = await mlflow(server, "logged-models", {"experiment_id": "0", **said})
    return str(answer["model"]["info"]["model_id"])


async def found(server: TestServer, **search: Any) -> Answer:
    body = {"experiment_ids": ["0"], **search}
    return await server.ask("POST", "/api/v1/models/search", json=body)


async def test_a_model_is_read_by_its_id_until_after_its_deletion(server: TestServer) -> None:
    run = (await mlflow(server, "runs/create", {"experiment_id": "0"}))["run"]["info"]["run_id"]
    params = [{"key": "lr", "value": "1"}]
    model_id = await created(server, name="net", source_run_id=run, params=params)
    point = {"run_id": run, "key": "acc", "timestamp": 5, "model_id": model_id}
    for step, value in ((1, 0.5), (2, "NaN")):
        await mlflow(server, "runs/log-metric", {**point, "step": step, "value": value})
    await mlflow(
        server, "runs/outputs", {"run_id": run, "models": [{"model_id": model_id, "step": 2}]}
    )
    ready = {"status": "LOGGED_MODEL_READY", "status_message": "done"}
    await mlflow(server, f"logged-models/{model_id}", ready, "PATCH")

    model = (await server.ask("GET", f"/api/v1/models/{model_id}")).json
    of_run = (await server.ask("GET", f"/api/v1/runs/{run}")).json
    await mlflow(server, f"logged-models/{model_id}", {}, "DELETE")
    deleted = (await server.ask("GET", f"/api/v1/models/{model_id}")).json

    (latest,) = model.pop("metrics")
    assert (latest["key"], latest["value"], latest["step"]) == ("acc", "NaN", 2)
    assert latest["dataset_name"] is None
    assert {
        "name": "net", "status": "READY", "status_message": "done", "source_run_id": run,
        "params": {"lr": "1"}, "tags": {}, "points": 2, "lifecycle_stage": "active",
        "experiment_id": "0", "model_type": None,
    }.items() <= model.items()  # fmt: skip
    assert of_run["model_outputs"] == [{"model_id": model_id, "step": 2}]
    assert of_run["model_inputs"] == []
    assert deleted["lifecycle_stage"] == "deleted"
    assert (await found(server)).json["models"] == []


async def test_models_come_in_pages_the_latest_first(server: TestServer) -> None:
    ids = [await created(server, name=f"net-{i}") for i in range(5)]
    pages: list[list[str]] = []
    token: str | None = None
    while True:
        answer = await found(server, max_results=2, page_token=token)
        pages.append([model["model_id"] for model in answer.json["models"]])
        token = answer.json["next_page_token"]
        if token is None:
            break
        if len(pages) == 1:
            await created(server, name="meanwhile")  # shifts nothing

    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(model_id for page in pages for model_id in page) == sorted(ids)
    named = (await found(server, name="net-3", status="PENDING")).json["models"]
    assert [model["model_id"] for model in named] == [ids[3]]
    assert (await found(server, status="READY")).json["models"] == []
    assert (await found(server, source_run_id="nobody")).json["models"] == []


async def test_what_is_no_model_and_no_search_is_refused(server: TestServer) -> None:
    missing = await server.ask("GET", f"/api/v1/models/{NOTHING['model_id']}")
    assert (missing.status, missing.code) == (404, "model_not_found")
    wrongs: list[dict[str, Any]] = [
        {"experiment_ids": []},
        {"max_results": 1001},
        {"page_token": "2"},
        {"page_token": "x.y"},
        {"status": "ready"},
    ]
    for wrong in wrongs:
        refused = await found(server, **wrong)
        assert refused.status == 400, wrong
        assert refused.code == "invalid_request"
