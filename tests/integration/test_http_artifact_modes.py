"""--artifacts-only and --no-serve-artifacts: what is served, and in which words it is not."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

from ingest.binding import InvalidSettings
from ingest.components import COUNTERS
from ingest.settings import load_settings
from tests.support.http_server import TestServer, batch_body, events_body, serving
from tests.support.logs import event
from tests.support.s3_server import BUCKET, S3Server, running_s3
from tracker.events.blob_batch import encode_blob_batch
from tracker.events.types import Event
from tracker.shipper.blobs import NamedBlob
from tracker.shipper.state import DeliveryCounts
from tracker.shipper.transmit import Transmitter, Unreachable
from tracker.shipper.uploads import Uploader

DATA = random.Random(9).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def destination(tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


async def log(server: TestServer, first_seq: int, event: Event) -> None:
    position = (await server.append(events_body(first_seq, event))).json["position"]
    await server.ask("GET", f"/api/v1/runs/run-1?min_position={position}")


async def put_blob(server: TestServer, data: bytes = DATA) -> int:
    digest = hashlib.sha256(data).hexdigest()
    return (await server.ask("PUT", f"/api/v1/blobs/{digest}", data=io.BytesIO(data))).status


# -- artifacts only -----------------------------------------------------------------------


@asynccontextmanager
async def only(home: Path, *, with_log: bool) -> AsyncIterator[TestServer]:
    log = {} if with_log else {"backend_store_uri": None}
    async with serving(home, artifacts_only=True, **log) as server:
        yield server


async def test_a_server_for_artifacts_only_needs_no_log_and_serves_blobs(tmp_path: Path) -> None:
    async with only(tmp_path, with_log=False) as server:
        assert await put_blob(server) == 200
        assert (await server.ask("GET", f"/api/v1/blobs/{SHA256}")).body == DATA
        ready = await server.ask("GET", "/ready")
        assert (ready.status, ready.json["artifacts"]) == (200, "ready")
        assert (await server.ask("GET", "/health")).status == 200
        assert (await server.ask("GET", "/version")).status == 200
        exposition = (await server.ask("GET", "/metrics")).body.decode()
        assert "tracker_artifact_store_up 1.0" in exposition
        assert "tracker_blob_bytes_in_total 3e+06" in exposition
        trees = await server.ask("GET", "/api/v1/runs/r/artifacts")
        assert (trees.status, trees.code) == (503, "artifacts_only")
        assert "--backend-store-uri" in trees.json["error"]["message"]

    assert not (tmp_path / "server" / "tracker.db").exists()
    assert not (tmp_path / "server" / "server.json").exists()


@pytest.mark.parametrize("with_log", [False, True])
async def test_whatever_else_is_asked_for_is_refused_with_the_setting_to_change(
    tmp_path: Path, with_log: bool
) -> None:
    async with only(tmp_path, with_log=with_log) as server:
        answers = [
            await server.append(batch_body()),
            await server.ask("POST", "/api/v1/runs/search", json={}),
            await server.ask("GET", "/api/v1/experiments"),
            await server.ask("GET", "/api/v1/events"),
            await server.ask("PATCH", "/api/v1/runs/r", json={}),
        ]
        mlflow = await server.ask("POST", "/api/2.0/mlflow/runs/search", json={})
        nothing = await server.ask("GET", "/api/v1/nonsense")

    assert {(answer.status, answer.code) for answer in answers} == {(503, "artifacts_only")}
    for answer in answers:
        assert answer.json["error"]["details"]["setting"] == "TRACKER_ARTIFACTS_ONLY"
        assert answer.headers["Retry-After"] == "60"
    assert mlflow.status == 503
    assert nothing.status == 404


async def test_with_a_log_it_serves_trees_as_well(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await log(server, 1, event("run.started"))
        put = await server.ask("PUT", "/api/v1/runs/run-1/artifacts/a", data=b"abc")
        assert put.status == 200

    async with only(tmp_path, with_log=True) as server:
        assert (await server.ask("GET", "/api/v1/runs/run-1/artifacts/a")).body == b"abc"
        put = await server.ask("PUT", "/api/v1/runs/run-1/artifacts/b", data=b"def")
        assert put.status == 200
        listed = await server.ask("GET", "/api/v1/runs/run-1/artifacts")
        assert [entry["path"] for entry in listed.json["artifacts"]] == ["a", "b"]


def test_both_modes_at_once_leave_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="leave nothing to serve"):
        load_settings(home=tmp_path, artifacts_only=True, serve_artifacts=False)


# -- no artifacts -------------------------------------------------------------------------


async def test_a_server_that_carries_no_files_says_which_setting_makes_it_so(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as server:
        await log(server, 1, event("run.started"))
        await server.ask("PUT", "/api/v1/runs/run-1/artifacts/d/a", data=b"abc")
    stored = hashlib.sha256(b"abc").hexdigest()

    async with serving(tmp_path, serve_artifacts=False) as server:
        begun = await server.ask("POST", f"/api/v1/blobs/{SHA256}/uploads", json={"size": 3})
        upload = f"/api/v1/blobs/{SHA256}/uploads/{begun.json['upload_id']}"
        batch = encode_blob_batch([(stored, b"abc")])
        refused = [
            await server.ask("PUT", f"/api/v1/blobs/{SHA256}", data=b"abc"),
            await server.ask("GET", f"/api/v1/blobs/{stored}"),
            await server.ask("POST", "/api/v1/blobs/batch", data=batch),
            await server.ask("PUT", f"{upload}/parts/1", data=b"abc"),
            await server.ask("GET", "/api/v1/runs/run-1/artifacts/d/a"),
            await server.ask("GET", "/api/v1/runs/run-1/artifacts/d?format=zip"),
            await server.ask("PUT", "/api/v1/runs/run-1/artifacts/b", data=b"abc"),
        ]
        head = await server.ask("HEAD", f"/api/v1/blobs/{stored}")
        listed = await server.ask("GET", "/api/v1/runs/run-1/artifacts?prefix=d")
        appended = await server.append(batch_body(2))

    assert {(answer.status, answer.code) for answer in refused} == {(503, "artifacts_not_served")}
    assert "--no-serve-artifacts" in refused[0].json["error"]["message"]
    assert begun.json["urls"] is None
    assert (head.status, appended.status) == (200, 200)
    assert [entry["path"] for entry in listed.json["artifacts"]] == ["d/a"]


async def test_beside_a_bucket_clients_go_to_it_by_the_servers_urls(
    tmp_path: Path, destination: str
) -> None:
    given = {"artifacts_destination": destination, "serve_artifacts": False}
    async with serving(tmp_path, **given) as server:
        await log(server, 1, event("run.started"))
        assert await put_blob(server, b"") == 200  # nothing that would have to be carried
        begun = await server.ask(
            "POST", f"/api/v1/blobs/{SHA256}/uploads", json={"size": len(DATA)}
        )
        (part,) = begun.json["urls"]
        url = URL(part["url"], encoded=True)
        async with server.session.put(url, data=io.BytesIO(DATA)) as sent:
            assert sent.status == 200
        upload = f"/api/v1/blobs/{SHA256}/uploads/{begun.json['upload_id']}"
        done = await server.ask("POST", f"{upload}/complete")
        await log(server, 2, event("artifact.logged", path="w", digest=SHA256, size=len(DATA)))
        path = "/api/v1/runs/run-1/artifacts/w"
        found = await server.ask("GET", path, allow_redirects=False)
        followed = await server.ask("GET", path)

    assert (done.status, done.json["outcome"]) == (200, "stored")
    assert found.status == 307
    assert followed.body == DATA


async def test_the_shipper_takes_staged_files_to_the_bucket_itself(
    tmp_path: Path, destination: str
) -> None:
    given = {"artifacts_destination": destination, "serve_artifacts": False}
    blobs = []
    for number, data in enumerate((b"small", b"", DATA)):
        (tmp_path / str(number)).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        blobs.append(NamedBlob(number + 1, digest, len(data), tmp_path / str(number)))
    async with serving(tmp_path, **given) as server:
        transmitter = Transmitter(server.session, server.url)
        uploader = Uploader(transmitter, DeliveryCounts(), tmp_path, workspace="default")

        await uploader.upload(blobs)

        for blob in blobs:
            head = await server.ask("HEAD", f"/api/v1/blobs/{blob.digest}")
            assert (head.status, head.headers["Content-Length"]) == (200, str(blob.size))
        assert server.app[COUNTERS].blob_bytes_in == 0


async def test_beside_a_folder_the_shipper_keeps_what_is_staged(tmp_path: Path) -> None:
    (tmp_path / "staged").write_bytes(b"small")
    blob = NamedBlob(1, hashlib.sha256(b"small").hexdigest(), 5, tmp_path / "staged")
    async with serving(tmp_path, serve_artifacts=False) as server:
        transmitter = Transmitter(server.session, server.url)
        uploader = Uploader(transmitter, DeliveryCounts(), tmp_path, workspace="default")

        with pytest.raises(Unreachable, match="--no-serve-artifacts"):
            await uploader.upload([blob])
