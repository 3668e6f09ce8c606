"""/api/v1/runs/{run_id}/artifacts over HTTP, in front of a folder and of a bucket."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import random
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from ingest import blob_bodies
from ingest.artifact_stores import s3_bucket
from ingest.blob_uploads import digest_of
from ingest.components import COUNTERS
from ingest.routes.artifacts import ENTRY_MEDIA_TYPE
from ingest.state import ARTIFACT_STORE
from tests.support.http_server import Answer, TestServer, events_body, serving
from tests.support.logs import event
from tests.support.s3_proxy import S3Proxy, running_s3_proxy
from tests.support.s3_server import BUCKET, S3Server, running_s3
from tracker.events.blob_batch import encode_blob_batch
from tracker.events.types import Event

LOCAL = pytest.mark.parametrize("setup", ["local"], indirect=True)
S3 = pytest.mark.parametrize("setup", ["s3"], indirect=True)
DATA = random.Random(3).randbytes(2_500_000)


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@dataclass
class Setup:
    """A server with a run `r`, and a second one, `gone`, that was deleted."""

    server: TestServer
    home: Path
    proxy: S3Proxy | None

    async def ask(self, method: str, path: str = "", **request: Any) -> Answer:
        return await self.server.ask(method, f"/api/v1/runs/r/artifacts{path}", **request)

    async def put(self, path: str, data: bytes, **headers: str) -> Answer:
        return await self.ask("PUT", f"/{path}", data=io.BytesIO(data), headers=headers)

    async def listed(self, query: str = "") -> list[str]:
        answer = await self.ask("GET", f"?{query}")
        assert answer.status == 200, answer.json
        return [entry["path"] for entry in answer.json["artifacts"]]

    async def log(self, *events: Event, run_id: str = "r", first_seq: int = 2) -> None:
        """Events as a client's spool brings them."""
        body = events_body(first_seq, *events, writer_id=f"w-{run_id}", run_id=run_id)
        answer = await self.server.append(body)
        assert answer.status == 200, answer.json
        position = answer.json["position"]
        await self.server.ask("GET", f"/api/v1/runs/{run_id}?min_position={position}")

    async def lose(self, data: bytes) -> None:
        assert await self.server.app[ARTIFACT_STORE].delete(digest_of(sha256_of(data)))


@pytest.fixture(params=["local", "s3"])
async def setup(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Setup]:
    if request.param == "local":
        async with serving(tmp_path) as server:
            yield await begun(Setup(server, tmp_path, None))
            assert not list(tmp_path.rglob("incoming/*"))
        return
    monkeypatch.setitem(s3_bucket._CONFIG, "retries", {"mode": "standard", "max_attempts": 2})
    s3 = cast(S3Server, request.getfixturevalue("s3_server"))
    async with running_s3_proxy(s3.endpoint) as proxy:
        for name, value in (s3.environment | {"AWS_ENDPOINT_URL_S3": proxy.uri}).items():
            monkeypatch.setenv(name, value)
        destination = f"s3://{BUCKET}/{tmp_path.name}"
        async with serving(tmp_path, artifacts_destination=destination) as server:
            yield await begun(Setup(server, tmp_path, proxy))


async def begun(setup: Setup) -> Setup:
    await setup.log(event("run.started"), first_seq=1)
    await setup.log(event("run.started"), event("run.deleted"), run_id="gone", first_seq=1)
    return setup


@pytest.fixture(autouse=True)
async def _no_bugs_and_nothing_under_way(setup: Setup) -> AsyncIterator[None]:
    yield
    app = setup.server.app
    assert app[COUNTERS].refusals["internal_error"] == 0
    async with asyncio.timeout(60):
        while app[blob_bodies.BLOB_TRANSFERS].under_way:
            await asyncio.sleep(0.01)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- trees --------------------------------------------------------------------------------


async def test_a_file_that_was_put_is_listed_and_read_again(setup: Setup) -> None:
    put = await setup.put("model/weights.bin", DATA)
    got = await setup.ask("GET", "/model/weights.bin")
    root = (await setup.ask("GET")).json["artifacts"]

    assert put.status == 200
    assert put.json["digest"] == sha256_of(DATA)
    assert (put.json["size"], put.json["path"]) == (len(DATA), "model/weights.bin")
    assert got.body == DATA
    assert got.headers["ETag"] == f'"{sha256_of(DATA)}"'
    assert [(e["path"], e["is_folder"], e["size"], e["files"]) for e in root] == [
        ("model", True, len(DATA), 1)
    ]


