"""What a run says of its surroundings: git checkouts as they occur, and no secrets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracker import git_state, masking
from tracker.context import DirtyFlag, context_tags


def git(folder: Path, *arguments: str) -> str:
    """Runs git without the user's own configuration."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        env=own
        | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("print()\n")
    git(folder, "add", "train.py")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_checkout_says_commit_branch_and_remote(repository: Path) -> None:
    git(repository, "remote", "add", "upstream", "https://other.example/x.git")
    git(repository, "remote", "add", "origin", "https://bot:s3cret@git.example/team/x.git")
    (repository / "src" / "deep").mkdir(parents=True)

    found = git_state.find(repository / "src" / "deep")

    assert found is not None
    assert found.root == repository
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert found.branch == "main"
    assert found.remote_url == "https://git.example/team/x.git"


def test_packed_refs_and_branches_with_slashes_are_read(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "feature/long/name")
    git(repository, "pack-refs", "--all")

    found = git_state.find(repository)

    assert found is not None
    assert found.branch == "feature/long/name"
    assert found.commit == git(repository, "rev-parse", "HEAD")


def test_a_detached_head_has_a_commit_and_no_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")

    found = git_state.find(repository)

    assert found is not None
    assert found.branch is None
    assert found.commit == git(repository, "rev-parse", "HEAD")


def test_a_worktree_says_its_own_branch_and_the_repositorys_remote(
    repository: Path, tmp_path: Path
) -> None:
    git(repository, "remote", "add", "origin", "git@git.example:team/x.git")
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side" / "train.py").write_text("changed\n")
    git(tmp_path / "side", "commit", "-q", "-a", "-m", "second")

    found = git_state.find(tmp_path / "side")

    assert found is not None
    assert found.branch == "side"
    assert found.commit == git(tmp_path / "side", "rev-parse", "HEAD")
    assert found.commit != git(repository, "rev-parse", "HEAD")
    assert found.remote_url == "git@git.example:team/x.git"


def test_a_submodule_is_a_checkout_of_its_own(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "submodule", "--quiet", "add", str(repository), "lib")

    found = git_state.find(outer / "lib")

    assert found is not None
    assert found.root == outer / "lib"
    assert found.commit == git(repository, "rev-parse", "HEAD")


def test_an_empty_or_broken_repository_is_no_reason_to_fail(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    empty = git_state.find(tmp_path)
    assert empty is not None
    assert (empty.commit, empty.branch, empty.remote_url) == (None, "main", None)

    (tmp_path / ".git" / "HEAD").write_text("ref: ../../../etc/passwd\n")
    (tmp_path / ".git" / "config").write_bytes(b"\xff\x00[remote\n")
    broken = git_state.find(tmp_path)
    assert broken is not None
    assert broken.commit is None


def test_outside_of_any_checkout_nothing_is_found(tmp_path: Path) -> None:
    assert git_state.find(tmp_path) is None


def test_dirty_means_changed_tracked_files(repository: Path) -> None:
    (repository / "untracked.txt").write_text("x")
    assert git_state.is_dirty(repository, timeout_s=90) is False

    (repository / "train.py").write_text("print(1)\n")
    assert git_state.is_dirty(repository, timeout_s=90) is True
    assert git_state.is_dirty(repository / "nowhere", timeout_s=90) is None


def test_the_dirty_flag_is_told_to_everybody_once_it_is_known(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(repository / "train.py")])
    told: list[dict[str, str]] = []
    flag = DirtyFlag()

    flag.tell(told.append)
    flag.wait(90)
    flag.tell(told.append)

    assert told == [{"mlflow.source.git.dirty": "false"}] * 2


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://user:token@host/x.git", "https://host/x.git"),
        ("https://token@host:8443/x.git?private_token=abc", "https://host:8443/x.git"),
        ("ssh://git:pw@host/x.git", "ssh://git@host/x.git"),
        ("git@host:team/x.git", "git@host:team/x.git"),
        ("/srv/git/x.git", "/srv/git/x.git"),
    ],
)
def test_a_remote_is_kept_without_credentials(url: str, plain: str) -> None:
    assert git_state.without_credentials(url) == plain


SECRET = "hunter2secret"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train.py", f"--api-key={SECRET}"],
        ["train.py", "--api-key", SECRET],
        ["train.py", "--password", SECRET, "--lr", "0.1"],
        ["train.py", f"token={SECRET}"],
        ["train.py", f"model.auth.token={SECRET}"],
        ["train.py", f"--db-password={SECRET}"],
        ["train.py", f"+wandb.api_key={SECRET}"],
        ["train.py", f'{{"api_key": "{SECRET}", "lr": 1}}'],
        ["train.py", f"HF_TOKEN={SECRET}"],
        ["train.py", f"Authorization: Bearer {SECRET}"],
        ["train.py", f"postgresql://user:{SECRET}@host/db"],
        ["train.py", f"--url=https://host/?access_token={SECRET}&x=1"],
        ["train.py", f"-c=sk-{SECRET}{SECRET}"],
        ["train.py", f"--AWS_SECRET_ACCESS_KEY={SECRET}"],
    ],
)
def test_a_secret_in_the_command_line_is_masked(arguments: list[str]) -> None:
    masked = " ".join(masking.mask_arguments(arguments))

    assert SECRET not in masked
    assert "***" in masked


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-tokens", "512"],
        ["--tokenizer=gpt2"],
        ["--num_tokens=7"],
        ["--monkey=banana"],
        ["--author=ada"],
        ["--lr=0.1", "model.depth=3", "data/train.csv"],
        ["--passes=3"],
    ],
)
def test_what_is_no_secret_is_kept(arguments: list[str]) -> None:
    assert masking.mask_arguments(arguments) == arguments


def test_the_context_is_captured_within_its_budget() -> None:
    command = (
        "import time; from tracker import context; began = time.perf_counter(); "
        "tags = context.context_tags(); print(time.perf_counter() - began); print(sorted(tags))"
    )
    times: list[float] = []
    # Measured at 1 to 4 ms; the promise is 50. The best of several, on a machine that is busy.
    while not any(took < 0.05 for took in times) and len(times) < 10:
        done = subprocess.run(
            [sys.executable, "-c", command], capture_output=True, text=True, check=True
        )
        seconds, names = done.stdout.strip().split("\n")
        times.append(float(seconds))

    assert min(times) < 0.05, times
    for name in ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "tracker.host",
                 "tracker.command", "tracker.python", "tracker.pid"):  # fmt: skip
        assert name in names


def test_the_context_is_captured_once_per_process() -> None:
    context_tags()
    began = time.process_time()
    for _ in range(1000):
        context_tags()
    assert time.process_time() - began < 1


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    """A name of a hundred thousand words was once read anew from each of its words."""
    name = "abc_" * 100_000

    assert masking.mask_text(f"{name}token=s3cret") == f"{name}token=***"
