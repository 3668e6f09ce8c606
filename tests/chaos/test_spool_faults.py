"""What the spool's writer does when the process is killed and when the disk fails."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.spools import (
    WRITER_ID,
    FailingDisk,
    Record,
    full_after,
    meta_for_tests,
    read_strictly,
    refuse,
)
from tracker.events.types import Event
from tracker.spool.folder import SpoolRoot, WriterFolder
from tracker.spool.framing import KIND_DROPPED, KIND_METRICS
from tracker.spool.locks import WriterState, writer_state
from tracker.spool.meta import load_meta
from tracker.spool.writer import SpoolWriter

NOW_US = 1_700_000_000_000_000

# Logs flat out and says on stdout, unbuffered, up to which call it has come back from.
LOG_FLAT_OUT = f"""
import os, struct, sys
from pathlib import Path
from tracker.spool.meta import WriterMeta
from tracker.spool.writer import SpoolWriter
meta = WriterMeta(writer_id={WRITER_ID!r}, run_id="run-1")
writer = SpoolWriter.create(Path(sys.argv[1]), meta, segment_bytes_max=1 << 18)
step = 0
while True:
    writer.log_metric(b"loss", float(step), step, 1)
    os.write(1, struct.pack("<Q", step))
    step += 1
"""

LOG_SOME = f"""
import sys, time
from pathlib import Path
from tracker.spool.meta import WriterMeta
from tracker.spool.writer import SpoolWriter
meta = WriterMeta(writer_id={WRITER_ID!r}, run_id="run-1")
writer = SpoolWriter.create(Path(sys.argv[1]), meta)
for step in range(int(sys.argv[2])):
    writer.log_metric(b"loss", float(step), step, 1)
    if step % 50 == 0:
        time.sleep(float(sys.argv[3]))
