"""Whatever a client sends to MLflow's endpoints: an answer in JSON, and never a 500."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from yarl import URL

from ingest.mlflow.errors import STATUS_OF
from ingest.routes.mlflow import mlflow_routes
from tests.support.http_server import TestServer, serving

SEED, REQUESTS = 5, 2000
FIELDS = (
    *("run_id", "run_uuid", "experiment_id", "name", "new_name", "key", "value", "timestamp"),
    *("step", "metrics", "params", "tags", "start_time", "end_time", "status", "run_name"),
    *("user_id", "artifact_location", "datasets", "models", "model_json", "metric_key"),
    *("max_results", "page_token", "path", "num_parts", "upload_id", "parts", "experiment_ids"),
    *("run_ids", "filter", "order_by", "run_view_type", "view_type", "start_step", "end_step"),
    *("experiment_name", "model_id"),
)
ATOMS: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, -(2**70), 0.5, 1e308, math.nan, math.inf),
    *("", "0", "1", "-5", "x" * 300, "ü\N{GRINNING FACE}", "\ud800", "\0", "../..", "%2e%2e"),
    *("NaN", "Infinity", "a/b", "RUNNING", "FINISHED", "metrics.a > 1", "null", "{}", "[1]"),
]


def nonsense(chance: random.Random, run_id: str, depth: int = 0) -> Any:
    roll = chance.random()
    if depth < 3 and roll < 0.2:
        return [nonsense(chance, run_id, depth + 1) for _ in range(chance.randint(0, 3))]
    if depth < 3 and roll < 0.45:
        return body_of(chance, run_id, depth + 1)
    return run_id if roll > 0.9 else chance.choice(ATOMS)


def body_of(chance: random.Random, run_id: str, depth: int = 0) -> dict[str, Any]:
    names = chance.sample(FIELDS, chance.randint(1, 6))
    body = {name: nonsense(chance, run_id, depth) for name in names}
    if chance.random() < 0.6:
        body["run_id"] = run_id
    if chance.random() < 0.3:
        body["experiment_id"] = "0"
    return body


async def send(server: TestServer, method: str, path: str, body: dict[str, Any]) -> None:
    url, sent = URL(f"{server.url}{path}", encoded=True), json.dumps(body).encode()
    if method == "GET":
        texts = {name: str(value).encode(errors="replace").decode() for name, value in body.items()}
        request = server.session.get(url.update_query(texts))
    else:
        headers = {"Content-Type": "application/json"}
        request = server.session.request(method, url, data=sent, headers=headers)
    async with request as answer:
        said = await answer.read()
        if answer.status == 200:
            return
        refused = json.loads(said)
        assert "error_code" in refused, (method, path, body, said)
        code = refused["error_code"]
        is_ours = answer.status < 500 or code in ("NOT_IMPLEMENTED", "INVALID_STATE")
        is_expected = is_ours and code in STATUS_OF and bool(refused["message"])
        assert is_expected, (method, path, body, answer.status, said[:500])


async def test_nonsense_gets_an_answer(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with serving(tmp_path) as server:
        created = await server.ask("POST", "/api/2.0/mlflow/runs/create", json={})
        run_id = created.json["run"]["info"]["run_id"]
        routes = [r for r in mlflow_routes() if not r.path.startswith("/ajax-api/2.0")]
        for _ in range(REQUESTS):
            route = chance.choice(routes)
            path = route.path.replace("{path:.+}", f"0/{run_id}/artifacts/a")
            path = path.replace("{path:.*}", "a").replace("{rest:.*}", "/x")
            path = path.replace(r"{version:\d+\.\d+}", "3.0")
            for name in ("model_id", "tag_key", "upload_id", "number"):
                path = path.replace(f"{{{name}}}", chance.choice(("m-1", "7", "%ff", "..%2f")))
            method = "GET" if route.method == "*" else route.method
            await send(server, method, path, body_of(chance, run_id))

        # And it still works.
        metric = {"key": "k", "value": 1, "timestamp": 1}
        created = await server.ask("POST", "/api/2.0/mlflow/runs/create", json={})
        run_id = created.json["run"]["info"]["run_id"]
        logged = await server.ask(
            "POST",
            "/api/2.0/mlflow/runs/log-batch",
            json={"run_id": run_id, "metrics": [metric]},
        )
    assert logged.status == 200
