"""API keys from the training to the helper: each server gets its own, and no other."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess, running_server, start_script
from tracker import credentials
from tracker.client import Client
from tracker.credentials import key_for, remember

SCRIPT = """
import tracker
with tracker.start_run() as run:
    print(run.info.run_id)
    tracker.log_metric("loss", 0.5, step=1)
"""


def train(home: Path, server: ServerProcess, api_key: str) -> str:
    training = start_script(
        home, SCRIPT, TRACKER_URI=server.uri, TRACKER_API_KEY=api_key, TRACKER_EXIT_WAIT_S="90"
    )
    printed, errors = training.communicate(timeout=180)
    assert "all 4 records sent" in errors or "records sent to" in errors, errors
    return printed.strip()


def test_one_helper_serves_two_servers_with_two_keys(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "a", "--api-key", "key-of-a" * 4) as first,
        running_server(tmp_path / "b", "--api-key", "key-of-b" * 4) as second,
    ):
        one = train(tmp_path, first, "key-of-a" * 4)
        two = train(tmp_path, second, "key-of-b" * 4)

        assert status_of(one, first, "key-of-a" * 4) == "FINISHED"
        assert status_of(two, second, "key-of-b" * 4) == "FINISHED"


def status_of(run_id: str, server: ServerProcess, api_key: str) -> str:
    """The run's status once it is folded; a moment passes between the ack and that."""
    with Client(server.uri, api_key) as client:
        deadline = time.monotonic() + 60
        while client.get_run(run_id).info.status == "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.05)
        return str(client.get_run(run_id).info.status)


def test_keys_are_noted_for_their_address_and_for_their_user_only(tmp_path: Path) -> None:
    remember(tmp_path, "http://a:5000", "one")
    remember(tmp_path, "http://b:5000", "two")
    remember(tmp_path, "http://a:5000", "three")

    assert key_for(tmp_path, "http://a:5000") == "three"
    assert key_for(tmp_path, "http://b:5000") == "two"
    assert key_for(tmp_path, "http://c:5000") is None
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600


def test_keys_that_are_noted_at_the_same_time_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one comes just when the first one is about to write what it has read."""
    write = credentials._write
    second = threading.Thread(target=remember, args=(tmp_path, "http://b:5000", "two"))

    def interrupted(home: Path, keys: Mapping[str, str]) -> None:
        monkeypatch.setattr(credentials, "_write", write)
        second.start()
        second.join(0.3)
        write(home, keys)

    monkeypatch.setattr(credentials, "_write", interrupted)
    remember(tmp_path, "http://a:5000", "one")
    second.join()

    found = [key_for(tmp_path, f"http://{name}:5000") for name in ("a", "b")]
    assert found == ["one", "two"]


def test_a_broken_note_of_keys_counts_as_none(tmp_path: Path) -> None:
    for text in ("{", "[]", json.dumps({"http://a:5000": 5})):
        (tmp_path / "credentials.json").write_text(text)

        assert key_for(tmp_path, "http://a:5000") is None
