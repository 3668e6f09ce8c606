"""MLflow's artifact proxy, at the level of HTTP: trees, paths, parts. Real clients are in e2e."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from tests.support.http_server import TestServer, serving

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts"
KEY = "a-key-of-this-server"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


async def create_run(server: TestServer) -> str:
    answer = await server.ask("POST", f"{API}/runs/create", json={"experiment_id": "0"})
    return str(answer.json["run"]["info"]["run_id"])


async def test_a_proxied_file_is_the_runs_own(server: TestServer) -> None:
    run_id = await create_run(server)
    path = f"0/{run_id}/artifacts/plots/a%20b.json"
    put = await server.ask("PUT", f"{PROXY}/artifacts/{path}", data=b'{"x": 1}')
    assert (put.status, put.json) == (200, {})

    asked = {"run_id": run_id, "path": "plots"}
    listed = await server.ask("GET", f"{API}/artifacts/list", params=asked)
    proxied = await server.ask(
        "GET", f"{PROXY}/artifacts", params={"path": f"0/{run_id}/artifacts"}
    )
    read = await server.ask("GET", f"{PROXY}/artifacts/{path}")
    by_run = await server.ask(
        "GET", "/get-artifact", params={"run_uuid": run_id, "path": "plots/a b.json"}
    )

    assert listed.json == {
        "root_uri": f"mlflow-artifacts:/0/{run_id}/artifacts",
        "files": [{"path": "plots/a b.json", "is_dir": False, "file_size": 8}],
    }
    assert proxied.json == {"files": [{"path": "plots", "is_dir": True}]}
    assert read.body == by_run.body == b'{"x": 1}'
    assert read.headers["Content-Type"] == "text/plain"
    assert read.headers["Content-Disposition"] == 'attachment; filename="a b.json"'
    assert read.headers["X-Content-Type-Options"] == "nosniff"
    deleted = await server.ask("DELETE", f"{PROXY}/artifacts/0/{run_id}/artifacts/plots")
    assert (deleted.status, deleted.json) == (200, {})
    gone = await server.ask("GET", f"{PROXY}/artifacts/{path}")
    assert (gone.status, gone.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize("dots", [".", "./.", "././"])
async def test_a_dot_in_a_path_is_the_folder_itself(server: TestServer, dots: str) -> None:
    run_id = await create_run(server)
    root = f"0/{run_id}/artifacts"
    await server.ask("PUT", f"{PROXY}/artifacts/{root}/plots/a.txt", data=b"x")

    listed = await server.ask("GET", f"{PROXY}/artifacts", params={"path": f"{root}/{dots}"})
    below = await server.ask(
        "GET",
        f"{API}/artifacts/list",
        params={"run_id": run_id, "path": f"{dots.strip('/')}/plots"},
    )

    assert listed.json == {"files": [{"path": "plots", "is_dir": True}]}
    assert [file["path"] for file in below.json["files"]] == ["plots/a.txt"]


async def test_a_file_of_no_run_and_of_a_model_is_found_again(server: TestServer) -> None:
    model = f"0/models/m-{'a' * 32}/artifacts/MLmodel"
    stray = "shared/weights/x.bin"
    for path in (model, stray):
        put = await server.ask("PUT", f"{PROXY}/artifacts/{path}", data=path.encode())
        assert put.status == 200

    for path in (model, stray):
        assert (await server.ask("GET", f"{PROXY}/artifacts/{path}")).body == path.encode()
    listed = await server.ask("GET", f"{PROXY}/artifacts", params={"path": "shared"})
    assert listed.json == {"files": [{"path": "weights", "is_dir": True}]}


@pytest.mark.parametrize(
    "path", ["../x", "%2e%2e/x", "a/%252e%252e/x", "/etc/passwd", "a%5cb", "a%23b", "a//b"]
)
async def test_a_path_that_leads_elsewhere_is_refused(server: TestServer, path: str) -> None:
    put = await server.session.put(
        URL(f"{server.url}{PROXY}/artifacts/0/{path}", encoded=True), data=b"x"
    )
    listed = await server.ask("GET", f"{PROXY}/artifacts", params={"path": f"0/{path}"})

    assert put.status in (400, 404)
    assert put.content_type == "application/json"
    assert (listed.status, listed.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


async def test_an_upload_in_parts_needs_no_key_but_the_urls_own_proof(tmp_path: Path) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    async with serving(tmp_path, api_key=KEY) as server:
        run = await server.ask("POST", f"{API}/runs/create", json={}, headers=key)
        folder = f"0/{run.json['run']['info']['run_id']}/artifacts/big"
        body = {"path": "/home/me/w.bin", "num_parts": 3}
        created = await server.ask("POST", f"{PROXY}/mpu/create/{folder}", json=body, headers=key)
        parts = []
        for credential in created.json["credentials"]:
            url, number = credential["url"], credential["part_number"]
            async with server.session.put(url, data=bytes([number]) * 100_000) as answer:
                assert answer.status == 200
                parts.append({"part_number": number, "etag": answer.headers["ETag"], "url": url})
            async with server.session.put(
                url[:-1] + "0" * (url[-1] != "0") + "1" * (url[-1] == "0"), data=b"x"
            ) as forged:
                assert forged.status == 401
        done = {"path": "w.bin", "upload_id": created.json["upload_id"], "parts": parts[::-1]}
        completed = await server.ask(
            "POST", f"{PROXY}/mpu/complete/{folder}", json=done, headers=key
        )
        read = await server.ask("GET", f"{PROXY}/artifacts/{folder}/w.bin", headers=key)
        holed = await server.ask(
            "POST", f"{PROXY}/mpu/complete/{folder}", json=done | {"parts": parts[1:]}, headers=key
        )
        presigned = await server.ask("GET", f"{PROXY}/presigned/{folder}/w.bin", headers=key)

    assert completed.json == {}
    assert read.body == b"".join(bytes([n]) * 100_000 for n in (1, 2, 3))
    assert holed.status == 400
    assert (presigned.status, presigned.json["error_code"]) == (501, "NOT_IMPLEMENTED")


async def test_the_web_pages_upload_says_what_is_missing(server: TestServer) -> None:
    run_id = await create_run(server)
    upload = "/ajax-api/2.0/mlflow/upload-artifact"
    for query, message in (
        ({}, "Request must specify run_uuid."),
        ({"run_uuid": run_id}, "Request must specify path."),
        ({"run_uuid": run_id, "path": "a"}, "Request must specify data."),
    ):
        assert (await server.ask("POST", upload, params=query)).json["message"] == message

    asked = {"run_uuid": run_id, "path": "notes/a.txt"}
    assert (await server.ask("POST", upload, params=asked, data=b"hi")).status == 200
    large = await server.ask(
        "POST", upload, params=asked, data=io.BytesIO(bytes(10 * 1024 * 1024 + 1))
    )

    assert large.json["message"] == "Artifact size is too large. Max size is 10MB."
    found = await server.ask(
        "GET", "/get-artifact", params={"run_id": run_id, "path": "notes/a.txt"}
    )
    assert found.body == b"hi"


async def test_the_files_of_a_model_are_listed_and_read(server: TestServer) -> None:
    models = f"{API}/logged-models"
    created = await server.ask("POST", models, json={"experiment_id": "0", "name": "net"})
    info = created.json["model"]["info"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    for name in ("MLmodel", "code/net.py"):
        await server.ask("PUT", f"{PROXY}/artifacts/{root}/{name}", data=name.encode())

    own = f"{models}/{info['model_id']}/artifacts"
    listed = await server.ask("GET", f"{own}/directories")
    inside = await server.ask("GET", f"{own}/directories?artifact_directory_path=code")
    read = await server.ask("GET", f"{own}/files?artifact_file_path=code/net.py")

    assert listed.json["root_uri"] == info["artifact_uri"]
    assert {file["path"]: file["is_dir"] for file in listed.json["files"]} == {
        "MLmodel": False,
        "code": True,
    }
    assert [file["path"] for file in inside.json["files"]] == ["code/net.py"]
    assert read.body == b"code/net.py"
    unknown = await server.ask("GET", f"{models}/m-1/artifacts/directories")
    assert (unknown.status, unknown.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
