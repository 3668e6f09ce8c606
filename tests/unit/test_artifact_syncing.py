"""Staged files reach the disk together, soon, and at once when somebody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tracker import notices
from tracker.artifacts import syncing
from tracker.artifacts.syncing import Syncing
from tracker.spool import staging
from tracker.spool.staging import sync_staged


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    """What was synced, call by call; not what a run of an earlier test still has to sync."""
    calls: list[list[Path]] = []

    def sync(paths: Sequence[Path]) -> None:
        if not any(path.is_absolute() for path in paths):
            calls.append(list(paths))

    monkeypatch.setattr(syncing, "sync_staged", sync)
    return calls


def test_files_staged_in_quick_succession_are_synced_together(
    synced: list[list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "GATHER_S", 3600.0)
    paths = [Path(str(number)) for number in range(1000)]
    waiting = Syncing()
    for path in paths:
        waiting.add(path)

    assert waiting.wait(30)
    assert synced == [paths]


def test_nobody_has_to_wait_for_a_sync_to_happen(synced: list[list[Path]]) -> None:
    Syncing().add(Path("staged"))

    deadline = time.monotonic() + 30
    while not synced and time.monotonic() < deadline:
        time.sleep(0.01)
    assert synced == [[Path("staged")]]


def test_a_disk_that_hangs_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(syncing, "sync_staged", lambda paths: answers.wait(30))
    waiting = Syncing()
    waiting.add(Path("staged"))

    assert not waiting.wait(0.01)
    answers.set()
    assert waiting.wait(30)


def test_a_disk_that_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(paths: Sequence[Path]) -> None:
        if list(paths) != [Path("staged")]:
            return  # of an earlier test's run
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(syncing, "sync_staged", fail)
    monkeypatch.setattr(notices.notices, "_warned", set())
    waiting = Syncing()
    waiting.add(Path("staged"))

    assert waiting.wait(30)
    assert "may not survive a power cut" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("has_syncfs", [True, False])
def test_files_and_folders_that_are_gone_need_no_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, has_syncfs: bool
) -> None:
    if not has_syncfs:
        monkeypatch.setattr(staging, "_sync_file_system", lambda folder: False)
    here = [tmp_path / str(number) for number in range(count)]
    for path in here:
        path.touch()

    sync_staged([*here, tmp_path / "uploaded", tmp_path / "delivered" / "file"])
