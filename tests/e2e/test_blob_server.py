"""`tracker server` keeps blobs: through its death, in constant memory, and on a full disk."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ServerProcess, running_server
from tests.support.s3_server import BUCKET, running_s3
from tracker.events.limits import ARTIFACT_PART_BYTES

PART = ARTIFACT_PART_BYTES
MB = 1024 * 1024
# What 300 MB may add to a server that has answered one small upload.
GROWTH_MB_MAX = 60
# With S3, which takes parts only as a whole, however many come at once.
S3_RSS_MB_MAX = 300


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path) as server:
        yield server


def ask(server: ServerProcess, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """(status, JSON or bytes of the answer). `body` is bytes, or an iterator of them."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, body=body)
        with connection.getresponse() as answer:
            data = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(data) if is_json else data
    finally:
        connection.close()


def begin(server: ServerProcess, sha256: str, size: int) -> str:
    path = f"/api/v1/blobs/{sha256}/uploads"
    status, answer = ask(server, "POST", path, json.dumps({"size": size}).encode())
    assert status == 200, answer
    return f"{path}/{answer['upload_id']}"


def send_half(server: ServerProcess, path: str, data: bytes) -> socket.socket:
    """The start of a PUT that goes no further; the connection stays open."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data[: len(data) // 2])
    return connection


def rss_mb(server: ServerProcess, name: str) -> float:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("the resident set is read from /proc, which this system lacks")
    (line,) = (x for x in status.read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def test_an_upload_goes_on_where_the_killed_server_left_it(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Two parts are in, a third is half in, a whole blob is half in; then SIGKILL."""
    data = random.Random(1).randbytes(3 * PART + 100)
    sha256 = hashlib.sha256(data).hexdigest()
    path = begin(server, sha256, len(data))
    parts = {n: data[(n - 1) * PART : n * PART] for n in (1, 2, 3, 4)}
    for number in (4, 1):
        assert ask(server, "PUT", f"{path}/parts/{number}", parts[number])[0] == 200
    with (
        send_half(server, f"{path}/parts/2", parts[2]),
        send_half(server, f"/api/v1/blobs/{sha256}", data),
    ):
        server.kill()
    server.start()

    _, state = ask(server, "GET", path)
    early, _ = ask(server, "POST", f"{path}/complete")
    for number in (3, 2):
        assert ask(server, "PUT", f"{path}/parts/{number}", parts[number])[0] == 200
    server.kill()
    server.start()
    done, answer = ask(server, "POST", f"{path}/complete")
    server.kill()
    server.start()
    read, found = ask(server, "GET", f"/api/v1/blobs/{sha256}")

    assert state["present"] == [1, 4]
    assert (early, done, read) == (409, 200, 200)
    assert answer["outcome"] == "stored"
    assert found == data
    assert not list((tmp_path / "server" / "artifacts" / "default" / "uploads").iterdir())


@pytest.mark.parametrize("in_parts", [True, False])
def test_memory_does_not_grow_with_what_is_uploaded(server: ServerProcess, in_parts: bool) -> None:
    block = random.Random(2).randbytes(PART)
    count = 300 * MB // PART
    hasher = hashlib.sha256()
    for _ in range(count):
        hasher.update(block)
    sha256, size = hasher.hexdigest(), count * PART
    small = hashlib.sha256(b"small").hexdigest()
    ask(server, "PUT", f"/api/v1/blobs/{small}", b"small")
    before = rss_mb(server, "VmRSS")

    if in_parts:
        path = begin(server, sha256, size)
        for number in range(1, count + 1):
            assert ask(server, "PUT", f"{path}/parts/{number}", block)[0] == 200
        status, answer = ask(server, "POST", f"{path}/complete")
    else:
        status, answer = ask(server, "PUT", f"/api/v1/blobs/{sha256}", (block,) * count)
    peak = rss_mb(server, "VmHWM")

    assert (status, answer["size"], answer["outcome"]) == (200, size, "stored")
    assert peak - before <= GROWTH_MB_MAX


def test_memory_is_bounded_when_many_parts_pass_to_a_bucket_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = random.Random(4).randbytes(PART)
    sha256 = hashlib.sha256(block * 8).hexdigest()
    with running_s3(tmp_path / "s3") as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        with running_server(tmp_path, "--artifacts-destination", f"s3://{BUCKET}/a") as server:
            path = begin(server, sha256, 8 * PART)
            with ThreadPoolExecutor(8) as senders:
                answers = senders.map(
                    lambda number: ask(server, "PUT", f"{path}/parts/{number}", block),
                    range(1, 9),
                )
                statuses = {status for status, _ in answers}
            done, _ = ask(server, "POST", f"{path}/complete")
            peak = rss_mb(server, "VmHWM")

    assert (statuses, done) == ({200}, 200)
    assert peak <= S3_RSS_MB_MAX


def test_a_disk_that_is_full_is_said_and_leaves_nothing(
    server: ServerProcess, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the full disk; then there is room again."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("this system cannot limit another process")
    assert server.process is not None
    pid = server.process.pid
    data = random.Random(3).randbytes(8 * MB)
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"/api/v1/blobs/{sha256}"
    room = resource.prlimit(pid, resource.RLIMIT_FSIZE, (4 * MB, resource.RLIM_INFINITY))

    whole, refusal = ask(server, "PUT", path, data)
    in_parts, _ = ask(server, "POST", f"{path}/uploads", json.dumps({"size": len(data)}).encode())
    visible, _ = ask(server, "GET", path)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, room)
    left = [found for found in (tmp_path / "server" / "artifacts").rglob("*") if found.is_file()]
    again, answer = ask(server, "PUT", path, data)

    assert (whole, refusal["error"]["code"]) == (507, "store_full")
    assert (in_parts, visible) == (507, 404)
    assert left == []
    assert (again, answer["outcome"]) == (200, "stored")
