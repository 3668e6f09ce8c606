from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.spools import WRITER_ID, meta_for_tests
from tracker.events.limits import RUN_ID_CHARACTERS_MAX
from tracker.spool import locks, machine
from tracker.spool.folder import SpoolRoot, WriterFolder, run_folder_name, writer_folders_at
from tracker.spool.locks import FileLock, WriterState, is_locked, writer_state
from tracker.spool.machine import boot_id, machine_id, process_start
from tracker.spool.meta import MetaUnreadable, WriterMeta, load_meta, store_meta


def make_writer(root: Path, run_id: str, writer_id: str) -> WriterFolder:
    folder = SpoolRoot(root).writer_folder(run_id, writer_id)
    folder.path.mkdir(parents=True)
    store_meta(folder.meta, WriterMeta(writer_id=writer_id, run_id=run_id))
    return folder


def test_a_path_may_be_a_spool_a_run_or_a_writer(tmp_path: Path) -> None:
    first = make_writer(tmp_path, "r1", "w1")
    second = make_writer(tmp_path, "r1", "w2")
    third = make_writer(tmp_path, "r2", "w3")

    assert writer_folders_at(tmp_path) == [first, second, third]
    assert writer_folders_at(tmp_path / "r1") == [first, second]
    assert writer_folders_at(third.path) == [third]
    assert writer_folders_at(tmp_path / "nowhere") == []


def test_listing_steps_over_everything_that_is_no_writer(tmp_path: Path) -> None:
    real = make_writer(tmp_path, "r1", "w1")
    (tmp_path / "helper.log").write_text("x")
    (tmp_path / "r2").mkdir()
    (tmp_path / "r1" / "half").mkdir()
    (tmp_path / "r1" / ".creating-w9").mkdir()
    shutil.copy(real.meta, tmp_path / "r1" / ".creating-w9" / "meta.json")
    (tmp_path / "r1" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "r1", target_is_directory=True)
    os.mkfifo(tmp_path / "doorbell")

    assert list(SpoolRoot(tmp_path).writer_folders()) == [real]


def test_a_folder_that_vanishes_while_it_is_listed_is_left_out(tmp_path: Path) -> None:
    first = make_writer(tmp_path, "r1", "w1")
    second = make_writer(tmp_path, "r2", "w2")

    listing = SpoolRoot(tmp_path).writer_folders()
    assert next(listing) == first
    shutil.rmtree(second.path.parent)

    assert list(listing) == []
    assert second.segments() == []


def test_every_run_id_gives_a_folder_name_that_files_allow(tmp_path: Path) -> None:
    long_ids = ["a" * RUN_ID_CHARACTERS_MAX, "a" * (RUN_ID_CHARACTERS_MAX - 1) + "b"]

    names = [run_folder_name(run_id) for run_id in long_ids]

    assert len(set(names)) == 2
    for name in names:
        (tmp_path / name).mkdir()
    assert run_folder_name("run-1") == "run-1"
    assert run_folder_name("") == "_workspace"


def test_a_meta_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    meta = meta_for_tests(
        mode="offline", uri="http://host:5000", experiment_name="é", rank=3, is_owner=False
    ).of_this_process()

    store_meta(tmp_path / "meta.json", meta)

    assert load_meta(tmp_path / "meta.json") == meta
    assert (meta.pid, meta.process_start) == (os.getpid(), process_start(os.getpid()))
    assert [path.name for path in tmp_path.iterdir()] == ["meta.json"]


def test_a_meta_of_a_newer_client_is_read(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"writer_id": WRITER_ID, "run_id": "r", "schema": 2, "new": [1]}))

    assert load_meta(path).schema == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"writer_id": "w"}',
        '{"writer_id": 5, "run_id": "r"}',
        '{"writer_id": "../../etc", "run_id": "r"}',
        '{"writer_id": "w", "run_id": "a/b"}',
        '{"writer_id": "w", "run_id": "r", "epoch": "1"}',
        "\x00" * 400,
    ],
)
def test_a_broken_meta_says_which_file_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meta.json"
    path.write_text(text)

    with pytest.raises(MetaUnreadable, match=r"meta\.json"):
        load_meta(path)


