"""Destination "local": the server of this machine is found, or started, or asked for."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.processes import running_server
from tracker import connection, local_server
from tracker.client import Client
from tracker.refusals import LocalServerMissing


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of this test's own; what was started in it is ended with it."""
    for name in [name for name in os.environ if name.startswith(("TRACKER_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    noted = tmp_path / "server" / "server.json"
    if noted.exists():
        os.kill(json.loads(noted.read_text())["pid"], signal.SIGTERM)
        deadline = time.monotonic() + 60
        while noted.exists() and time.monotonic() < deadline:
            time.sleep(0.02)


def test_a_query_starts_a_server_and_the_next_one_finds_it(home: Path) -> None:
    with Client("local") as client:
        version = client.version()

    found = local_server.find(home)
    assert version
    assert found is not None
    assert local_server.ensure_running(home) == found


def test_a_client_finds_another_server_when_the_first_has_left(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOCAL_LOOK_INTERVAL_S", 0)
    with Client("local", retry_for_s=0) as client:
        client.version()
        noted = json.loads((home / "server" / "server.json").read_text())
        os.kill(noted["pid"], signal.SIGKILL)

        assert client.version()


def test_many_that_ask_at_once_find_one_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that got the store answers only some time after the two others have left."""
    find, log = local_server.find, home / "server" / "local.log"
    answers_at: list[float] = []

    def find_late(home: Path) -> str | None:
        if log.exists() and log.read_text().count("in use by another server") == 2:
            answers_at.append(time.monotonic() + 0.5)
        return find(home) if answers_at and time.monotonic() > answers_at[0] else None

    monkeypatch.setattr(local_server, "LOST_RACE_WAIT_S", 0.0)
    monkeypatch.setattr(local_server, "find", find_late)
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(local_server.ensure_running, [home] * 3))

    assert len(found) == 1


def test_a_server_that_runs_is_found_and_none_is_started(home: Path) -> None:
    with running_server(home) as server:
        while not (home / "server" / "server.json").exists():
            time.sleep(0.02)  # /health answers before the server has made itself known
        assert local_server.ensure_running(home) == server.uri


def test_a_note_of_a_server_that_died_is_not_believed(home: Path) -> None:
    folder = home / "server"
    folder.mkdir()
    for text in ('{"url": "http://127.0.0.1:9", "pid": 999999999}', '{"url": "htt', "[]", "{}"):
        (folder / "server.json").write_text(text)
        assert local_server.find(home) is None
    (folder / "server.json").unlink()


def test_a_server_that_cannot_start_is_told_with_its_last_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_BACKEND_STORE_URI", "mongodb://nowhere")

    with pytest.raises(LocalServerMissing, match="mongodb") as missing:
        local_server.ensure_running(home)

    assert str(home / "server" / "local.log") in missing.value.hint


def test_without_the_server_extra_the_message_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "missing_modules", lambda: ["pydantic"])

    with pytest.raises(LocalServerMissing, match="pydantic") as missing:
        local_server.ensure_running(home)

    assert "tracker[server]" in missing.value.hint
