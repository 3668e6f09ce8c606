"""The helper process, as the training starts it: real processes, a real server, real kills."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import ServerProcess, environment, free_port, running_server
from tests.support.spool_scripts import log_steps, new_writer
from tracker.shipper.start import ensure_running
from tracker.spool.folder import SpoolRoot
from tracker.spool.locks import is_locked
from tracker.spool.writer import SpoolWriter

TRAINING = """
import sys, time
from pathlib import Path
from tests.support.spool_scripts import log_steps, new_writer
writer = new_writer(Path(sys.argv[1]), sys.argv[2])
log_steps(writer, 1, 100)
print(writer.meta.run_id, flush=True)
time.sleep(200)
"""

# The kernel closes the files of a process that ends before it says that the process is gone.
DYING = TRAINING.replace(
    "time.sleep(200)",
    """sys.stdin.readline()
import os
for name in os.listdir("/proc/self/fd"):
    if os.path.realpath(f"/proc/self/fd/{name}") == str(writer.folder.lock):
        os.close(int(name))
time.sleep(2)
os._exit(3)""",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpoolRoot]:
    """A spool; whatever helper is left when the test is over is ended."""
    for name, text in environment(tmp_path, TRACKER_HELPER_IDLE_S="0.5").items():
        monkeypatch.setenv(name, text)
    spool = SpoolRoot(tmp_path / "spool")
    yield spool
    for process in helpers_of(spool):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            process.wait(60)


def helpers_of(root: SpoolRoot) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "tracker.shipper.helper" in line and str(root.path) in line:
            found.append(process)
    return [process for process in found if is_running(process)]


def is_running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def until(condition: Callable[[], Any], *, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def train(root: SpoolRoot, uri: str, script: str = TRAINING) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root.path), uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def is_delivered(writer: SpoolWriter) -> bool:
    return writer.acked_seq() == writer.next_seq


def run_of(server: ServerProcess, run_id: str) -> Any:
    head = server.get("/ready")["head"]
    return server.get(f"/api/v1/runs/{run_id}?min_position={head}")


def events_of(server: ServerProcess, run_id: str) -> list[Any]:
    url = f"{server.uri}/api/v1/events?run_id={run_id}&limit=10000"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]


def test_one_helper_per_spool(root: SpoolRoot) -> None:
    """Two more are started by hand before the first has taken the lock."""
    root.path.mkdir()
    command = [sys.executable, "-m", "tracker.shipper.helper", "--spool", str(root.path)]
    writer = new_writer(root.path, f"http://127.0.0.1:{free_port()}")
    ensure_running(root)
    others = [subprocess.Popen(command) for _ in range(2)]

    # Whoever takes the lock first stays, and the two others leave.
    until(lambda: is_locked(root.helper_lock) and len(helpers_of(root)) == 1)
    until(lambda: any(other.poll() is not None for other in others))
    ensure_running(root)
    left = [other.returncode for other in others if other.returncode is not None]
    for other in others:
        other.terminate()
        other.wait(60)

    assert set(left) == {0}
    writer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the interpreter")
def test_a_helper_that_never_comes_up_does_not_keep_the_training(
    root: SpoolRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, noted = tmp_path / "stuck", tmp_path / "pid"
    stuck.write_text(f"#!/bin/sh\necho $$ > {noted}.new\nmv {noted}.new {noted}\nexec sleep 600\n")
    stuck.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stuck))

    ensure_running(root)

    until(noted.exists)
    assert not is_locked(root.helper_lock)
    os.kill(int(noted.read_text()), signal.SIGKILL)


def test_a_helper_goes_when_everybody_has_gone_and_all_is_delivered(
    root: SpoolRoot, server: ServerProcess
) -> None:
    writer = new_writer(root.path, server.uri)
    log_steps(writer, 1, 100)
    ensure_running(root)
    until(lambda: is_delivered(writer))
    time.sleep(1.0)  # longer than it stays idle, but somebody lives
    were_running = helpers_of(root)
    writer.close()

    until(lambda: not helpers_of(root))

    assert were_running
    assert list(root.writer_folders()) == []


def test_a_killed_training_is_reported_once_with_its_reason(
    root: SpoolRoot, server: ServerProcess
) -> None:
    training, run_id = train(root, server.uri)
    ensure_running(root)
    until(lambda: len(events_of(server, run_id)) == 101)

    training.send_signal(signal.SIGKILL)
    training.communicate()
    until(lambda: run_of(server, run_id)["status"] == "FAILED")
    until(lambda: not helpers_of(root))
    run = run_of(server, run_id)

    ends = [event for event in events_of(server, run_id) if event["type"] == "run.ended"]
    assert len(ends) == 1
    assert_ending(run, "killed by signal", "SIGKILL (9)")
    assert list(root.writer_folders()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody watches the process")
def test_who_has_lost_its_lock_but_is_not_gone_yet_is_dying(
    root: SpoolRoot, server: ServerProcess
) -> None:
    training, run_id = train(root, server.uri, DYING)
    ensure_running(root)
    until(lambda: len(events_of(server, run_id)) == 101)

    training.communicate("go on\n")
    until(lambda: run_of(server, run_id)["status"] == "FAILED")
    run = run_of(server, run_id)

    assert_ending(run, "exited without ending the run", "exit code 3")


def test_a_helper_outlives_the_training_and_waits_for_its_server(
    root: SpoolRoot, tmp_path: Path
) -> None:
    away = ServerProcess(tmp_path / "away")
    away.home.mkdir()
    training, run_id = train(root, away.uri)
    ensure_running(root)
    until(lambda: "Connect" in root.helper_log.read_text())
    training.kill()
    training.communicate()
    time.sleep(1.5)  # longer than it stays when nothing is pending

    away.start()
    try:
        until(lambda: run_of_or_none(away, run_id) == "FAILED")
        steps = [e["data"]["step"] for e in events_of(away, run_id) if "step" in e["data"]]
    finally:
        away.stop()

    assert steps == list(range(1, 101))
    assert root.helper_log.read_text().count("Cannot connect") == 1


def assert_ending(run: Any, reason: str, detail: str) -> None:
    """PIDFD_GET_INFO with PIDFD_INFO_EXIT is in Linux 6.15 and later; before, it is luck."""
    release = [int(part) for part in re.findall(r"\d+", platform.release())[:2]]
    is_told = sys.platform == "linux" and release >= [6, 15]
    known, unknown = (reason, detail), ("lost", None)
    found = (run["end_reason"], run.get("end_detail"))
    assert found == known if is_told else found in (known, unknown)


def run_of_or_none(server: ServerProcess, run_id: str) -> str | None:
    try:
        return str(run_of(server, run_id)["status"])
    except OSError:
        return None


def test_offline_and_local_writers_are_left_alone(root: SpoolRoot, server: ServerProcess) -> None:
    offline = new_writer(root.path, server.uri, mode="offline")
    local = new_writer(root.path, "local")
    online = new_writer(root.path, server.uri)
    ensure_running(root)

    until(lambda: is_delivered(online))
    for writer in (offline, local, online):
        writer.close()
    until(lambda: not helpers_of(root))

    assert {folder.writer_id for folder in root.writer_folders()} == {
        offline.meta.writer_id,
        local.meta.writer_id,
    }


def test_a_helper_told_to_end_ends_and_the_next_one_goes_on(
    root: SpoolRoot, server: ServerProcess
) -> None:
    writer = new_writer(root.path, server.uri)
    ensure_running(root)
    until(lambda: is_delivered(writer))
    (helper,) = helpers_of(root)
    helper.terminate()
    until(lambda: not is_locked(root.helper_lock))
    log_steps(writer, 1, 100)
    ensure_running(root)

    until(lambda: is_delivered(writer))
    writer.close()

    steps = [event["data"].get("step") for event in events_of(server, writer.meta.run_id)]
    assert steps == [None, *range(1, 101)]


def test_a_helper_killed_under_load_leaves_nothing_out_and_nothing_twice(
    root: SpoolRoot, server: ServerProcess
) -> None:
    writer = new_writer(root.path, server.uri)
    for round_number in range(4):
        ensure_running(root)
        for part in range(10):
            first = 1 + 2_000 * round_number + 200 * part
            log_steps(writer, first, first + 199)
            time.sleep(0.01)
        until(lambda: writer.acked_seq() > 1)
        for helper in helpers_of(root):
            helper.kill()
        until(lambda: not is_locked(root.helper_lock))
    ensure_running(root)
    until(lambda: is_delivered(writer))
    writer.close()

    steps = [event["data"].get("step") for event in events_of(server, writer.meta.run_id)]
    assert steps == [None, *range(1, 8_001)]


def test_a_helper_whose_spool_is_deleted_goes_although_its_server_never_answered(
    root: SpoolRoot,
) -> None:
    training, _ = train(root, f"http://127.0.0.1:{free_port()}")
    ensure_running(root)
    until(lambda: helpers_of(root) and is_locked(root.helper_lock))
    training.kill()
    training.communicate()

    # Renamed first, as the helper may make files while rmtree is at work.
    root.path.rename(root.path.with_name("deleted"))
    shutil.rmtree(root.path.with_name("deleted"))

    until(lambda: not helpers_of(root))
