"""What a run was made with, kept as its artifacts: packages, Python, and changes to the code.

    environment/requirements.txt   what is installed, as `pip install -r` takes it
    environment/python.json        Python, its implementation, the system
    code/changes.diff              `git diff HEAD` of the checkout, secrets masked
    code/untracked.txt             names of files that git does not know

Taken once per process, off the training's threads (see tracker.snapshotting);
TRACKER_SNAPSHOT chooses `all`, `environment` (no code) or `none`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from tracker import context, git_state, masking

_GIT_TIMEOUT_S: Final = 10.0
_DIFF_BYTES_MAX: Final = 4 * 1024 * 1024
_UNTRACKED_MAX: Final = 1_000

_lock = threading.Lock()
_taken: dict[str, Mapping[str, bytes]] = {}


def _go_on_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # the parent's may have been held by its thread


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_in_child)


def contents(what: str) -> Mapping[str, bytes]:
    """The files by path; the same for every run of the process."""
    with _lock:
        if what not in _taken:
            _taken[what] = _environment() | (_code() if what == "all" else {})
        return _taken[what]


def _environment() -> dict[str, bytes]:
    about = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "executable": sys.executable,
    }
    return {
        "environment/requirements.txt": "".join(f"{line}\n" for line in _requirements()).encode(),
        "environment/python.json": json.dumps(about, indent=2).encode(errors="backslashreplace"),
    }


def _requirements() -> list[str]:
    lines = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and name.lower() not in lines:
            lines[name.lower()] = _requirement(name, distribution)
    return [masking.mask_text(lines[name]) for name in sorted(lines)]


def _requirement(name: str, distribution: metadata.Distribution) -> str:
    """`name==version`, or where it was installed from, as `pip freeze` says it."""
    origin = distribution.read_text("direct_url.json")
    if origin:
        try:
            told = json.loads(origin)
            commit = told.get("vcs_info", {}).get("commit_id")
            if commit:
                return f"{name} @ {told['vcs_info']['vcs']}+{told['url']}@{commit}"
            return f"{name} @ {told['url']}"
        except (ValueError, KeyError, AttributeError):
            pass  # then its version is all there is to say
    return f"{name}=={distribution.version}"


def _code() -> dict[str, bytes]:
    checkout = git_state.find(context.source_folder())
    if checkout is None:
        return {}
    found = {}
    diff = _git(checkout.root, "diff", "HEAD", "--no-ext-diff", "--no-color", "--no-textconv")
    if diff:
        if len(diff) > _DIFF_BYTES_MAX:
            cut = f"\n# cut here: the whole is {len(diff)} bytes (limit {_DIFF_BYTES_MAX})\n"
            diff = diff[:_DIFF_BYTES_MAX] + cut.encode()
        found["code/changes.diff"] = masking.mask_text(diff.decode(errors="replace")).encode()
    names = _git(checkout.root, "ls-files", "--others", "--exclude-standard").splitlines()
    if names:
        shown = names[:_UNTRACKED_MAX]
        if len(names) > len(shown):
            shown.append(f"# and {len(names) - len(shown)} more".encode())
        found["code/untracked.txt"] = b"\n".join(shown) + b"\n"
    return found


def _git(root: Path, *arguments: str) -> bytes:
    """What git prints; nothing if it is missing, fails or is too slow."""
    import subprocess

    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(root)]
    try:
        done = subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout
