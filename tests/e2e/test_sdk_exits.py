"""How runs end when their process does, each way out in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import environment
from tests.support.recorded import RecordedWriter, recorded

OFFLINE = {"TRACKER_MODE": "offline"}
STARTED = "import tracker, sys, os\nrun = tracker.start_run()\ntracker.log_metric('a', 1.0)\n"
BLOCK = "import tracker, sys, os\nwith tracker.start_run():\n    tracker.log_metric('a', 1.0)\n    "


def run_script(home: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    path = home / "script.py"
    path.write_text(script)
    return subprocess.run(
        [sys.executable, str(path)],
        env=environment(home, **OFFLINE, **more),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def only_writer(home: Path) -> RecordedWriter:
    (writer,) = recorded(home)
    return writer


@pytest.mark.parametrize(
    ("script", "exit_code", "end"),
    [
        (STARTED, 0, ("FINISHED", None, None)),
        (STARTED + "tracker.end_run('KILLED')", 0, ("KILLED", None, None)),
        (STARTED + "raise RuntimeError('no such file')", 1,
         ("FAILED", "RuntimeError", "no such file")),
        (STARTED + "sys.exit()", 0, ("FINISHED", None, None)),
        (STARTED + "sys.exit(0)", 0, ("FINISHED", None, None)),
        (STARTED + "sys.exit(3)", 3, ("FAILED", "SystemExit", "exit code 3")),
        (STARTED + "sys.exit('bad data')", 1, ("FAILED", "SystemExit", "exit message bad data")),
        (STARTED + "try: sys.exit(3)\nexcept SystemExit: pass", 0, ("FINISHED", None, None)),
        (STARTED + "raise KeyboardInterrupt", -signal.SIGINT,
         ("KILLED", "KeyboardInterrupt", "interrupted from the keyboard")),
        (STARTED + "sys.excepthook = print\n1 / 0", 1,
         ("FAILED", "ZeroDivisionError", "division by zero")),
        (BLOCK + "pass", 0, ("FINISHED", None, None)),
        (BLOCK + "1 / 0", 1, ("FAILED", "ZeroDivisionError", "division by zero")),
        (BLOCK + "sys.exit(0)", 0, ("FINISHED", None, None)),
        (BLOCK + "sys.exit(4)", 4, ("FAILED", "SystemExit", "exit code 4")),
        (BLOCK + "raise SystemExit(4)", 4, ("FAILED", "SystemExit", "exit code 4")),
        (BLOCK + "raise KeyboardInterrupt", -signal.SIGINT,
         ("KILLED", "KeyboardInterrupt", "interrupted from the keyboard")),
        (BLOCK + "raise ValueError('x' * 9000)", 1, ("FAILED", "ValueError", "x" * 2047 + "…")),
    ],
)  # fmt: skip
def test_a_way_out_that_python_sees_ends_the_run(
    tmp_path: Path, script: str, exit_code: int, end: tuple[str, str | None, str | None]
) -> None:
    done = run_script(tmp_path, script)

    assert done.returncode == exit_code, done.stderr
    writer = only_writer(tmp_path)
    ended = writer.data_of("run.ended")
    assert (ended["status"], ended.get("reason"), ended.get("detail")) == end
    assert writer.types.count("run.ended") == 1
    assert writer.points == [("a", 0, 1.0)]


@pytest.mark.parametrize(
    ("last_words", "exit_code"),
    [
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_a_way_out_that_nobody_sees_leaves_a_whole_spool(
    tmp_path: Path, last_words: str, exit_code: int
) -> None:
    done = run_script(tmp_path, STARTED + last_words)

    assert done.returncode == exit_code
    writer = only_writer(tmp_path)
    assert writer.points == [("a", 0, 1.0)]
    assert "run.ended" not in writer.types


def start_and_wait(home: Path, script: str) -> subprocess.Popen[str]:
    path = home / "script.py"
    path.write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(path)],
        env=environment(home, **OFFLINE),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    "work",
    [
        "import time; time.sleep(600)",
        "\nwhile True: tracker.log_metric('b', 1.0)",
        "\nwhile True: pass",
    ],
)
def test_sigterm_kills_the_run_and_then_the_process(tmp_path: Path, work: str) -> None:
    process = start_and_wait(tmp_path, f"{STARTED}print('ready', flush=True){work and ';'}{work}")
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=180)

    assert process.returncode == -signal.SIGTERM
    owner = recorded(tmp_path)[0]
    ended = owner.data_of("run.ended")
    assert (ended["status"], ended["reason"]) == ("KILLED", "SIGTERM")


def test_ctrl_c_kills_the_run(tmp_path: Path) -> None:
    process = start_and_wait(
        tmp_path, f"{STARTED}print('ready', flush=True)\nimport time\ntime.sleep(600)"
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=180)

    assert process.returncode == -signal.SIGINT
    assert only_writer(tmp_path).data_of("run.ended")["status"] == "KILLED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_meets_the_end_of_a_run_does_not_cut_it_short(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The disk takes two seconds to take what was staged."""
    process = start_and_wait(
        tmp_path,
        f"""{STARTED}
import time
from tracker.run import Run
finish = Run.finish_artifacts
def slowly(run, timeout_s):
    print("ready", flush=True)
    time.sleep(2)
    return finish(run, timeout_s)
Run.finish_artifacts = slowly
tracker.end_run("FAILED")
""",
    )
    process.send_signal(number)
    process.communicate(timeout=180)

    assert process.returncode == -number
    writer = only_writer(tmp_path)
    assert writer.types.count("run.ended") == 1
    assert writer.data_of("run.ended")["status"] == "FAILED"


