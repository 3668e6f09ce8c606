"""What a git checkout says of itself, read from its files: no process is started.

Handles worktrees and submodules (`.git` is a file), packed refs, and a detached HEAD. What
cannot be read is None: a run is never refused for its repository. Only `is_dirty` runs
git, so it belongs into a background thread.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

_REF_BYTES_MAX: Final = 4096
_CONFIG_BYTES_MAX: Final = 1024 * 1024
_PACKED_REFS_BYTES_MAX: Final = 64 * 1024 * 1024
_SYMBOLIC_REFS_MAX: Final = 5

_OBJECT_ID: Final = r"[0-9a-f]{40}(?:[0-9a-f]{24})?"
_SECTION: Final = r'\[\s*remote\s+"(.*)"\s*\]'


class Checkout(NamedTuple):
    root: Path  # the working tree
    commit: str | None
    branch: str | None  # None when HEAD is detached
    remote_url: str | None  # without credentials


def find(start: Path) -> Checkout | None:
    """The checkout that `start` lies in, or None."""
    for folder in (start, *start.parents):
        dot_git = folder / ".git"
        try:
            git_dir = dot_git if dot_git.is_dir() else _linked(dot_git)
        except OSError:
            return None
        if git_dir is not None:
            return _read(folder, git_dir)
    return None


def is_dirty(root: Path, *, timeout_s: float) -> bool | None:
    """Whether tracked files differ from HEAD; None if git is missing, fails or is too slow."""
    import subprocess

    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(root)]
    command += ["status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(done.stdout.strip())


def without_credentials(url: str) -> str:
    """A remote's address fit to be stored: no password, no token, no query."""
    scheme, separator, rest = url.partition("://")
    if not separator:  # host:path or user@host:path of ssh, or a path
        return url
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at and scheme in ("ssh", "git+ssh"):  # the name of an ssh account is no secret
        host = f"{user.partition(':')[0]}@{host}"
    return f"{scheme}://{host}{slash}{re.split('[?#]', path)[0]}"


def _linked(dot_git: Path) -> Path | None:
    """Where a `.git` file of a worktree or submodule points."""
    text = _text(dot_git, _REF_BYTES_MAX)
    if text is None or not text.startswith("gitdir:"):
        return None
    return dot_git.parent / text.removeprefix("gitdir:").strip()


def _read(root: Path, git_dir: Path) -> Checkout:
    link = _text(git_dir / "commondir", _REF_BYTES_MAX)
    common_dir = git_dir / link.strip() if link else git_dir
    branch: str | None = None
    content = _text(git_dir / "HEAD", _REF_BYTES_MAX)
    for _ in range(_SYMBOLIC_REFS_MAX):
        if content is None or not content.startswith("ref:"):
            break
        ref = content.removeprefix("ref:").strip()
        if branch is None and ref.startswith("refs/heads/"):
            branch = ref.removeprefix("refs/heads/")
        content = _ref(ref, git_dir, common_dir)
    commit = content.strip() if content else ""
    return Checkout(
        root=root,
        commit=commit if re.fullmatch(_OBJECT_ID, commit) else None,
        branch=branch,
        remote_url=_remote_url(common_dir),
    )


def _ref(name: str, git_dir: Path, common_dir: Path) -> str | None:
    if ".." in name or not name.startswith("refs/"):
        return None
    for folder in (git_dir, common_dir):
        text = _text(folder / name, _REF_BYTES_MAX)
        if text is not None:
            return text
    packed = _text(common_dir / "packed-refs", _PACKED_REFS_BYTES_MAX)
    for line in (packed or "").splitlines():
        object_id, _, packed_name = line.partition(" ")
        if packed_name == name:
            return object_id
    return None


def _remote_url(common_dir: Path) -> str | None:
    """origin's address, else the first remote's."""
    urls: dict[str, str] = {}
    remote: str | None = None
    for line in (_text(common_dir / "config", _CONFIG_BYTES_MAX) or "").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = re.match(_SECTION, line)
            remote = section[1] if section else None
        elif remote is not None:
            name, _, value = line.partition("=")
            if name.strip().lower() == "url":
                urls.setdefault(remote, value.strip().strip('"'))
    url = urls.get("origin") or next(iter(urls.values()), None)
    return without_credentials(url) if url else None


def _text(path: Path, bytes_max: int) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max).decode(errors="replace")
    except OSError:
        return None
