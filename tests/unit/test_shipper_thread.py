"""The shipper as a thread of the training."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess, running_server
from tests.support.spool_scripts import log_steps, new_writer
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

    assert same is thread
    assert not thread.is_running
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

    assert not thread.is_running


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
