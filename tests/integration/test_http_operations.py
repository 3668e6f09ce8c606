"""What an operator asks: health, readiness, metrics, version, the API's description."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
from aiohttp import web

from ingest.app import all_routes
from ingest.routes.mlflow import mlflow_routes
from tests.support.http_server import batch_body, serving


async def test_a_server_says_that_it_is_well(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.append(batch_body(1, 3))

        health = await server.ask("GET", "/health")
        ready = await server.ask("GET", "/ready")
        version = await server.ask("GET", "/version")

    assert health.json == {"status": "ok"}
    assert (ready.json["status"], ready.json["head"]) == ("ready", 3)
    assert version.json["api"] == "v1"
    assert (version.json["event_store"], version.json["artifact_store"]) == ("sqlite", "folder")


async def test_metrics_count_what_was_appended_and_what_was_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.append(batch_body(1, 3))
        await server.append(batch_body(1, 3))
        await server.append(batch_body(9, 1))

        answer = await server.ask("GET", "/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.body.decode()
    for line in (
        'tracker_appends_total{outcome="appended"} 1.0',
        'tracker_appends_total{outcome="duplicate"} 1.0',
        'tracker_refusals_total{code="sequence_gap"} 1.0',
        "tracker_appended_points_total 3.0",
        "tracker_log_position 3.0",
        "tracker_commit_group_batches_count 1.0",
        'tracker_projection_lag_events{projection="runs"}',
    ):
        assert line in text
    assert re.search(r"^process_cpu_seconds_total \d", text, re.M)


async def test_what_is_served_is_what_is_described(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        document = (await server.ask("GET", "/api/v1/openapi.json")).json
        served = {
            (route.method, route.resource.canonical)
            for route in server.app.router.routes()
            if route.resource is not None
        }
    # Pages are for people, and MLflow describes its own API.
    served -= {(route.method, route.path) for route in all_routes() if route.is_page}
    served -= {(route.method, re.sub(r":[^{}]*\}", "}", route.path)) for route in mlflow_routes()}

    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert document["openapi"].startswith("3.1")
    assert described == {(method, re.sub(r":[^{}]*\}", "}", path)) for method, path in served}
    is_open = {route.path for route in all_routes() if route.is_open and not route.is_page}
    assert is_open == {"/health"}


async def test_every_reference_of_the_document_leads_somewhere(tmp_path: Path) -> None:
    async with serving(tmp_path, api_key="k") as server:
        headers = {"Authorization": "Bearer k"}
        document = (await server.ask("GET", "/api/v1/openapi.json", headers=headers)).json

    names = document["components"]["schemas"].keys()
    references = re.findall(r"#/components/schemas/(\w+)", str(document))
    assert set(references) <= set(names)
    assert document["paths"]["/api/v1/append"]["post"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/health"]["get"]
    ids = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids))


async def test_a_bug_is_answered_with_an_id_and_no_trace(tmp_path: Path) -> None:
    async def broken(request: web.Request) -> web.Response:
        raise ZeroDivisionError("secret")

    async with serving(tmp_path) as server:
        server.app.router._frozen = False
        server.app.router.add_get("/broken", broken)
        answer = await server.ask("GET", "/broken")

    assert (answer.status, answer.code) == (500, "internal_error")
    assert answer.headers["X-Request-Id"] in answer.json["error"]["message"]
    assert "secret" not in answer.body.decode()


async def test_connections_may_be_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(3):
                async with session.get(f"{server.url}/health") as response:
                    assert await response.json() == {"status": "ok"}
