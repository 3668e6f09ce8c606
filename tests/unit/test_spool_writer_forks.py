"""Forks of a process that has a spool writer."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.spools import (
    NOW_US,
    WRITER_ID,
    meta_for_tests,
    read_strictly,
    writer_in,
)
from tracker.spool import creation
from tracker.spool.folder import SpoolRoot
from tracker.spool.locks import WriterState, is_locked, writer_state
from tracker.spool.meta import load_meta, store_meta
from tracker.spool.writer import SpoolClosed, SpoolWriter


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_a_folder_is_made_does_not_keep_its_writer_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another thread of a training that starts its workers meanwhile."""
    children, (from_parent, to_child) = list[int](), os.pipe()
    after_fork, to_parent = os.pipe()

    def fork_and_store(*given: Any, **also: Any) -> None:
        child = os.fork()
        if child == 0:
            os.close(to_child)
            os.write(to_parent, b"!")
            os.read(from_parent, 1)
            os._exit(0)
        children.append(child)
        os.read(after_fork, 1)
        store_meta(*given, **also)

    monkeypatch.setattr(creation, "store_meta", fork_and_store)
    writer = writer_in(tmp_path)
    writer.close()
    state = writer_state(writer.folder, writer.meta)
    os.close(to_child)
    os.waitpid(children[0], 0)
    for fd in (from_parent, after_fork, to_parent):
        os.close(fd)

    assert state is WriterState.DEAD


def test_a_forked_child_lets_the_parents_writer_alone(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)
    writer.log_metric(b"x", 1.0, 0, NOW_US)

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            writer.log_metric(b"x", 1.0, 99, NOW_US)
        except SpoolClosed:
            writer.close()
            child = SpoolWriter.create(
                SpoolRoot(tmp_path / "spool"), meta_for_tests(run_id="child")
            )
            child.log_metric(b"x", 1.0, 5, NOW_US)
            child.close()
            status = 0
        finally:
            os._exit(status)
    _, wait_status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(wait_status) == 0
    assert is_locked(writer.folder.lock)
    writer.log_metric(b"x", 1.0, 1, NOW_US)
    assert [r.step for r in read_strictly(writer.folder)] == [0, 1]
    of_child = SpoolRoot(tmp_path / "spool").writer_folder("child", WRITER_ID)
    assert [r.step for r in read_strictly(of_child)] == [5]
    writer.close()


def test_a_child_that_outlives_its_parent_does_not_keep_the_parents_lock(tmp_path: Path) -> None:
    ready, done = os.pipe(), os.pipe()
    parent = os.fork()
    if parent == 0:
        writer_in(tmp_path)
        if os.fork() == 0:
            os.write(ready[1], b"!")
            os.close(done[1])
            os.read(done[0], 1)
        os._exit(0)
    os.waitpid(parent, 0)
    os.read(ready[0], 1)

    (folder,) = SpoolRoot(tmp_path / "spool").writer_folders()
    state = writer_state(folder, load_meta(folder.meta))
    os.close(done[1])

    assert state is WriterState.DEAD


def test_forks_while_other_threads_log_find_no_lock_held(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)
    stop = threading.Event()

    def log() -> None:
        step = 0
        while not stop.is_set():
            writer.log_metric(b"x", 1.0, step, NOW_US)
            step += 1

    thread = threading.Thread(target=log)
    thread.start()
    codes = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            signal.alarm(5)
            code = 1
            try:
                writer.log_metric(b"x", 1.0, 0, NOW_US)
            except SpoolClosed:
                writer.flush_to_disk()
                writer.close()
                code = 0
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    thread.join()

    assert codes == [0] * 20
    read_strictly(writer.folder)
    writer.close()
