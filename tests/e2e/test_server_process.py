"""`tracker server` as a process: how it starts, what it refuses, how it ends."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.http_server import BATCH, batch_body
from tests.support.processes import ServerProcess, environment, free_port, running_server

HEALTH_S_MAX = 1.0
STOP_S_MAX = 5.0
TRIES = 10
IDLE_RSS_MB_MAX = 100


def start_until_it_ends(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tracker", "server", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def append(server: ServerProcess, body: bytes) -> int:
    request = urllib.request.Request(
        f"{server.uri}/api/v1/append", data=body, headers=BATCH, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_health_is_answered_within_a_second_of_the_start(tmp_path: Path) -> None:
    """The best of several: other work on the machine is not what is measured."""
    times: list[float] = []
    while not any(took <= HEALTH_S_MAX for took in times) and len(times) < TRIES:
        server = ServerProcess(tmp_path / str(len(times)))
        began = time.monotonic()
        server.start()
        times.append(time.monotonic() - began)
        server.stop()

    assert min(times) <= HEALTH_S_MAX, times


def test_an_idle_server_is_small(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.get("/ready")
        time.sleep(1)
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status")
        if not status.exists():
            pytest.skip("the resident set is read from /proc, which this system lacks")
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmRSS"))

    assert int(line.split()[1]) / 1024 <= IDLE_RSS_MB_MAX


def test_port_zero_takes_a_free_port_and_says_which(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker", "server", "--port", "0"],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        address = line.removeprefix("listening on ").strip()
        published = json.loads((tmp_path / "server" / "server.json").read_text())
        with urllib.request.urlopen(f"{address}/version", timeout=90) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        code = process.wait(timeout=90)
        process.stderr.close()

    assert line.startswith("listening on http://127.0.0.1:")
    assert published["url"] == address
    assert published["pid"] == process.pid
    assert published["backend_store_uri"].startswith("sqlite:///")
    assert code == 0
    assert not (tmp_path / "server" / "server.json").exists()


def test_a_connection_made_before_the_server_is_loaded_is_answered(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker", "server", "--port", str(port)],
        env=environment(tmp_path),
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=90)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        with connection:
            connection.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
    finally:
        process.terminate()
        assert process.wait(timeout=90) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_drains_and_ends_in_time_with_streams_open(
    number: signal.Signals, tmp_path: Path
) -> None:
    """The best of several, as above."""
    times: list[float] = []
    while not any(took <= STOP_S_MAX for took in times) and len(times) < TRIES:
        times.append(time_to_stop(number, tmp_path / str(len(times))))

    assert min(times) <= STOP_S_MAX, times


def time_to_stop(number: signal.Signals, home: Path) -> float:
    with running_server(home) as server:
        assert server.process is not None
        assert append(server, batch_body(1, 3)) == 200
        stream = urllib.request.urlopen(f"{server.uri}/api/v1/events/stream", timeout=90)
        poll = socket.create_connection(("127.0.0.1", server.port))
        poll.sendall(b"GET /api/v1/events?after=3&wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(b"POST /api/v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n")
        time.sleep(0.3)

        began = time.monotonic()
        server.process.send_signal(number)
        code = server.process.wait(timeout=90)
        took = time.monotonic() - began

        stream.close()
        poll.close()
        half.close()
    assert code == 0
    return took


def test_a_second_server_on_the_same_store_is_refused(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.get("/ready")  # its health was answered before it had opened the store
        uri = f"sqlite:///{server.store_path}"
        second = start_until_it_ends(tmp_path, "--port", "0", "--backend-store-uri", uri)

    assert second.returncode == 2
    assert "in use by another server" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0", "--port", "0"), "--api-key"),
        (("--backend-store-uri", "mysql://x", "--port", "0"), "sqlite:///PATH"),
        (("--workspace", "../x", "--port", "0"), "workspace"),
        (("--host", "192.0.2.1", "--insecure", "--port", "0"), "cannot listen"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    ended = start_until_it_ends(tmp_path, *arguments)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_idle_server_ends_by_itself_when_asked_to(tmp_path: Path) -> None:
    began = time.monotonic()

    ended = start_until_it_ends(tmp_path, "--port", "0", "--idle-exit-s", "1")

    assert ended.returncode == 0
    assert time.monotonic() - began >= 1


def test_a_full_disk_refuses_appends_for_now_and_recovers_by_itself(tmp_path: Path) -> None:
    """The process may not write files beyond a size, as if the disk had no more room."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("a running process's limits cannot be changed on this system")
    with running_server(tmp_path) as server:
        assert server.process is not None
        pid = server.process.pid
        assert append(server, batch_body(1, 3)) == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        statuses = {append(server, batch_body(4, 3)) for _ in range(5)}
        assert server.get("/health") == {"status": "ok"}
        infinity = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, infinity)

        after = append(server, batch_body(4, 3))
        position = server.get("/api/v1/writers/w1")["position"]

    assert statuses == {503}
    assert (after, position) == (200, 6)
