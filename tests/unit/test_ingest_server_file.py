"""server.json: there while its server serves, never taken from a server that still runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ingest.server_file import published


def publish(folder: Path) -> bool:
    with published(folder, url="http://127.0.0.1:1", backend_store_uri="sqlite:///x") as is_ours:
        return is_ours


def test_it_says_where_the_server_is_and_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with published(folder, url="http://127.0.0.1:1", backend_store_uri="sqlite:///x") as is_ours:
        assert is_ours
        assert json.loads((folder / "server.json").read_text()) == {
            "url": "http://127.0.0.1:1",
            "pid": os.getpid(),
            "backend_store_uri": "sqlite:///x",
        }

    assert list(folder.iterdir()) == []


def test_a_server_that_runs_keeps_its_file(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        text = json.dumps({"pid": other.pid})
        (tmp_path / "server.json").write_text(text)

        assert publish(tmp_path) is False

        assert (tmp_path / "server.json").read_text() == text
        assert other.stdin is not None
        other.stdin.close()


def test_what_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for left in (json.dumps({"pid": dead.pid}), "{", "[]", "", '{"pid": "x"}', '{"pid": 1e400}'):
        (tmp_path / "server.json").write_text(left)
        assert publish(tmp_path) is True
