"""What MLflow's REST API refuses, and in which words."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_server import TestServer, serving
from tests.support.mlflow_rest import (
    API,
    create_run,
    entries,
    log_batch,
    metric,
    post,
    run_of,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "message"),
    [
        ("experiments/create", {}, 400, "INVALID_PARAMETER_VALUE", "required parameter 'name'"),
        ("experiments/create", {"name": 1}, 400, "INVALID_PARAMETER_VALUE", "Invalid value 1 for"),
        ("experiments/create", {"name": "Default"}, 400, "RESOURCE_ALREADY_EXISTS", "exists"),
        ("experiments/create", {"name": "n" * 501}, 400, "INVALID_PARAMETER_VALUE", "500"),
        ("experiments/delete", {"experiment_id": "77"}, 404, "RESOURCE_DOES_NOT_EXIST", "id=77"),
        ("experiments/delete", {"experiment_id": "x"}, 400, "INVALID_PARAMETER_VALUE", "integer"),
        ("experiments/restore", {"experiment_id": "0"}, 404, "RESOURCE_DOES_NOT_EXIST", "id=0"),
        ("runs/create", {"experiment_id": "77"}, 404, "RESOURCE_DOES_NOT_EXIST", "id=77"),
        ("runs/create", {"start_time": "soon"}, 400, "INVALID_PARAMETER_VALUE", "'start_time'"),
        ("runs/log-batch", {}, 400, "INVALID_PARAMETER_VALUE", "required parameter 'run_id'"),
        ("runs/log-batch", {"run_id": "gone"}, 404, "RESOURCE_DOES_NOT_EXIST", "id=gone not found"),
        ("runs/log-batch", {"run_id": "a/b"}, 400, "INVALID_PARAMETER_VALUE", "'run_id'"),
        ("runs/log-batch", {"run_id": "r", "metrics": "x"}, 400, "INVALID_PARAMETER_VALUE", "'me"),
        ("runs/update", {"run_id": "gone"}, 404, "RESOURCE_DOES_NOT_EXIST", "not found"),
        ("runs/set-tag", {"run_id": "r"}, 400, "INVALID_PARAMETER_VALUE", "parameter 'key'"),
        ("runs/nothing", {}, 404, "ENDPOINT_NOT_FOUND", "There is no POST"),
        ("registered-models/create", {"name": "m"}, 501, "NOT_IMPLEMENTED", "model registry"),
        ("traces", {}, 501, "NOT_IMPLEMENTED", "traces"),
        ("webhooks", {}, 501, "NOT_IMPLEMENTED", "webhooks"),
    ],
)
async def test_a_refusal_has_mlflows_code_status_and_words(
    server: TestServer, path: str, body: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = await post(server, path, body)

    assert (answer.status, answer.json["error_code"]) == (status, code)
    assert message in answer.json["message"]


async def test_doubled_slashes_lead_where_single_ones_do(server: TestServer) -> None:
    """As on MLflow's server: the address of a server with a slash at its end, and a path."""
    run_id = await create_run(server)

    read = await server.ask("GET", f"//api//2.0/mlflow/runs/get?run_id={run_id}&x=//%20")
    changed = await server.ask("POST", f"/{API}/runs/log-batch", json={"run_id": run_id})
    told = await server.ask("GET", f"/{API}/runs/get?x=//%20", allow_redirects=False)
    elsewhere = await server.ask("GET", "//example.org/x", allow_redirects=False)

    assert read.json["run"]["info"]["run_id"] == run_id
    assert changed.status == 200
    assert (told.status, told.headers["Location"]) == (308, f"{API}/runs/get?x=//%20")
    assert elsewhere.status == 404


async def test_the_path_of_a_registered_models_file_is_looked_at_first(server: TestServer) -> None:
    of_model = {"name": "m", "version": "1"}
    for path, status, code in (
        ("../path", 400, "INVALID_PARAMETER_VALUE"),
        ("path", 501, "NOT_IMPLEMENTED"),
    ):
        answer = await server.ask(
            "GET", "/model-versions/get-artifact", params={**of_model, "path": path}
        )
        assert (answer.status, answer.json["error_code"]) == (status, code)


async def test_what_is_no_json_object_or_no_json_at_all_is_refused(server: TestServer) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"[1]", b"{", b"\xff", b"[" * 100_000, b""):
        answer = await server.ask("POST", f"{API}/runs/log-batch", data=body, headers=headers)
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")

    as_form = await server.ask("POST", f"{API}/runs/create", data=b"x=1")

    assert (as_form.status, as_form.json["error_code"]) == (400, "BAD_REQUEST")
    assert "Content-Type must be one of" in as_form.json["message"]


async def test_a_body_that_is_too_large_is_refused_in_mlflows_form(server: TestServer) -> None:
    body = io.BytesIO(b'{"run_id": "' + b"r" * 17_000_000 + b'"}')
    headers = {"Content-Type": "application/json"}

    answer = await server.ask("POST", f"{API}/runs/log-batch", data=body, headers=headers)

    assert (answer.status, answer.json["error_code"]) == (413, "INVALID_PARAMETER_VALUE")


async def test_limits_are_mlflows(server: TestServer) -> None:
    run_id = await create_run(server)
    param = [{"key": f"p{i}", "value": "v"} for i in range(101)]
    too_many = {
        "at most 1000 metrics. Got 1001": {"metrics": [metric(i) for i in range(1001)]},
        "at most 100 params. Got 101": {"params": param},
        "at most 100 tags. Got 101": {"tags": param},
        "at most 1000 metrics, params, and tags. Got 1001": {
            "metrics": [metric(i) for i in range(1000)],
            "tags": param[:1],
        },
        "Duplicate parameter keys": {"params": [param[0], param[0]]},
    }

    for message, said in too_many.items():
        answer = await log_batch(server, run_id, **said)
        assert answer.status == 400
        assert message in answer.json["message"]

    long = "v" * 9000
    tags, params = [{"key": "t", "value": long}], [{"key": "p", "value": long}]
    assert (await log_batch(server, run_id, tags=tags, params=params)).status == 200
    data = (await run_of(server, run_id))["data"]
    assert entries(data["params"]) == {"p": long[:6000]}
    assert entries(data["tags"])["t"] == long[:8000]
