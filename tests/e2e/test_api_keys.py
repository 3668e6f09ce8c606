"""API keys from the training to the helper: each server gets its own, and no other."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

from tests.support.processes import ServerProcess, running_server, start_script
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
        home, SCRIPT, TRACKER_URI=server.uri, TRACKER_API_KEY=api_key, TRACKER_EXIT_WAIT_S="15"
    )
    printed, errors = training.communicate(timeout=60)
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
        for _ in range(100):
            status = client.get_run(run_id).info.status
            if status != "RUNNING":
                break
            time.sleep(0.05)
        return str(status)


def test_keys_are_noted_for_their_address_and_for_their_user_only(tmp_path: Path) -> None:
    remember(tmp_path, "http://a:5000", "one")
    remember(tmp_path, "http://b:5000", "two")
    remember(tmp_path, "http://a:5000", "three")

    assert key_for(tmp_path, "http://a:5000") == "three"
    assert key_for(tmp_path, "http://b:5000") == "two"
    assert key_for(tmp_path, "http://c:5000") is None
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600


def test_a_broken_note_of_keys_counts_as_none(tmp_path: Path) -> None:
    for text in ("{", "[]", json.dumps({"http://a:5000": 5})):
        (tmp_path / "credentials.json").write_text(text)

        assert key_for(tmp_path, "http://a:5000") is None
