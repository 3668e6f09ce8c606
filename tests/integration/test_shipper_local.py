"""The shipper inside a server: runs without a destination, on the machine of the server."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess, running_server
from tests.support.spool_scripts import end, log_steps, new_writer
from tracker.spool.folder import SpoolRoot
from tracker.spool.writer import SpoolWriter


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path) as process:
        yield process


def wait_until_delivered(writer: SpoolWriter) -> None:
    deadline = time.monotonic() + 90
    while writer.acked_seq() != writer.next_seq:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def steps_of(server: ServerProcess, run_id: str) -> list[int]:
    url = f"{server.uri}/api/v1/events?run_id={run_id}&type=metrics.logged&limit=10000"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return [json.loads(line)["data"]["step"] for line in answer.read().splitlines()]


def test_a_server_picks_up_local_runs_live_and_goes_on_after_a_kill(
    server: ServerProcess, tmp_path: Path
) -> None:
    root = tmp_path / "spool"
    writer = new_writer(root, "local")
    log_steps(writer, 1, 100)
    wait_until_delivered(writer)
    server.kill()
    log_steps(writer, 101, 200)
    server.start()

    wait_until_delivered(writer)
    end(writer)
    writer.close()
    deadline = time.monotonic() + 90
    while any(SpoolRoot(root).writer_folders()):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert steps_of(server, writer.meta.run_id) == list(range(1, 201))


def test_a_server_leaves_offline_runs_and_those_of_other_servers_alone(
    server: ServerProcess, tmp_path: Path
) -> None:
    root = tmp_path / "spool"
    others = [
        new_writer(root, "local", mode="offline"),
        new_writer(root, "http://elsewhere.invalid"),
    ]
    local = new_writer(root, "local")

    wait_until_delivered(local)

    assert [writer.acked_seq() for writer in others] == [1, 1]
    for writer in (*others, local):
        writer.close()
