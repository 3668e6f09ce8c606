"""Log calls that come into log calls: out of handlers, with an exception or without."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from tests.support.spools import (
    NOW_US,
    FailingDisk,
    read_strictly,
    writer_in,
)
from tracker.events.types import Event
from tracker.spool.locks import is_locked
from tracker.spool.syncing import Syncer


def test_a_log_call_inside_a_log_call_is_written_after_it(tmp_path: Path) -> None:
    """The nested calls come out of the write itself, as those of a signal handler do."""
    disk = FailingDisk()
    writer = writer_in(tmp_path, files=disk.files)
    predicted: list[int] = []

    def interrupt(fd: int, data: bytes) -> None:
        disk.fail_write = lambda fd, data: None
        predicted.append(writer.log_event(Event("nested", NOW_US, {})))
        for step in range(2000):
            writer.log_metric(b"nested", 2.0, step, NOW_US)

    disk.fail_write = interrupt
    writer.log_metric(b"outer", 1.0, 0, NOW_US)

    records = read_strictly(writer.folder)
    assert records[0].keys == ["outer"]
    assert (predicted, records[1].seq) == ([2], 2)
    assert [r.step for r in records[2:]] == list(range(2000))
    writer.close()


def test_closing_inside_a_log_call_comes_after_it(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_in(tmp_path, files=disk.files)

    def interrupt(fd: int, data: bytes) -> None:
        disk.fail_write = lambda fd, data: None
        writer.close()

    disk.fail_write = interrupt
    writer.log_metric(b"outer", 1.0, 0, NOW_US)

    assert len(read_strictly(writer.folder)) == 1
    deadline = time.monotonic() + 60
    while is_locked(writer.folder.lock) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_locked(writer.folder.lock)


@pytest.mark.parametrize("written", ["nothing", "half", "all"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), TimeoutError()])
def test_an_exception_out_of_a_handler_leaves_whole_records_only(
    tmp_path: Path, written: str, error: BaseException
) -> None:
    disk = FailingDisk()
    writer = writer_in(tmp_path, files=disk.files)
    writer.log_metric(b"x", 1.0, 0, NOW_US)

    def interrupt(fd: int, data: bytes) -> int | None:
        disk.fail_write = lambda fd, data: None
        os.write(fd, data[: {"nothing": 0, "half": len(data) // 2, "all": len(data)}[written]])
        raise error

    disk.fail_write = interrupt
    with pytest.raises(type(error)):
        writer.log_metric(b"x", 1.0, 1, NOW_US)
    writer.log_metric(b"x", 1.0, 2, NOW_US)

    steps = [record.step for record in read_strictly(writer.folder)]
    assert steps == ([0, 1, 2] if written == "all" else [0, 2])
    assert writer.faults == 0
    writer.close()


def test_real_signals_in_the_middle_of_log_calls_neither_block_nor_tear(tmp_path: Path) -> None:
    """A timer fires about every 0.2 ms; its handler logs, and every tenth one raises.

    The segments are so small that many signals meet a rotation.
    """
    writer = writer_in(tmp_path, segment_bytes_max=1024)
    fired, is_inside, is_caught = 0, False, False

    class Interrupted(Exception):
        pass

    def handle(number: int, frame: object) -> None:
        nonlocal fired, is_inside, is_caught
        if is_inside:
            return  # else the inner one's exception would end the outer one before it logs
        is_inside = True
        fired += 1
        writer.log_metric(b"handler", 0.0, fired, NOW_US)
        is_inside = False
        if is_caught and fired % 10 == 0:
            is_caught = False
            raise Interrupted

    before = signal.signal(signal.SIGALRM, handle)
    interrupted = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        deadline = time.monotonic() + 90
        while (fired < 300 or interrupted < 20) and time.monotonic() < deadline:
            try:
                is_caught = True
                for step in range(100):
                    writer.log_metric(b"main", 1.0, step, NOW_US)
                is_caught = False
            except Interrupted:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    writer.log_metric(b"main", 1.0, -1, NOW_US)
    records = read_strictly(writer.folder)
    assert fired >= 300
    assert interrupted >= 20
    from_handler = sorted(record.step for record in records if record.keys == ["handler"])
    assert from_handler == list(range(1, fired + 1))
    # A second exception may leave a handler's record for the next call to write.
    assert -1 in [record.step for record in records[-3:]]
    assert (writer.faults, writer.dropped) == (0, 0)
    writer.close()


def test_two_exceptions_out_of_handlers_in_a_row_leave_the_writer_usable(tmp_path: Path) -> None:
    """As when Ctrl-C reaches a job twice: from the terminal and from its launcher.

    The second one mostly comes while the writer still puts right what the first one left.
    """
    writer = writer_in(tmp_path, segment_bytes_max=1024)
    rng, raised = random.Random(7), 0

    class Interrupted(Exception):
        pass

    def handle(number: int, frame: object) -> None:
        nonlocal raised
        raised += 1
        if raised % 2:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, 1e-4))
        raise Interrupted

    def log_until_interrupted_twice() -> None:
        before = raised
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 2e-4))
                while raised < before + 2:
                    writer.log_metric(b"main", 1.0, 0, NOW_US)
            except Interrupted:
                while raised < before + 2:
                    writer.log_metric(b"main", 2.0, 0, NOW_US)
        except Interrupted:
            pass

    handler_before = signal.signal(signal.SIGALRM, handle)
    try:
        for step in range(1, 301):
            log_until_interrupted_twice()
            assert raised == 2 * step

            other = threading.Thread(
                target=writer.log_metric, args=(b"thread", 1.0, step, NOW_US), daemon=True
            )
            other.start()
            other.join(60)
            assert not other.is_alive(), "the lock was never let go of"
            seq = writer.next_seq
            writer.log_metric(b"after", 1.0, step, NOW_US)
            assert writer.next_seq > seq, "the call was kept for one that is gone"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler_before)

    records = read_strictly(writer.folder)
    for key in ("thread", "after"):
        assert [record.step for record in records if record.keys == [key]] == list(range(1, 301))
    assert (writer.faults, writer.dropped) == (0, 0)
    writer.close()


class Interrupted(Exception):
    """Comes out of a handler."""


def test_an_exception_while_a_call_waits_for_another_threads_leaves_that_one_alone(
    tmp_path: Path,
) -> None:
    """As when Ctrl-C comes while a thread's record is slow to be written."""
    disk = FailingDisk()
    writer = writer_in(tmp_path, files=disk.files)
    is_writing, may_go_on = threading.Event(), threading.Event()

    def wait(fd: int, data: bytes) -> None:
        os.write(fd, data[:20])
        is_writing.set()
        may_go_on.wait(60)
        os.ftruncate(fd, os.fstat(fd).st_size - 20)

    def handle(number: int, frame: object) -> None:
        raise Interrupted

    disk.fail_write = wait
    other = threading.Thread(target=writer.log_metric, args=(b"thread", 1.0, 1, NOW_US))
    before = signal.signal(signal.SIGALRM, handle)
    try:
        other.start()
        is_writing.wait(60)
        disk.fail_write = FailingDisk.fail_write
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupted):
            writer.log_metric(b"main", 1.0, 2, NOW_US)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        may_go_on.set()
        other.join()

    writer.log_metric(b"main", 1.0, 3, NOW_US)
    assert [record.step for record in read_strictly(writer.folder)] == [1, 3]
    assert writer.next_seq == 3
    writer.close()


