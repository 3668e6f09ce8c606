"""`tracker sync` and `tracker spool`, as they are typed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    ServerProcess,
    environment,
    free_port,
    run_cli,
    running_server,
)
from tests.support.spool_scripts import end, log_steps, new_writer
from tracker.spool.writer import SpoolWriter


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as process:
        yield process


def finished_writer(root: Path, uri: str, *, steps: int = 100, **fields: Any) -> SpoolWriter:
    writer = new_writer(root, uri, **fields)
    log_steps(writer, 1, steps)
    end(writer)
    writer.close()
    return writer


def flip_a_bit(writer: SpoolWriter, *, at: float) -> None:
    """At a fraction of the newest segment."""
    path = writer.folder.segments()[-1].path
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 4
    path.write_bytes(data)


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_sync_delivers_what_is_offline_and_says_how_much(
    tmp_path: Path, server: ServerProcess
) -> None:
    finished_writer(tmp_path / "spool", server.uri, mode="offline")

    done = run_cli(tmp_path, "sync")
    again = run_cli(tmp_path, "sync", "--json")

    assert done.returncode == 0, done.stderr
    assert "102 records (100 points) of 1 writers" in done.stdout
    assert (again.returncode, as_json(again)["records"]) == (0, 0)


def test_sync_says_what_remains_and_why_and_how_to_send_it(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    writer = finished_writer(tmp_path / "spool", nowhere)

    done = run_cli(tmp_path, "sync")

    assert done.returncode == 1
    assert writer.meta.run_id in done.stderr
    assert "Cannot connect" in done.stderr
    assert f"tracker sync {tmp_path / 'spool'}" in done.stderr


def test_sync_takes_a_copy_to_another_server_and_ends_its_run_only_when_told(
    tmp_path: Path, server: ServerProcess
) -> None:
    writer = new_writer(tmp_path / "elsewhere", "http://far-away.invalid")
    log_steps(writer, 1, 100)
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "copy")
    writer.close()
    path = f"/api/v1/runs/{writer.meta.run_id}?min_position="

    first = run_cli(tmp_path, "sync", str(tmp_path / "copy"), "--uri", server.uri, "--json")
    open_run = server.get(path + str(server.get("/ready")["head"]))
    second = run_cli(
        tmp_path, "sync", str(tmp_path / "copy"), "--uri", server.uri, "--end-lost", "--json"
    )
    ended_run = server.get(path + str(server.get("/ready")["head"]))

    assert (as_json(first)["records"], as_json(second)["records"]) == (101, 0)
    assert open_run["status"] == "RUNNING"
    assert (ended_run["status"], ended_run["end_reason"]) == ("FAILED", "lost")


def test_sync_that_watches_goes_on_until_interrupted_and_then_reports(
    tmp_path: Path, server: ServerProcess
) -> None:
    finished_writer(tmp_path / "spool", server.uri)
    watching = subprocess.Popen(
        [sys.executable, "-m", "tracker", "sync", "--watch", "--json"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until_empty(tmp_path / "spool")
    finished_writer(tmp_path / "spool", server.uri)
    wait_until_empty(tmp_path / "spool")
    watching.send_signal(signal.SIGINT)
    printed, notes = watching.communicate(timeout=90)

    report = json.loads(printed)
    assert (report["writers"], report["records"], report["remaining"]) == (2, 204, []), notes
    assert watching.returncode == 0


def wait_until_empty(root: Path) -> None:
    deadline = time.monotonic() + 90
    while any(root.glob("*/*/meta.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_spool_list_tells_live_from_dead_from_closed_from_copied(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    live = new_writer(root, "http://x.invalid")
    dead = new_writer(root, "http://x.invalid")
    dead.close()
    closed = finished_writer(root, "http://x.invalid")
    shutil.copytree(closed.folder.path.parent, root / "copied-run")

    listed = as_json(run_cli(tmp_path, "spool", "list", "--json"))
    table = run_cli(tmp_path, "spool", "list")
    live.close()

    states = [(row["writer_id"], row["state"]) for row in listed]
    assert sorted(states) == sorted(
        [
            (live.meta.writer_id, "live"),
            (dead.meta.writer_id, "dead"),
            (closed.meta.writer_id, "closed"),
            (closed.meta.writer_id, "copy"),
        ]
    )
    assert {row["recorded"] for row in listed} == {1, 102}
    assert table.returncode == 0
    assert "closed" in table.stdout


def test_spool_show_prints_records_in_order(tmp_path: Path) -> None:
    finished_writer(tmp_path / "spool", "local", steps=3)

    rows = as_json(run_cli(tmp_path, "spool", "show", "--json"))

    kinds = ["run.started", *["metrics.logged"] * 3, "run.ended"]
    assert [(row["seq"], row["type"]) for row in rows] == list(enumerate(kinds, start=1))
    assert rows[2]["metrics"] == {"loss": 1.0}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda w: flip_a_bit(w, at=0.5), "corrupt in the spool"),
        (lambda w: flip_a_bit(w, at=0.999), "corrupt in the spool"),
        (lambda w: flip_a_bit(w, at=0.0), "header"),
        (lambda w: append_half_a_record(w), "are no record"),
        (lambda w: w.folder.meta.write_text("{"), "cannot be read"),
    ],
    ids=["middle", "last record", "header", "torn end", "meta"],
)
def test_spool_verify_finds_every_damage(tmp_path: Path, damage: Any, says: str) -> None:
    writer = finished_writer(tmp_path / "spool", "local")
    intact = run_cli(tmp_path, "spool", "verify")
    damage(writer)

    damaged = run_cli(tmp_path, "spool", "verify")
    told = run_cli(tmp_path, "spool", "verify", "--json")

    assert intact.returncode == 0
    assert "1 of 1 writers are intact, 102 records read" in intact.stdout
    assert (damaged.returncode, told.returncode) == (1, 1)
    assert says in damaged.stdout
    assert says in told.stdout


def append_half_a_record(writer: SpoolWriter) -> None:
    path = writer.folder.segments()[-1].path
    data = path.read_bytes()
    path.write_bytes(data + data[-40:-20])


def test_spool_prune_keeps_what_was_never_sent_unless_forced(tmp_path: Path) -> None:
    writer = finished_writer(tmp_path / "spool", "local")

    kept = run_cli(tmp_path, "spool", "prune", "--json")
    asked = run_cli(tmp_path, "spool", "prune", "--force")
    young = run_cli(tmp_path, "spool", "prune", "--force", "--yes", "--older-than", "1")
    still_there = writer.folder.path.exists()
    forced = run_cli(tmp_path, "spool", "prune", "--force", "--yes")

    assert (as_json(kept)["removed"], as_json(kept)["kept"]) == ([], 1)
    assert asked.returncode == 1
    assert young.returncode == 0
    assert still_there
    assert forced.returncode == 0
    assert list((tmp_path / "spool").iterdir()) == []


def test_spool_prune_never_touches_a_live_writer(tmp_path: Path) -> None:
    live = new_writer(tmp_path / "spool", "local")

    run_cli(tmp_path, "spool", "prune", "--force", "--yes")

    assert live.folder.meta.exists()
    live.close()
