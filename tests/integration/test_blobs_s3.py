"""Blobs over HTTP with a bucket behind the server, and a bucket that fails in every way."""

from __future__ import annotations

import hashlib
import io
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from ingest.artifact_stores import s3_bucket
from ingest.components import COUNTERS
from ingest.state import ARTIFACT_STORE
from tests.support.http_server import Answer, TestServer, serving
from tests.support.s3_proxy import S3Proxy, running_s3_proxy
from tests.support.s3_server import BUCKET, S3Server, running_s3
from tracker.events.limits import ARTIFACT_PART_BYTES

PART = ARTIFACT_PART_BYTES
SMALL = b"a small blob"
LARGE = random.Random(5).randbytes(PART + 1000)


@dataclass
class Setup:
    server: TestServer
    proxy: S3Proxy


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
async def setup(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Setup]:
    """A server whose bucket is reached through the proxy; it retries once, not four times."""
    monkeypatch.setitem(s3_bucket._CONFIG, "retries", {"mode": "standard", "max_attempts": 2})
    async with running_s3_proxy(s3_server.endpoint) as proxy:
        environment = s3_server.environment | {"AWS_ENDPOINT_URL_S3": proxy.uri}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        destination = f"s3://{BUCKET}/{tmp_path.name}"
        async with serving(tmp_path, artifacts_destination=destination) as server:
            yield Setup(server, proxy)
            assert server.app[COUNTERS].refusals["internal_error"] == 0


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def put(setup: Setup, data: bytes) -> Answer:
    path = f"/api/v1/blobs/{sha256_of(data)}"
    return await setup.server.ask("PUT", path, data=io.BytesIO(data))


async def get(setup: Setup, data: bytes) -> Answer:
    return await setup.server.ask("GET", f"/api/v1/blobs/{sha256_of(data)}")


async def begin(setup: Setup, data: bytes) -> tuple[str, Answer]:
    path = f"/api/v1/blobs/{sha256_of(data)}/uploads"
    answer = await setup.server.ask("POST", path, json={"size": len(data)})
    return f"{path}/{answer.json['upload_id']}", answer


async def put_part(setup: Setup, path: str, number: int) -> Answer:
    part = LARGE[(number - 1) * PART : number * PART]
    return await setup.server.ask("PUT", f"{path}/parts/{number}", data=io.BytesIO(part))


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_a_blob_goes_to_the_bucket_and_comes_back(setup: Setup, data: bytes) -> None:
    first, second = await put(setup, data), await put(setup, data)
    found = await get(setup, data)

    assert (first.json["outcome"], second.json["outcome"]) == ("stored", "present")
    assert (found.status, found.body) == (200, data)


async def test_parts_go_through_the_server_or_past_it(setup: Setup) -> None:
    path, begun = await begin(setup, LARGE)
    assert [url["number"] for url in begun.json["urls"]] == [1, 2]
    past = begun.json["urls"][1]["url"]
    async with setup.server.session.put(past, data=LARGE[PART:]) as direct:
        assert direct.status == 200

    through = await put_part(setup, path, 1)
    state = await setup.server.ask("GET", path)
    done = await setup.server.ask("POST", f"{path}/complete")
    url = await setup.server.ask("GET", f"/api/v1/blobs/{sha256_of(LARGE)}/url")

    assert through.status == 200
    assert (state.json["present"], state.json["urls"]) == ([1, 2], [])
    assert done.json["outcome"] == "stored"
    async with setup.server.session.get(url.json["url"]) as answer:
        assert await answer.read() == LARGE


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ((403, "AccessDenied"), 502, "store_refused"),
        ((403, "SignatureDoesNotMatch"), 502, "store_refused"),
        ((404, "NoSuchBucket"), 502, "store_refused"),
        ((500, "InternalError"), 503, "store_unavailable"),
        ((503, "SlowDown"), 503, "store_unavailable"),
        ((507, "InsufficientStorage"), 507, "store_full"),
        ("reply_lost", 503, "store_unavailable"),
    ],
)
async def test_a_bucket_that_fails_is_a_clear_refusal_and_nothing_is_half_visible(
    setup: Setup, fault: tuple[int, str] | str, status: int, code: str
) -> None:
    def is_write(request: web.Request) -> bool:
        return request.method in ("PUT", "POST") and request.path.endswith("/data")

    path, _ = await begin(setup, LARGE)
    setup.proxy.fault, setup.proxy.times, setup.proxy.matches = fault, 1000, is_write
    answer = await put_part(setup, path, 2)
    setup.proxy.times = 0

    assert (answer.status, answer.code) == (status, code)
    assert (await get(setup, LARGE)).status == 404
    for number in (1, 2):
        assert (await put_part(setup, path, number)).status == 200
    assert (await setup.server.ask("POST", f"{path}/complete")).json["outcome"] == "stored"