def test_a_sigterm_handler_of_the_user_stays_in_charge(tmp_path: Path) -> None:
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        f"{STARTED}print('ready', flush=True)\nimport time\ntime.sleep(600)"
    )
    process = start_and_wait(tmp_path, script)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=180)

    assert process.returncode == 7
    ended = only_writer(tmp_path).data_of("run.ended")
    assert (ended["status"], ended["detail"]) == ("FAILED", "exit code 7")


def test_every_nested_run_ends_with_its_process(tmp_path: Path) -> None:
    run_script(
        tmp_path,
        "import tracker\ntracker.start_run(run_name='outer')\n"
        "tracker.start_run(run_name='inner', nested=True)\nraise ValueError('both')",
    )

    writers = recorded(tmp_path)
    assert [writer.meta.run_name for writer in writers] == ["outer", "inner"]
    assert all(writer.data_of("run.ended")["status"] == "FAILED" for writer in writers)


def test_the_first_and_the_last_line_say_where_the_data_is(tmp_path: Path) -> None:
    done = run_script(tmp_path, STARTED)
    first, last = done.stderr.strip().split("\n")
    spool = recorded(tmp_path)[0].meta.run_id

    assert "in experiment 'Default' -> local (offline)" in first
    assert spool in first
    assert "FINISHED" in last
    assert "3 records kept" in last
    assert f"tracker sync {tmp_path}" in last


def test_quiet_is_quiet(tmp_path: Path) -> None:
    assert run_script(tmp_path, STARTED, TRACKER_QUIET="1").stderr == ""


def test_a_process_without_stderr_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = run_script(tmp_path, "import sys\nsys.stderr.close()\nsys.stderr = None\n" + STARTED)

    assert done.returncode == 0
    assert only_writer(tmp_path).data_of("run.ended")["status"] == "FINISHED"


def test_an_unreachable_server_does_not_hold_up_many_short_runs(tmp_path: Path) -> None:
    """Every run waits for its acknowledgement; the waits are bounded together.

    The second half of the runs waits for hardly anything; the middle one of them is looked at,
    as other work on the machine is not what is measured.
    """
    script = (
        "import time, tracker\n"
        "for _ in range(20):\n"
        "    began = time.monotonic()\n"
        "    with tracker.start_run():\n"
        "        tracker.log_metric('a', 1.0)\n"
        "    print(time.monotonic() - began)\n"
    )
    path = tmp_path / "script.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, str(path)],
        env=environment(
            tmp_path,
            TRACKER_URI="http://127.0.0.1:9",
            TRACKER_EXIT_WAIT_S="2",
            TRACKER_SHIPPER="thread",
        ),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    runs_s = [float(line) for line in done.stdout.split()]
    assert sorted(runs_s[10:])[5] < 1
    assert len(recorded(tmp_path)) == 20
    assert "0 of 3 records sent" in done.stderr