async def test_a_file_put_again_replaces_the_one_before(setup: Setup) -> None:
    await setup.put("a.txt", b"first")
    await setup.put("a.txt", b"second!")

    assert (await setup.ask("GET", "/a.txt")).body == b"second!"
    (entry,) = (await setup.ask("GET")).json["artifacts"]
    assert entry["size"] == 7


async def test_what_the_client_says_it_is_must_be_what_it_sends(setup: Setup) -> None:
    good = await setup.ask("PUT", f"/a?sha256={sha256_of(b'abc')}", data=b"abc")
    bad = await setup.ask("PUT", f"/b?sha256={sha256_of(b'abd')}", data=b"abc")
    none = await setup.ask("PUT", "/c?sha256=xyz", data=b"abc")

    assert good.status == 200
    assert (bad.status, bad.code) == (422, "digest_mismatch")
    assert none.status == 400
    assert await setup.listed() == ["a"]


async def test_a_blob_that_is_there_becomes_a_file_without_being_sent(setup: Setup) -> None:
    await setup.server.ask("PUT", f"/api/v1/blobs/{sha256_of(b'abc')}", data=b"abc")
    entry = {"Content-Type": ENTRY_MEDIA_TYPE}

    named = await setup.ask("PUT", "/a.bin", json={"digest": sha256_of(b"abc")}, headers=entry)
    reference = await setup.ask(
        "PUT", "/big.parquet", json={"uri": "s3://b/k", "etag": "e", "size": 9}, headers=entry
    )
    missing = await setup.ask("PUT", "/x", json={"digest": "0" * 64}, headers=entry)
    neither = await setup.ask("PUT", "/x", json={}, headers=entry)

    assert (named.status, named.json["size"]) == (200, 3)
    assert (reference.json["uri"], reference.json["digest"]) == ("s3://b/k", None)
    assert (missing.status, missing.code) == (404, "artifact_lost")
    assert neither.status == 400
    assert (await setup.ask("GET", "/a.bin")).body == b"abc"
    elsewhere = await setup.ask("GET", "/big.parquet")
    assert (elsewhere.status, elsewhere.code) == (409, "artifact_is_reference")
    assert elsewhere.json["error"]["details"]["uri"] == "s3://b/k"


async def test_a_folder_lists_what_lies_in_it_page_by_page(setup: Setup) -> None:
    await setup.log(
        *[
            event("artifact.logged", path=path, digest=sha256_of(path.encode()), size=10)
            for path in ("b/1", "b/2", "b/c/3", "a", "c", "bb/1", "ü/ö")
        ]
    )
    assert await setup.listed() == ["a", "b", "bb", "c", "ü"]
    assert await setup.listed("prefix=b") == ["b/1", "b/2", "b/c"]
    assert await setup.listed("prefix=b/") == ["b/1", "b/2", "b/c"]
    assert await setup.listed("prefix=b&recursive=true") == ["b/1", "b/2", "b/c/3"]
    assert await setup.listed("recursive=true") == ["a", "b/1", "b/2", "b/c/3", "bb/1", "c", "ü/ö"]
    assert await setup.listed("prefix=nothing") == []
    for more in ("", "&recursive=true", "&prefix=b"):
        whole, paged, token = await setup.listed(more), [], ""
        while token is not None:
            page = (await setup.ask("GET", f"?limit=1{more}&page_token={quote(token)}")).json
            paged += [entry["path"] for entry in page["artifacts"]]
            token = page["next_page_token"]
        assert paged == whole
    assert (await setup.ask("GET", "?limit=0")).status == 400
    assert (await setup.ask("GET", "?page_token=x")).status == 400