@pytest.mark.parametrize(
    "fault", [(500, "InternalError"), (503, "SlowDown"), "reply_lost"], ids=str
)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_a_bucket_that_fails_once_is_asked_again(
    setup: Setup, fault: tuple[int, str] | str, data: bytes
) -> None:
    setup.proxy.fault, setup.proxy.times = fault, 1
    setup.proxy.matches = lambda request: request.method in ("PUT", "POST")

    answer = await put(setup, data)

    assert sum(setup.proxy.met.values()) == 1
    assert answer.status == 200
    assert (await get(setup, data)).body == data


@pytest.mark.parametrize("fault", [(500, "InternalError"), "reply_lost"], ids=str)
async def test_completing_goes_on_where_the_bucket_failed(
    setup: Setup, fault: tuple[int, str] | str
) -> None:
    """The copy from where the parts were joined to the blob's own name fails."""
    path, _ = await begin(setup, LARGE)
    for number in (1, 2):
        await put_part(setup, path, number)
    setup.proxy.fault, setup.proxy.times = fault, 1000
    setup.proxy.matches = lambda request: "x-amz-copy-source" in request.headers

    failed = await setup.server.ask("POST", f"{path}/complete")
    setup.proxy.times = 0
    done = await setup.server.ask("POST", f"{path}/complete")

    assert (failed.status, failed.code) == (503, "store_unavailable")
    assert done.status == 200
    assert (await get(setup, LARGE)).body == LARGE


async def test_a_download_that_the_bucket_cuts_is_not_answered_as_whole(setup: Setup) -> None:
    await put(setup, LARGE)
    setup.proxy.fault, setup.proxy.times = "cut_in_body", 1
    setup.proxy.matches = lambda request: request.method == "GET"

    with pytest.raises(aiohttp.ClientPayloadError):
        await get(setup, LARGE)

    assert (await get(setup, LARGE)).body == LARGE


async def test_what_a_server_that_died_had_begun_is_cleaned_away(setup: Setup) -> None:
    """A multipart upload that no upload.json tells of, as between two calls to S3."""
    store = setup.server.app[ARTIFACT_STORE]
    bucket = store.uploads._bucket  # type: ignore[attr-defined]  # to begin what nobody notes
    await bucket.call("create_multipart_upload", Key=f"{store._root}blobs/aa/{'a' * 64}")  # type: ignore[attr-defined]  # the same

    assert await store.clean(before_us=0) == 0
    assert await store.clean(before_us=time.time_ns() // 1000 + 2_000_000) == 1
    assert await store.clean(before_us=time.time_ns() // 1000 + 2_000_000) == 0


async def test_a_bucket_that_is_away_is_said(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(s3_bucket._CONFIG, "retries", {"mode": "standard", "max_attempts": 1})
    environment = s3_server.environment | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async with serving(tmp_path, artifacts_destination=f"s3://{BUCKET}/x") as server:
        answer = await server.ask("HEAD", f"/api/v1/blobs/{sha256_of(SMALL)}")
        assert (await server.ask("GET", "/ready")).status == 200

    assert answer.status == 503
    assert "Retry-After" in answer.headers
