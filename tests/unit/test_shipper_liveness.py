"""How a process ended, asked by somebody who is not its parent's shell."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tracker.shipper.liveness import EXITED, KILLED, LOST, Ending, ProcessWatch
from tracker.spool.machine import process_start
from tracker.spool.meta import WriterMeta

pytestmark = pytest.mark.skipif(
    sys.platform != "linux"
    or [int(n) for n in re.findall(r"\d+", platform.release())[:2]] < [6, 15],
    reason="PIDFD_INFO_EXIT came with Linux 6.15; elsewhere every death is 'lost'",
)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([sys.executable, "-c", "input(); raise SystemExit(3)"], stdin=-1)
    yield running
    running.kill()
    running.communicate()


def meta_of(process: subprocess.Popen[bytes]) -> WriterMeta:
    return WriterMeta(
        writer_id="w", run_id="r", pid=process.pid, process_start=process_start(process.pid)
    )


def ending_of(watch: ProcessWatch) -> Ending:
    deadline = time.monotonic() + 60
    while (ending := watch.ending()).reason == LOST and time.monotonic() < deadline:
        time.sleep(0.01)
    watch.close()
    return ending


def test_a_kill_is_told_with_the_name_of_its_signal(process: subprocess.Popen[bytes]) -> None:
    watch = ProcessWatch(meta_of(process))
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert ending_of(watch) == Ending(KILLED, "SIGKILL (9)")


def test_a_death_is_told_although_the_parent_has_not_taken_note_of_it(
    process: subprocess.Popen[bytes],
) -> None:
    watch = ProcessWatch(meta_of(process))
    process.send_signal(signal.SIGKILL)

    assert ending_of(watch) == Ending(KILLED, "SIGKILL (9)")
    assert process.returncode is None


def test_an_exit_is_told_with_its_code(process: subprocess.Popen[bytes]) -> None:
    watch = ProcessWatch(meta_of(process))
    process.communicate(b"\n")

    assert ending_of(watch) == Ending(EXITED, "exit code 3")


def test_a_process_that_lives_has_not_ended(process: subprocess.Popen[bytes]) -> None:
    watch = ProcessWatch(meta_of(process))

    assert watch.is_alive()
    assert watch.ending() == Ending(LOST)
    watch.close()


def test_a_process_that_ended_before_anybody_looked_is_lost(
    process: subprocess.Popen[bytes],
) -> None:
    meta = meta_of(process)
    process.kill()
    process.communicate()

    watch = ProcessWatch(meta)

    assert (watch.is_watching, watch.ending()) == (False, Ending(LOST))


def test_another_process_with_the_same_pid_is_not_taken_for_the_writer(
    process: subprocess.Popen[bytes],
) -> None:
    meta = meta_of(process)
    assert meta.process_start is not None

    watch = ProcessWatch(meta._replace(process_start=meta.process_start - 1))

    assert not watch.is_watching