writer.close()
print(writer.dropped, writer.faults)
"""


def writer_on(path: Path, disk: FailingDisk, **options: Any) -> SpoolWriter:
    return SpoolWriter.create(
        SpoolRoot(path / "spool"), meta_for_tests(), files=disk.files, **options
    )


def folder_in(spool: Path) -> WriterFolder:
    return SpoolRoot(spool).writer_folder("run-1", WRITER_ID)


def log_until(writer: SpoolWriter, done: Any, *, step: int = 0) -> int:
    """Log until `done()`, and return the step after the last one."""
    deadline = time.monotonic() + 90
    while not done():
        assert time.monotonic() < deadline
        writer.log_metric(b"loss", float(step), step, NOW_US)
        step += 1
    return step


def no_sync_but_ours(writer: SpoolWriter) -> AbstractContextManager[object]:
    """Keeps the background thread, which syncs five times a second, away for the block."""
    return writer._syncer.lock


def accounted(records: list[Record]) -> tuple[list[int], int]:
    """(steps that are there, calls that a DROPPED record stands for)."""
    steps = [record.step for record in records if record.kind == KIND_METRICS]
    return steps, sum(record.n for record in records if record.kind == KIND_DROPPED)


def test_what_a_killed_process_had_returned_from_is_all_there(tmp_path: Path) -> None:
    """Killed at random moments; the pipe holds what the process had witnessed."""
    chance = random.Random(20)
    for round_ in range(15):
        spool = tmp_path / str(round_)
        process = subprocess.Popen(
            [sys.executable, "-c", LOG_FLAT_OUT, str(spool)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        witnessed = process.stdout.read(8)
        os.set_blocking(process.stdout.fileno(), False)
        deadline = time.monotonic() + chance.uniform(0.0, 0.15)
        while time.monotonic() < deadline:
            witnessed += process.stdout.read() or b""
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.set_blocking(process.stdout.fileno(), True)
        witnessed += process.stdout.read()
        process.stdout.close()

        (last,) = struct.unpack("<Q", witnessed[-8:])
        # SIGKILL may also end a write(2) between two pages; that call had not returned.
        records = read_strictly(folder_in(spool), may_be_torn=True)
        steps = [record.step for record in records]
        # One more may have been written whose return nobody saw.
        assert steps in (list(range(last + 1)), list(range(last + 2)))
        folder = folder_in(spool)
        assert writer_state(folder, load_meta(folder.meta)) is WriterState.DEAD


def test_a_full_disk_is_counted_and_recorded_when_space_returns(tmp_path: Path) -> None:
    disk, used = FailingDisk(), [0]
    writer = writer_on(tmp_path, disk)
    disk.fail_write = full_after(10_000, used)

    logged = log_until(writer, lambda: writer.dropped >= 100)
    used[0] = -1_000_000
    logged = log_until(writer, lambda: read_strictly(writer.folder)[-1].step > 0, step=logged)
    time.sleep(0.3)
    for step in range(logged, logged + 10):
        writer.log_metric(b"loss", float(step), step, NOW_US)
    writer.close()

    steps, lost = accounted(read_strictly(writer.folder))
    assert lost == writer.dropped >= 100
    assert len(steps) + lost == logged + 10 == writer.next_seq - 1
    assert steps[-10:] == list(range(logged, logged + 10))
    assert steps == sorted(set(steps))


def test_calls_on_a_full_disk_do_not_try_it_each_time(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    tries = []

    def full(fd: int, data: bytes) -> int:
        tries.append(1)
        raise refuse(errno.ENOSPC)

    disk.fail_write = full
    started = time.monotonic()
    for step in range(20_000):
        writer.log_metric(b"loss", 1.0, step, NOW_US)

    assert len(tries) <= 2 + (time.monotonic() - started) / 0.25
    assert writer.dropped == 20_000
    disk.fail_write = lambda fd, data: None
    writer.close()
    steps, lost = accounted(read_strictly(writer.folder))
    assert (steps, lost) == ([], 20_000)


def test_the_reserve_records_the_loss_and_the_end_of_the_run_on_a_disk_still_full(
    tmp_path: Path,
) -> None:
    """Only writes into blocks that the disk has given already succeed."""
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    reserve_inode = writer.folder.reserve.stat().st_ino

    def full(fd: int, data: bytes) -> int | None:
        if os.fstat(fd).st_ino == reserve_inode:
            return None
        raise refuse(errno.ENOSPC)

    writer.log_metric(b"loss", 1.0, 0, NOW_US)
    disk.fail_write = full
    for step in range(7):
        writer.log_metric(b"loss", 1.0, step, NOW_US)
    seq = writer.log_event(Event("run.ended", NOW_US, {"status": "FINISHED"}))
    writer.close()

    records = read_strictly(writer.folder)
    assert [(r.seq, r.n) for r in records] == [(1, 1), (2, 7), (9, 1)]
    assert records[2].row[0] == "run.ended"
    assert seq == 9
    assert len(writer.folder.segments()) == 2


def test_a_loss_at_close_goes_into_the_reserve(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    reserve_inode = writer.folder.reserve.stat().st_ino

    def full(fd: int, data: bytes) -> int | None:
        if os.fstat(fd).st_ino == reserve_inode:
            return None
        raise refuse(errno.ENOSPC)

    disk.fail_write = full
    for step in range(7):
        writer.log_metric(b"loss", 1.0, step, NOW_US)
    writer.close()

    (record,) = read_strictly(writer.folder)
    assert (record.kind, record.seq, record.n) == (KIND_DROPPED, 1, 7)
    assert "No space left" in record.row[1]


def test_one_warning_is_shown_however_often_the_disk_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    for _ in range(3):

        def full(fd: int, data: bytes) -> int:
            raise refuse(errno.ENOSPC)

        disk.fail_write = full
        writer.log_metric(b"loss", 1.0, 0, NOW_US)
        disk.fail_write = lambda fd, data: None
        time.sleep(0.3)
        writer.log_metric(b"loss", 1.0, 0, NOW_US)
    writer.close()

    assert writer.dropped == 3
    assert len([r for r in caplog.records if "LOST" in r.message]) == 1


def test_an_interrupt_while_the_loss_is_recorded_records_it_once(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)

    def full(fd: int, data: bytes) -> int:
        raise refuse(errno.ENOSPC)

    def interrupt(fd: int, data: bytes) -> int:
        disk.fail_write = lambda fd, data: None
        os.write(fd, data)
        raise KeyboardInterrupt

    disk.fail_write = full
    writer.log_metric(b"loss", 1.0, 0, NOW_US)
    time.sleep(0.3)
    disk.fail_write = interrupt
    with pytest.raises(KeyboardInterrupt):
        writer.log_metric(b"loss", 1.0, 1, NOW_US)
    writer.log_metric(b"loss", 1.0, 2, NOW_US)
    writer.close()

    steps, lost = accounted(read_strictly(writer.folder))
    assert (steps, lost) == ([2], 1)


def test_a_record_written_in_two_pieces_is_there_once(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)

    def short(fd: int, data: bytes) -> int:
        disk.fail_write = lambda fd, data: None
        return os.write(fd, data[:9])

    disk.fail_write = short
    for step in range(3):
        writer.log_metric(b"loss", 1.0, step, NOW_US)
    writer.close()

    assert [record.step for record in read_strictly(writer.folder)] == [0, 1, 2]
    assert writer.dropped == 0


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADF, errno.ESTALE])
@pytest.mark.parametrize("written", [0, 11])
def test_a_failed_write_goes_on_in_another_file(tmp_path: Path, number: int, written: int) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    for step in range(100):
        writer.log_metric(b"loss", 1.0, step, NOW_US)
    before = writer.folder.segments()[0].path.stat().st_ino

    def fail(fd: int, data: bytes) -> int:
        disk.fail_write = lambda fd, data: None
        os.write(fd, data[:written])
        raise refuse(number)

    disk.fail_write = fail
    for step in range(100, 200):
        writer.log_metric(b"loss", 1.0, step, NOW_US)
    writer.close()

    assert [record.step for record in read_strictly(writer.folder)] == list(range(200))
    assert (writer.faults, writer.dropped) == (1, 0)
    (segment,) = writer.folder.segments()
    assert segment.path.stat().st_ino != before
    abandoned = segment.path.with_name(segment.path.name + ".abandoned-1")
    assert abandoned.stat().st_ino == before


def test_a_failed_sync_is_never_repeated_on_the_same_file(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    writer.flush_to_disk()
    before = writer.folder.segments()[0].path.stat().st_ino
    synced: list[int] = []

    def fail(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        if len(synced) == 1:
            raise refuse(errno.EIO)

    with no_sync_but_ours(writer):
        for step in range(100):
            writer.log_metric(b"loss", 1.0, step, NOW_US)
        disk.fail_sync = fail
        assert writer.flush_to_disk()
    writer.log_metric(b"loss", 1.0, 100, NOW_US)
    writer.close()

    assert synced[0] == before
    assert before not in synced[1:]
    assert [record.step for record in read_strictly(writer.folder)] == list(range(101))
    assert writer.faults == 1


def test_a_failed_sync_is_not_forgotten_while_no_other_file_can_be_made(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    before = writer.folder.segments()[0].path.stat().st_ino
    synced: list[int] = []

    def fail(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        if len(synced) == 1:
            raise refuse(errno.EIO)

    def refuse_open(path: Path) -> None:
        raise refuse(errno.ENOSPC)

    with no_sync_but_ours(writer):
        writer.log_metric(b"loss", 1.0, 0, NOW_US)
        disk.fail_sync, disk.fail_open = fail, refuse_open
        assert not writer.flush_to_disk()
    assert not writer.flush_to_disk()
    disk.fail_open = lambda path: None
    assert writer.flush_to_disk()

    assert synced.count(before) == 1
    assert [record.step for record in read_strictly(writer.folder)] == [0]
    writer.close()


def test_a_disk_that_fails_every_sync_is_tried_with_pauses_and_loses_no_record(
    tmp_path: Path,
) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)

    def fail(fd: int) -> None:
        raise refuse(errno.EIO)

    disk.fail_sync = fail
    step = log_until(writer, lambda: writer.faults >= 2)
    time.sleep(0.8)
    assert not writer.flush_to_disk()
    writer.close()

    assert writer.faults < 8
    assert [record.step for record in read_strictly(writer.folder)] == list(range(step))


def test_a_sealed_segment_that_cannot_be_synced_is_written_anew(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk, segment_bytes_max=4096)
    writer.flush_to_disk()
    first = writer.folder.segments()[0].path.stat().st_ino

    def fail(fd: int) -> None:
        if os.fstat(fd).st_ino == first:
            raise refuse(errno.EIO)

    disk.fail_sync = fail
    step = log_until(writer, lambda: len(writer.folder.segments()) > 1 and writer.flush_to_disk())
    writer.close()

    assert writer.folder.segments()[0].path.stat().st_ino != first
    assert [record.step for record in read_strictly(writer.folder)] == list(range(step))


def test_a_failing_sync_at_level_fsync_moves_the_records_before_the_call_returns(
    tmp_path: Path,
) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk, durability="fsync")
    writer.log_metric(b"loss", 1.0, 0, NOW_US)
    before = writer.folder.segments()[0].path.stat().st_ino

    def fail(fd: int) -> None:
        if os.fstat(fd).st_ino == before:
            raise refuse(errno.EIO)

    disk.fail_sync = fail
    writer.log_metric(b"loss", 1.0, 1, NOW_US)

    assert writer.folder.segments()[0].path.stat().st_ino != before
    assert [record.step for record in read_strictly(writer.folder)] == [0, 1]
    writer.close()


def test_records_that_cannot_be_read_back_are_recorded_as_lost(tmp_path: Path) -> None:
    """After the EIO the page cache gives back zeros for the file's second half."""
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)
    writer.flush_to_disk()
    path = writer.folder.segments()[0].path

    def fail(fd: int) -> None:
        disk.fail_sync = lambda fd: None
        size = path.stat().st_size
        os.truncate(path, size // 2)
        os.truncate(path, size)
        raise refuse(errno.EIO)

    with no_sync_but_ours(writer):
        for step in range(100):
            writer.log_metric(b"loss", 1.0, step, NOW_US)
        disk.fail_sync = fail
        writer.flush_to_disk()
    writer.log_metric(b"loss", 1.0, 100, NOW_US)
    writer.close()

    steps, lost = accounted(read_strictly(writer.folder))
    assert lost == writer.dropped > 40
    assert len(steps) + lost == 101
    assert steps[-1] == 100


def test_a_broken_disk_costs_records_but_no_call_raises(tmp_path: Path) -> None:
    disk = FailingDisk()
    writer = writer_on(tmp_path, disk)

    def broken(*_: object) -> None:
        raise refuse(errno.EIO)

    disk.fail_write = disk.fail_sync = disk.fail_open = broken
    for step in range(100):
        writer.log_metric(b"loss", 1.0, step, NOW_US)
    assert writer.dropped == 100
    time.sleep(0.3)
    disk.fail_write = lambda fd, data: None
    disk.fail_open = lambda path: None
    disk.fail_sync = lambda fd: None
    step = log_until(writer, lambda: accounted(read_strictly(writer.folder))[0], step=100)
    writer.close()

    steps, lost = accounted(read_strictly(writer.folder))
    assert len(steps) + lost == step


def test_the_limit_of_a_files_size_is_met_by_another_segment(tmp_path: Path) -> None:
    """A real EFBIG, from RLIMIT_FSIZE, far below the size of a segment."""
    process = subprocess.run(
        [sys.executable, "-c", LOG_SOME, str(tmp_path), "3000", "0"],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (66_000, 66_000)),
    )

    assert process.stdout.split()[0] == b"0"
    folder = folder_in(tmp_path)
    assert [record.step for record in read_strictly(folder)] == list(range(3000))
    assert len(folder.segments()) > 1