async def test_a_deleted_file_is_gone_and_can_come_back(setup: Setup) -> None:
    for path in ("a", "d/1", "d/2", "d/e/3"):
        await setup.put(path, b"x")

    one = await setup.ask("DELETE", "/a")
    folder = await setup.ask("DELETE", "/d")
    below = await setup.ask("DELETE", "/d?recursive=true")
    again = await setup.ask("DELETE", "/a")

    assert (one.status, one.json["deleted"]) == (200, 1)
    assert (folder.status, folder.code) == (409, "artifact_conflict")
    assert (below.status, below.json["deleted"]) == (200, 3)
    assert (again.status, again.code) == (404, "artifact_not_found")
    assert await setup.listed() == []
    assert (await setup.ask("GET", "/a")).status == 404
    await setup.put("a", b"back")
    assert (await setup.ask("GET", "/a")).body == b"back"


async def test_a_tree_stays_one_that_disks_can_hold(setup: Setup) -> None:
    await setup.put("a", b"x")
    await setup.put("d/f", b"x")

    below, over = await setup.put("a/b", b"x"), await setup.put("d", b"x")

    assert (below.status, below.code) == (409, "artifact_conflict")
    assert (over.status, over.code) == (409, "artifact_conflict")


async def test_runs_that_are_not_or_not_any_more_take_no_files(setup: Setup) -> None:
    path = "/api/v1/runs/{}/artifacts"

    assert (await setup.server.ask("GET", path.format("none"))).code == "run_not_found"
    none = await setup.server.ask("PUT", f"{path.format('none')}/a", data=b"x")
    gone = await setup.server.ask("PUT", f"{path.format('gone')}/a", data=b"x")
    assert (none.status, none.code) == (404, "run_not_found")
    assert (gone.status, gone.code) == (409, "run_deleted")


async def test_a_models_tree_is_its_own(setup: Setup) -> None:
    models = "/api/v1/models/m-1/artifacts"
    put = await setup.server.ask("PUT", f"{models}/MLmodel", data=b"flavors: {}")
    got = await setup.server.ask("GET", f"{models}/MLmodel")

    assert (put.status, got.body) == (200, b"flavors: {}")
    assert await setup.listed() == []
    listed = (await setup.server.ask("GET", models)).json["artifacts"]
    assert [entry["path"] for entry in listed] == ["MLmodel"]
    assert (await setup.server.ask("DELETE", f"{models}/MLmodel")).json["deleted"] == 1


async def test_puts_at_once_into_one_run_all_count(setup: Setup) -> None:
    answers = await asyncio.gather(*(setup.put(f"f/{n}", b"%d" % n) for n in range(30)))

    assert {answer.status for answer in answers} == {200}
    (folder,) = (await setup.ask("GET")).json["artifacts"]
    assert folder["files"] == 30


# -- bytes --------------------------------------------------------------------------------


async def test_ranges_and_known_bytes_are_answered_as_http_says(setup: Setup) -> None:
    await setup.put("w", DATA)

    part = await setup.ask("GET", "/w", headers={"Range": "bytes=1000000-1999999"})
    last = await setup.ask("GET", "/w", headers={"Range": "bytes=-10"})
    beyond = await setup.ask("GET", "/w", headers={"Range": "bytes=9000000-"})
    known = await setup.ask("GET", "/w", headers={"If-None-Match": part.headers["ETag"]})
    head = await setup.ask("HEAD", "/w")

    assert (part.status, part.body) == (206, DATA[1_000_000:2_000_000])
    assert part.headers["Content-Range"] == f"bytes 1000000-1999999/{len(DATA)}"
    assert last.body == DATA[-10:]
    assert (beyond.status, beyond.code) == (416, "range_not_satisfiable")
    assert (known.status, known.body) == (304, b"")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(DATA)))


@LOCAL
@pytest.mark.parametrize(
    ("name", "said", "shown"),
    [
        ("page.html", "text/html", None),
        ("page.xhtml", "application/xhtml+xml", None),
        ("logo.svg", "image/svg+xml", None),
        ("app.js", "text/javascript", None),
        ("feed.xml", "text/xml", None),
        ("x.png", "text/html; charset=utf-8", None),
        ("x", "image/png,text/html", None),
        ("plot.png", "image/png", "image/png"),
        ("notes.md", "", "text/plain; charset=utf-8"),
        ("log.txt", "", "text/plain; charset=utf-8"),
        ("m.json", "application/json", "application/json"),
        ("clip.mp4", "video/mp4", "video/mp4"),
    ],
)
async def test_nothing_that_was_logged_runs_in_a_browser(
    setup: Setup, name: str, said: str, shown: str | None
) -> None:
    script = b'"<script>alert(1)</script>"'
    digest = sha256_of(script)
    await setup.server.ask("PUT", f"/api/v1/blobs/{digest}", data=script)
    await setup.log(event("artifact.logged", path=name, digest=digest, size=1, media_type=said))

    for query in ("", "?inline=true"):
        answer = await setup.ask("GET", f"/{name}{query}")

        kind = answer.headers["Content-Disposition"].partition(";")[0]
        assert kind == ("inline" if shown and query else "attachment")
        assert answer.headers["Content-Type"] == (shown or "application/octet-stream")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@LOCAL
