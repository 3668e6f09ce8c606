from __future__ import annotations

import math
import os
import random
import signal
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.spools import (
    WRITER_ID,
    FailingDisk,
    meta_for_tests,
    read_strictly,
)
from tracker.events.errors import PayloadTooLarge
from tracker.events.limits import RECORD_BYTES_MAX
from tracker.events.types import Event
from tracker.spool import creation
from tracker.spool.acks import write_ack
from tracker.spool.folder import SpoolRoot, WriterFolder
from tracker.spool.framing import KIND_EVENT, KIND_METRICS
from tracker.spool.locks import WriterState, is_locked, writer_state
from tracker.spool.meta import load_meta, store_meta
from tracker.spool.writer import SpoolClosed, SpoolWriter

NOW_US = 1_700_000_000_000_000


def writer_in(path: Path, **options: Any) -> SpoolWriter:
    return SpoolWriter.create(SpoolRoot(path / "spool"), meta_for_tests(), **options)


def test_records_are_readable_as_soon_as_the_call_returns(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)

    assert writer.log_event(Event("run.started", NOW_US, {"name": "é"})) == 1
    writer.log_metric(b"loss", 0.5, -3, NOW_US)
    writer.log_metrics(b"a\0b", 2, [1.0, 2.0], 7, NOW_US)

    event, one, two = read_strictly(writer.folder)
    assert (event.kind, event.row) == (KIND_EVENT, ["run.started", 1, NOW_US, {"name": "é"}])
    assert (one.kind, one.step, one.values, one.keys) == (KIND_METRICS, -3, (0.5,), ["loss"])
    assert (two.step, two.values, two.keys) == (7, (1.0, 2.0), ["a", "b"])
    assert writer.next_seq == 4
    writer.close()


@pytest.mark.parametrize("bits", [0x7FF8000000000001, 0x8000000000000000, 1, 0xFFF0000000000000])
def test_every_bit_of_a_value_is_kept(tmp_path: Path, bits: int) -> None:
    writer = writer_in(tmp_path)
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))

    writer.log_metric(b"x", value, 0, NOW_US)

    (record,) = read_strictly(writer.folder)
    assert struct.pack("<d", record.values[0]) == struct.pack("<Q", bits)
    writer.close()


def test_a_writer_folder_appears_whole_and_locked(tmp_path: Path) -> None:
    root = SpoolRoot(tmp_path / "spool")

    writer = SpoolWriter.create(root, meta_for_tests())

    (folder,) = root.writer_folders()
    meta = load_meta(folder.meta)
    assert (meta.run_id, meta.writer_id, meta.pid) == ("run-1", WRITER_ID, os.getpid())
    assert folder.reserve.stat().st_blocks * 512 >= 64 * 1024
    assert [segment.first_seq for segment in folder.segments()] == [1]
    assert is_locked(folder.lock)
    assert writer_state(folder, meta) is WriterState.LIVE
    writer.close()


def test_a_writer_id_is_used_only_once(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)

    with pytest.raises(FileExistsError):
        writer_in(tmp_path)

    writer.log_metric(b"x", 1.0, 0, NOW_US)
    assert len(read_strictly(writer.folder)) == 1
    writer.close()


def test_a_failed_creation_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = FailingDisk()

    def refuse_segments(path: Path) -> None:
        raise OSError(28, "full")

    disk.fail_open = refuse_segments

    with pytest.raises(OSError, match="full"):
        writer_in(tmp_path, files=disk.files)

    assert list((tmp_path / "spool" / "run-1").iterdir()) == []


def test_closing_lets_go_of_the_lock_and_the_reserve(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)
    writer.log_metric(b"x", 1.0, 0, NOW_US)

    writer.close()
    writer.close()

    assert not is_locked(writer.folder.lock)
    assert not writer.folder.reserve.exists()
    assert len(read_strictly(writer.folder)) == 1
    with pytest.raises(SpoolClosed):
        writer.log_metric(b"x", 1.0, 0, NOW_US)
    with pytest.raises(SpoolClosed):
        writer.log_event(Event("x", NOW_US, {}))
    assert writer.next_seq == 2


@pytest.mark.parametrize("level", ["os", "fsync"])
def test_segments_rotate_at_their_size_and_stay_dense(tmp_path: Path, level: Any) -> None:
    writer = writer_in(tmp_path, segment_bytes_max=4096, durability=level)

    for i in range(500):
        writer.log_metric(b"loss", float(i), i, NOW_US)
    writer.close()

    segments = writer.folder.segments()
    assert len(segments) > 5
    assert all(4096 <= s.path.stat().st_size < 4200 for s in segments[:-1])
    assert [r.step for r in read_strictly(writer.folder)] == list(range(500))


