from __future__ import annotations

import math
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.spools import (
    NOW_US,
    WRITER_ID,
    FailingDisk,
    meta_for_tests,
    read_strictly,
    writer_in,
)
from tracker.events.errors import PayloadTooLarge
from tracker.events.limits import RECORD_BYTES_MAX
from tracker.events.types import Event
from tracker.spool.acks import write_ack
from tracker.spool.folder import SpoolRoot, WriterFolder
from tracker.spool.framing import KIND_EVENT, KIND_METRICS
from tracker.spool.locks import WriterState, is_locked, writer_state
from tracker.spool.meta import load_meta
from tracker.spool.writer import SpoolClosed, SpoolWriter


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