@pytest.mark.parametrize(
    "name", ['a"b.txt', "ü ö.txt", "a;b\u2028.txt", "%41.txt", "a'b\u202e.txt"]
)
async def test_names_of_any_characters_come_back_in_headers_that_hold(
    setup: Setup, name: str
) -> None:
    await setup.log(event("artifact.logged", path=name, digest=sha256_of(b"x"), size=1))
    await setup.server.ask("PUT", f"/api/v1/blobs/{sha256_of(b'x')}", data=b"x")
    url = URL(f"{setup.server.url}/api/v1/runs/r/artifacts/{quote(name, safe='')}", encoded=True)

    async with setup.server.session.get(url) as answer:
        assert answer.status == 200
        found = answer.content_disposition
    assert found is not None
    assert found.filename == name


async def test_a_blob_that_the_store_has_lost_is_a_clear_refusal(setup: Setup) -> None:
    await setup.put("w", DATA)
    await setup.lose(DATA)

    answer = await setup.ask("GET", "/w")

    assert (answer.status, answer.code) == (404, "artifact_lost")
    assert answer.json["error"]["details"]["sha256"] == sha256_of(DATA)


async def test_a_store_with_urls_of_its_own_is_where_a_reader_may_go(setup: Setup) -> None:
    await setup.put("w", DATA)

    answer = await setup.ask("GET", "/w?redirect=true", allow_redirects=False)

    if setup.proxy is None:
        assert (answer.status, answer.body) == (200, DATA)
    else:
        assert answer.status == 307
        async with setup.server.session.get(URL(answer.headers["Location"], encoded=True)) as found:
            assert (found.status, await found.read()) == (200, DATA)
            assert found.headers["Content-Disposition"].startswith("attachment")


# -- zips ---------------------------------------------------------------------------------


async def test_a_folder_comes_as_a_zip_that_says_what_it_lacks(setup: Setup) -> None:
    files = {"d/w.bin": DATA, "d/e/ü.txt": b"text", "d/empty": b"", "other": b"not this"}
    for path, data in files.items():
        await setup.put(path, data)
    await setup.log(event("artifact.logged", path="d/ref", uri="s3://b/k", size=5))

    answer = await setup.ask("GET", "/d?format=zip")
    root = await setup.ask("GET", "?format=zip")

    assert answer.headers["Content-Disposition"] == 'attachment; filename="d.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.body)) as found:
        assert found.testzip() is None
        assert sorted(found.namelist()) == ["e/ü.txt", "empty", "ref.reference.json", "w.bin"]
        assert found.read("w.bin") == DATA
        assert b"s3://b/k" in found.read("ref.reference.json")
    with zipfile.ZipFile(io.BytesIO(root.body)) as found:
        assert found.read("other") == b"not this"
    assert (await setup.ask("GET", "/none?format=zip")).status == 404


@pytest.mark.parametrize("fault", ["lost", "damaged", "short"])
async def test_a_blob_that_fails_in_the_middle_never_makes_a_complete_zip(
    setup: Setup, fault: str
) -> None:
    for name, data in (("d/1", b"first"), ("d/2", DATA), ("d/3", b"last")):
        await setup.put(name, data)
    if fault == "lost":
        await setup.lose(DATA)
    elif setup.proxy is None:
        path = next(setup.home.rglob(f"blobs/*/{sha256_of(DATA)}"))
        path.write_bytes(DATA[:-1] + b"\0" if fault == "damaged" else DATA[:1_500_000])
    else:
        setup.proxy.fault = "cut_in_body"
        setup.proxy.times, setup.proxy.matches = 9, gets(sha256_of(DATA))

    with pytest.raises(aiohttp.ClientError):
        await setup.ask("GET", "/d?format=zip")