def test_a_missing_meta_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(MetaUnreadable):
        load_meta(tmp_path / "meta.json")


def locked_writer(path: Path, **fields: Any) -> tuple[WriterFolder, WriterMeta, FileLock]:
    folder = WriterFolder(path / WRITER_ID)
    folder.path.mkdir()
    lock = FileLock.acquire(folder.lock)
    assert lock is not None
    meta = meta_for_tests().of_this_process()._replace(lock_inode=lock.inode, **fields)
    return folder, meta, lock


def test_a_held_lock_means_live_and_a_free_one_dead(tmp_path: Path) -> None:
    folder, meta, lock = locked_writer(tmp_path)
    assert writer_state(folder, meta) is WriterState.LIVE

    lock.release()

    assert writer_state(folder, meta) is WriterState.DEAD


def test_nothing_is_said_of_a_copy_or_of_another_machines_writer(tmp_path: Path) -> None:
    folder, meta, lock = locked_writer(tmp_path)
    lock.release()
    copy = WriterFolder(tmp_path / "copy")
    shutil.copytree(folder.path, copy.path)

    assert writer_state(copy, meta) is WriterState.FOREIGN
    assert writer_state(folder, meta._replace(machine_id="other")) is WriterState.FOREIGN
    assert writer_state(folder, meta._replace(machine_id="")) is WriterState.FOREIGN
    folder.lock.unlink()
    assert writer_state(folder, meta) is WriterState.FOREIGN


def test_a_writer_of_an_earlier_boot_is_dead(tmp_path: Path) -> None:
    folder, meta, lock = locked_writer(tmp_path)
    lock.release()

    assert writer_state(folder, meta._replace(boot_id="earlier")) is WriterState.REBOOTED


def test_one_process_at_a_time_holds_a_lock_and_its_death_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "helper.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from tracker.spool.locks import FileLock;"
            "lock = FileLock.acquire(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()

    assert is_locked(path)
    assert FileLock.acquire(path, wait_s=0.01) is None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not is_locked(path)
    lock = FileLock.acquire(path)
    assert lock is not None
    lock.release()


def test_probes_do_not_take_each_other_for_a_live_process(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    path.touch()
    with path.open() as probe:
        fcntl.flock(probe, fcntl.LOCK_SH)

        assert not is_locked(path)


def test_a_process_that_was_stopped_while_it_probed_keeps_nobody_from_the_lock(
    tmp_path: Path,
) -> None:
    import fcntl

    path = tmp_path / "lock"
    path.touch()
    with path.open() as probe:
        fcntl.flock(probe, fcntl.LOCK_SH)
        going_on = threading.Timer(0.5, fcntl.flock, [probe, fcntl.LOCK_UN])
        going_on.start()

        lock = FileLock.acquire(path, wait_s=0.01)
        going_on.join()

    assert lock is not None
    lock.release()


def test_a_locked_file_that_has_another_name_by_now_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, renamed = tmp_path / "part", tmp_path / "whole"
    holder = FileLock.acquire(path)
    assert holder is not None
    try_lock = locks._try_lock

    def try_late(fd: int, *, shared: bool) -> bool:
        if path.exists():
            path.rename(renamed)
        return try_lock(fd, shared=shared)

    monkeypatch.setattr(locks, "_try_lock", try_late)
    monkeypatch.setattr(locks, "_STALLED_PROBE_WAIT_S", 3600.0)

    assert FileLock.acquire(path, wait_s=0) is None
    holder.release()


def test_a_lock_that_was_never_made_is_free(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")


def test_an_image_without_a_machine_id_is_named_by_its_boot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_MACHINE_ID_FILES", (tmp_path / "none",))
    machine_id.cache_clear()
    try:
        assert machine_id() == f"boot-{boot_id()}"
    finally:
        machine_id.cache_clear()


def test_processes_are_told_apart_by_when_they_started() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_start(child.pid) not in (None, process_start(os.getpid()))

    child.communicate(b"\n")

    assert process_start(child.pid) is None
