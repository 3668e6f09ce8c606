"""Requests to MLflow's REST API as its clients send them."""

from __future__ import annotations

from typing import Any

from tests.support.http_server import Answer, TestServer

API = "/api/2.0/mlflow"
KEY = "a-key-of-this-server"


async def post(server: TestServer, path: str, body: dict[str, Any]) -> Answer:
    return await server.ask("POST", f"{API}/{path}", json=body)


async def get(server: TestServer, endpoint: str, **query: Any) -> Answer:
    return await server.ask("GET", f"{API}/{endpoint}", params=query)


async def create_run(server: TestServer, **given: Any) -> str:
    answer = await post(server, "runs/create", {"experiment_id": "0", "start_time": 5, **given})
    assert answer.status == 200, answer.json
    return str(answer.json["run"]["info"]["run_id"])


async def run_of(server: TestServer, run_id: str) -> dict[str, Any]:
    answer = await get(server, "runs/get", run_id=run_id)
    assert answer.status == 200, answer.json
    return dict(answer.json["run"])


async def log_batch(server: TestServer, run_id: str, **said: Any) -> Answer:
    return await post(server, "runs/log-batch", {"run_id": run_id, **said})


async def count_of(server: TestServer, run_id: str) -> int:
    """How many points of `loss` are recorded, to the native API."""
    await run_of(server, run_id)  # waits until everything is folded
    metrics = (await server.ask("GET", f"/api/v1/runs/{run_id}/metrics")).json["metrics"]
    return int(metrics["loss"]["count"])


def metric(step: int, value: Any = 0.5, key: str = "loss", timestamp: int = 1000) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": timestamp, "step": step}


def entries(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in items}