def gets(digest: str) -> Any:
    def matches(request: web.Request) -> bool:
        return request.method == "GET" and request.path.endswith(digest)

    return matches


async def test_a_reader_who_leaves_ends_the_zip(setup: Setup) -> None:
    for number in range(8):
        await setup.put(f"d/{number}", DATA)

    async with setup.server.session.get(
        f"{setup.server.url}/api/v1/runs/r/artifacts/d?format=zip"
    ) as answer:
        await answer.content.readexactly(10_000)
        answer.close()  # and the fixture waits until nothing is under way


# -- bad input ----------------------------------------------------------------------------


ELSEWHERE = (
    *("%2e%2e/x", "..%2fx", "a/%2e%2e/x", "%252e%252e/x", "a/..%252fx", "%25252e%25252e/x"),
    *("a%00b", "a%5cb", "..%5cx", "%2fetc/passwd", "c:%5cx", "C:/x", "a//b", "a/./b", "a/."),
    *("con", "NUL.txt", "a/lpt1", "COM%C2%B9", "a.", "a%20", "a%0ab", "a%7fb"),
    *("x" * 256, "/".join(["abc"] * 257), "y" * 4000),
)


@LOCAL
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_a_path_that_leads_elsewhere_is_refused(setup: Setup, method: str) -> None:
    for path in ELSEWHERE:
        url = URL(f"{setup.server.url}/api/v1/runs/r/artifacts/{path}", encoded=True)
        data = b"x" if method == "PUT" else None
        async with setup.server.session.request(method, url, data=data) as answer:
            assert answer.status in (400, 404), (path, answer.status)
    assert await setup.listed("recursive=true") == []


@LOCAL
async def test_a_folder_that_leads_elsewhere_lists_nothing(setup: Setup) -> None:
    for path in ELSEWHERE:
        folder = await setup.ask("GET", f"?prefix={path}")
        assert folder.status == 400 or folder.json["artifacts"] == [], path


@LOCAL
async def test_a_body_that_breaks_off_leaves_nothing(setup: Setup) -> None:
    host, port = setup.server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = "PUT /api/v1/runs/r/artifacts/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999"
    writer.write(head.encode() + b"\r\n\r\n" + b"x" * 3_000_000)
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.2)

    assert await setup.listed() == []


@S3
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ((403, "AccessDenied"), 502, "store_refused"),
        ((500, "InternalError"), 503, "store_unavailable"),
        ((503, "SlowDown"), 503, "store_unavailable"),
        ((507, "InsufficientStorage"), 507, "store_full"),
    ],
)
async def test_a_bucket_that_refuses_makes_a_clear_answer(
    setup: Setup, fault: tuple[int, str], status: int, code: str
) -> None:
    assert setup.proxy is not None
    await setup.put("there", DATA)
    setup.proxy.fault, setup.proxy.times = fault, 100

    put = await setup.put("a", b"abc")
    many = encode_blob_batch([(sha256_of(data), data) for data in (b"1", b"2", b"3")])
    batch = await setup.server.ask("POST", "/api/v1/blobs/batch", data=many)
    got = await setup.ask("GET", "/there")
    setup.proxy.times = 0

    assert (put.status, put.code) == (status, code)
    assert (batch.status, batch.code) == (status, code)
    assert (got.status, got.code) == (status, code)
    assert await setup.listed() == ["there"]
    assert (await setup.put("a", b"abc")).status == 200


@LOCAL
async def test_a_full_disk_refuses_a_file_and_leaves_the_tree_as_it_was(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await setup.put("a", b"first")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        answers = [
            await setup.put("a", DATA),
            await setup.ask("PUT", f"/a?sha256={sha256_of(DATA)}", data=io.BytesIO(DATA)),
            await setup.put("b", b"small"),
        ]

    assert {(answer.status, answer.code) for answer in answers} == {(507, "store_full")}
    assert await setup.listed() == ["a"]
    assert (await setup.ask("GET", "/a")).body == b"first"
    assert (await setup.put("a", DATA)).status == 200


@LOCAL
async def test_a_flag_that_is_none_is_refused(setup: Setup) -> None:
    for query in ("recursive=maybe", "format=tar", "limit=x", "min_position=999999"):
        assert (await setup.ask("GET", f"?{query}")).status == 400