@pytest.mark.parametrize("is_swallowed", [True, False])
def test_an_exception_inside_a_nested_call_lets_go_of_that_calls_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_swallowed: bool
) -> None:
    disk = FailingDisk()
    writer = writer_in(tmp_path, files=disk.files)

    def interrupt(*_: object) -> bytes:
        raise Interrupted

    def log_inside(fd: int, data: bytes) -> None:
        disk.fail_write = FailingDisk.fail_write
        with monkeypatch.context() as patch:
            patch.setattr("tracker.spool.writer._metrics_payload", interrupt)
            patch.setattr("tracker.spool.writer.partial", interrupt)
            with suppress(Interrupted) if is_swallowed else nullcontext():
                writer.log_metric(b"nested", 1.0, 2, NOW_US)

    disk.fail_write = log_inside
    with nullcontext() if is_swallowed else pytest.raises(Interrupted):
        writer.log_metric(b"main", 1.0, 1, NOW_US)

    other = threading.Thread(
        target=writer.log_metric, args=(b"thread", 1.0, 3, NOW_US), daemon=True
    )
    other.start()
    other.join(60)
    assert not other.is_alive(), "the lock was never let go of"
    steps = [record.step for record in read_strictly(writer.folder)]
    assert steps == ([1, 3] if is_swallowed else [3])
    writer.close()


def test_a_close_that_is_interrupted_as_it_syncs_lets_go_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_in(tmp_path)
    writer.log_metric(b"x", 1.0, 0, NOW_US)

    sync = Syncer.sync

    def interrupt(syncer: Syncer) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise Interrupted
        return sync(syncer)

    with monkeypatch.context() as patch:
        patch.setattr(Syncer, "sync", interrupt)
        with pytest.raises(Interrupted):
            writer.close()

    assert not is_locked(writer.folder.lock)