@pytest.mark.parametrize("what", ["segments", "folder", "spool"])
def test_a_spool_deleted_under_a_live_run_is_made_again(tmp_path: Path, what: str) -> None:
    writer = SpoolWriter.create(SpoolRoot(tmp_path / "spool"), meta_for_tests())
    for step in range(100):
        writer.log_metric(b"loss", 1.0, step, NOW_US)
    folder = writer.folder
    # Renamed first, as the writer's thread may make files while rmtree is at work.
    match what:
        case "segments":
            folder.segments()[0].path.unlink()
        case "folder":
            folder.path.rename(tmp_path / "gone")
        case _:
            (tmp_path / "spool").rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone", ignore_errors=what == "segments")
    writer.log_metric(b"loss", 1.0, 100, NOW_US)

    assert writer.flush_to_disk()

    assert [record.step for record in read_strictly(folder)] == list(range(101))
    assert writer_state(folder, load_meta(folder.meta)) is WriterState.LIVE
    writer.close()
    assert writer_state(folder, load_meta(folder.meta)) is WriterState.DEAD
    assert writer.dropped == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(mount)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("only root may mount a small file system; the same is tested with FailingDisk")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_really_full_file_system_ends_with_every_call_accounted_for(small_disk: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", LOG_SOME, str(small_disk), "5000", "0"],
        capture_output=True,
        check=True,
    )

    steps, lost = accounted(read_strictly(folder_in(small_disk)))
    assert lost == int(process.stdout.split()[0]) > 0
    assert len(steps) + lost == 5000
    assert process.stderr.count(b"LOST") == 1


@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace injects the fault; FailingDisk tests the same"
)
@pytest.mark.parametrize(
    "fault",
    ["fdatasync:error=EIO:when=2", "write:error=EIO:when=700", "write:error=EIO:when=90+97"],
)
def test_a_real_eio_loses_nothing(tmp_path: Path, fault: str) -> None:
    process = subprocess.run(
        [
            *("strace", "-f", "-o", str(tmp_path / "trace"), "-e", "trace=write,fdatasync"),
            *("-e", f"inject={fault}"),
            *(sys.executable, "-c", LOG_SOME, str(tmp_path / "spool"), "1000", "0.03"),
        ],
        capture_output=True,
        check=True,
    )

    assert b"INJECTED" in (tmp_path / "trace").read_bytes()
    dropped, faults = map(int, process.stdout.split())
    steps, lost = accounted(read_strictly(folder_in(tmp_path / "spool")))
    assert faults > 0
    assert lost == dropped
    assert steps == list(range(1000)) or lost > 0
    assert len(steps) + lost == 1000
