"""What a run is made with: packages, and what git says of the code, within limits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import tracker
from tests.support.recorded import isolated_sdk, recorded
from tracker import ending, git_state, notices
from tracker.artifacts import code_changes, environment
from tracker.artifacts.code_changes import CodeChanges
from tracker.masking import MASK


@pytest.fixture(autouse=True)
def _nothing_found_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_found", {})
    monkeypatch.setattr(code_changes, "_found", None)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text("print()\n")
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(sys, "argv", [str(folder / "train.py")])
    return folder


def installed(folder: Path, name: str, *, origin: object = None) -> None:
    about = folder / f"{name.replace('-', '_')}-1.5.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\nSummary: one\n\nName: no\n# README\n"
    )
    if origin is not None:
        (about / "direct_url.json").write_text(json.dumps(origin))


def requirements() -> list[str]:
    return environment.contents()["environment/requirements.txt"].decode().splitlines()


def test_what_is_installed_is_what_the_library_says_is_installed() -> None:
    known = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}

    listed = requirements()

    plain = dict(line.split("==") for line in listed if "==" in line)
    assert {name.lower(): version for name, version in plain.items()}.items() <= known.items()
    assert len(listed) == len(known)


def test_a_package_is_listed_as_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "from-index")
    vcs = {"vcs": "git", "commit_id": "abc123"}
    installed(tmp_path, "from-git", origin={"url": "https://u:pw@host/x.git", "vcs_info": vcs})
    installed(tmp_path, "from-folder", origin={"url": "file:///src/x", "dir_info": {}})
    installed(tmp_path, "odd", origin=["not", "an", "object"])
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "METADATA").write_bytes(b"Name: \xff\xfe")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert requirements() == [
        "from-folder @ file:///src/x",
        f"from-git @ git+https://{MASK}@host/x.git@abc123",
        "from-index==1.5",
        "odd==1.5",
        "# and 1 whose metadata cannot be read",
    ]


def test_changes_and_unknown_files_are_kept_without_secrets(checkout: Path) -> None:
    (checkout / "train.py").write_text("my_api_key = 'hunter2'\n")
    (checkout / "new.txt").touch()

    found = CodeChanges().contents()

    assert b"+my_api_key = '***'" in found["code/changes.diff"]
    assert found["code/untracked.txt"] == b"new.txt\n"


def test_every_run_of_a_process_gets_the_code_it_began_with(checkout: Path) -> None:
    first = CodeChanges().contents()
    (checkout / "new.txt").touch()

    assert CodeChanges().contents() is first
    assert dict(first) == {}


def test_a_large_diff_and_many_unknown_files_are_cut_and_say_so(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_changes, "_DIFF_BYTES_MAX", 2_000)
    monkeypatch.setattr(code_changes, "_UNTRACKED_MAX", 3)
    (checkout / "train.py").write_text("x = 1\n" * 1_000_000)
    for number in range(5):
        (checkout / f"{number}.txt").touch()

    found = CodeChanges().contents()

    assert len(found["code/changes.diff"]) < 2_100
    assert found["code/changes.diff"].endswith(b"\n# cut here: more than 2000 bytes\n")
    assert found["code/untracked.txt"] == b"0.txt\n1.txt\n2.txt\n# and 2 more\n"


@pytest.mark.parametrize("state", ["no checkout", "no git", "no commit", "slow git"])
def test_without_an_answer_of_git_there_is_only_the_environment(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    (checkout / "train.py").write_text("changed\n")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    match state:
        case "no checkout":
            monkeypatch.setattr(sys, "argv", [str(tmp_path / "nowhere.py")])
            monkeypatch.chdir(tmp_path)
        case "no git":
            monkeypatch.setenv("PATH", str(bin_folder))
        case "no commit":
            subprocess.run(["git", "-C", str(checkout), "update-ref", "-d", "HEAD"], check=True)
        case "slow git":
            (bin_folder / "git").write_text("#!/bin/sh\nexec sleep 100\n")
            (bin_folder / "git").chmod(0o700)
            monkeypatch.setenv("PATH", str(bin_folder), prepend=":")
            monkeypatch.setattr(code_changes, "_GIT_TIMEOUT_S", 0.1)

    assert "code/changes.diff" not in CodeChanges().contents()


@pytest.fixture
def held_answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Git answers when the event is set."""
    answered = threading.Event()

    def contents(self: CodeChanges) -> dict[str, bytes]:
        answered.wait(30)
        return {"code/changes.diff": b"+x"}

    monkeypatch.setattr(git_state, "find", lambda start: None)  # no process is begun
    monkeypatch.setattr(CodeChanges, "contents", contents)
    yield answered
    answered.set()


def test_a_flush_that_cannot_wait_for_the_snapshot_says_so_and_a_later_one_still_does(
    tmp_path: Path, held_answer: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    with isolated_sdk(tmp_path, monkeypatch):
        run = tracker.start_run(snapshot="all")
        assert run.finish_artifacts(0.0) is False

        held_answer.set()

        assert run.finish_artifacts(30.0) is True
        paths = [data.get("path") for each in recorded(tmp_path) for _, data in each.events]
    assert "code/changes.diff" in paths


def test_an_end_that_comes_before_git_answers_says_what_may_be_missing(
    tmp_path: Path,
    held_answer: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ending, "_STAGING_WAIT_S", 0.05)
    monkeypatch.setattr(notices.notices, "_warned", set())
    with isolated_sdk(tmp_path, monkeypatch):
        tracker.start_run(snapshot="all").end_run()

        held_answer.set()

    assert "missing from the run" in capsys.readouterr().err