def test_a_segment_that_cannot_be_opened_lets_the_old_one_grow(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_in(tmp_path, segment_bytes_max=4096, files=disk.files)

    def refuse_open(path: Path) -> None:
        raise OSError(24, "too many open files")

    disk.fail_open = refuse_open
    for i in range(500):
        writer.log_metric(b"loss", float(i), i, NOW_US)

    assert writer.faults > 0
    assert writer.dropped == 0
    assert [r.step for r in read_strictly(writer.folder)] == list(range(500))
    writer.close()


def test_every_record_is_synced_at_level_fsync(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_in(tmp_path, files=disk.files, durability="fsync")
    before = len(disk.synced)

    with writer._syncer.lock:  # keeps the background thread away, should it be awake
        for i in range(5):
            writer.log_metric(b"loss", 1.0, i, NOW_US)

    assert len(disk.synced) == before + 5
    writer.close()


def test_records_are_synced_in_the_background_and_an_idle_writer_is_left_alone(
    tmp_path: Path,
) -> None:
    disk = FailingDisk()
    writer = writer_in(tmp_path, files=disk.files)

    def wait_for_syncs(n: int) -> None:
        deadline = time.monotonic() + 60
        while len(disk.synced) < n and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(disk.synced) == n

    wait_for_syncs(1)  # the header
    time.sleep(1.5)  # long enough for the thread to fall asleep
    assert len(disk.synced) == 1
    writer.log_metric(b"loss", 1.0, 0, NOW_US)
    wait_for_syncs(2)
    writer.close()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda w: w.log_metric(b"x", "no number", 0, NOW_US), struct.error),
        (lambda w: w.log_metric(b"x", 1.0, 2**63, NOW_US), struct.error),
        (lambda w: w.log_metric("x", 1.0, 0, NOW_US), TypeError),
        (lambda w: w.log_metrics(b"a\0b", 2, [1.0], 0, NOW_US), struct.error),
        (
            lambda w: w.log_event(Event("x", 0, {"text": "a" * RECORD_BYTES_MAX})),
            PayloadTooLarge,
        ),
    ],
)
def test_a_wrong_argument_raises_and_uses_no_number(
    tmp_path: Path, call: Any, error: type[Exception]
) -> None:
    writer = writer_in(tmp_path)

    with pytest.raises(error):
        call(writer)
    writer.log_metric(b"x", math.pi, 0, NOW_US)

    (record,) = read_strictly(writer.folder)
    assert record.seq == 1
    assert (writer.faults, writer.dropped) == (0, 0)
    writer.close()


def test_eight_threads_leave_a_dense_sequence(tmp_path: Path) -> None:
    writer = writer_in(tmp_path, segment_bytes_max=1024 * 1024)

    def log(thread: int) -> None:
        for i in range(10_000):
            writer.log_metric(b"t%d" % thread, float(thread), i, NOW_US)

    threads = [threading.Thread(target=log, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    records = read_strictly(writer.folder)
    assert len(records) == 80_000
    for n in range(8):
        assert [r.step for r in records if r.values[0] == n] == list(range(10_000))


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
                while True:
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


def test_acks_are_seen_by_the_writer(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)
    assert writer.acked_seq() == 1

    write_ack(writer.folder.acks, next_seq=7, destination=1)
    assert writer.acked_seq() == 7
    write_ack(writer.folder.acks, next_seq=9, destination=1)
    assert writer.acked_seq() == 9
    writer.close()
    assert writer.acked_seq() == 9


def test_the_doorbell_wakes_a_listener_and_never_waits(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)
    bell = SpoolRoot(tmp_path / "spool").doorbell
    assert not writer.ring_doorbell()
    os.mkfifo(bell)
    assert not writer.ring_doorbell()

    fd = os.open(bell, os.O_RDONLY | os.O_NONBLOCK)
    assert all(writer.ring_doorbell() for _ in range(70_000 // 100))
    assert os.read(fd, 1) == b"!"
    os.close(fd)
    assert not writer.ring_doorbell()
    writer.close()


def test_a_doorbell_that_is_a_file_is_not_written_to(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)
    bell = SpoolRoot(tmp_path / "spool").doorbell
    bell.write_bytes(b"")

    assert not writer.ring_doorbell()

    assert bell.read_bytes() == b""
    writer.close()


def test_a_folder_knows_its_segments_among_junk(tmp_path: Path) -> None:
    folder = WriterFolder(tmp_path)
    for name in ("000000000000000a.seg", "0000000000000001.seg", "0000000000000001.rewriting"):
        (tmp_path / name).touch()
    (tmp_path / "0000000000000001.seg.abandoned-1").touch()

    assert [segment.first_seq for segment in folder.segments()] == [1, 10]
