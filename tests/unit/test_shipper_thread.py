"""The shipper as a thread of the training."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess, running_server
from tests.support.spool_scripts import log_steps, new_writer
from tracker.shipper import thread as thread_module
from tracker.shipper.thread import ShipperThread, ensure_thread
from tracker.spool.folder import SpoolRoot
from tracker.spool.writer import SpoolWriter


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as process:
        yield process


def wait_until_delivered(writer: SpoolWriter) -> None:
    deadline = time.monotonic() + 90
    while writer.acked_seq() != writer.next_seq:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_thread_delivers_until_it_is_stopped(tmp_path: Path, server: ServerProcess) -> None:
    writer = new_writer(tmp_path, server.uri)
    log_steps(writer, 1, 100)
    thread = ensure_thread(SpoolRoot(tmp_path))
    wait_until_delivered(writer)
    same = ensure_thread(SpoolRoot(tmp_path))

    thread.stop()
    wait_until_gone(thread)

    assert same is thread
    assert "tracker-shipper" not in [each.name for each in threading.enumerate()]
    writer.close()


def test_a_thread_that_was_stopped_is_started_anew(tmp_path: Path, server: ServerProcess) -> None:
    ensure_thread(SpoolRoot(tmp_path)).stop()
    writer = new_writer(tmp_path, server.uri)

    thread = ensure_thread(SpoolRoot(tmp_path))

    wait_until_delivered(writer)
    thread.stop()
    writer.close()


def test_stopping_right_after_starting_ends_the_thread(tmp_path: Path) -> None:
    thread = ShipperThread(SpoolRoot(tmp_path))
    tmp_path.mkdir(exist_ok=True)
    thread.start()

    thread.stop()

    wait_until_gone(thread)


def test_a_thread_that_is_still_stopping_is_not_taken_for_one_that_ships(
    tmp_path: Path, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_module, "_STOP_TIMEOUT_S", 0.0)
    stopping = ensure_thread(SpoolRoot(tmp_path))
    is_held, may_end = threading.Event(), threading.Event()
    until_loop_has_begun(stopping)
    assert stopping._loop is not None

    def hold() -> None:
        is_held.set()
        may_end.wait(90)

    stopping._loop.call_soon_threadsafe(hold)
    assert is_held.wait(90)
    stopping.stop()
    writer = new_writer(tmp_path, server.uri)

    thread = ensure_thread(SpoolRoot(tmp_path))

    assert thread is not stopping
    may_end.set()
    wait_until_delivered(writer)
    thread.stop()
    wait_until_gone(thread)
    wait_until_gone(stopping)
    writer.close()


def until_loop_has_begun(thread: ShipperThread) -> None:
    deadline = time.monotonic() + 90
    while thread._loop is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_until_gone(thread: ShipperThread) -> None:
    """`stop` waits two seconds for it at most; a machine that stalls may need more."""
    deadline = time.monotonic() + 90
    while thread.is_running:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_a_thread_of_its_own(tmp_path: Path, server: ServerProcess) -> None:
    parent_thread = ensure_thread(SpoolRoot(tmp_path))
    child = os.fork()
    if child == 0:
        thread = ensure_thread(SpoolRoot(tmp_path))
        os._exit(0 if thread is not parent_thread and thread.is_running else 1)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    writer = new_writer(tmp_path, server.uri)
    wait_until_delivered(writer)
    writer.close()
    parent_thread.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_looks_for_its_shipper_blocks_nobody(tmp_path: Path) -> None:
    with thread_module._lock():
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if ensure_thread(SpoolRoot(tmp_path)).is_running else 1)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
