"""The part of a run's snapshot that git knows: how the code differs from the commit.

    code/changes.diff    `git diff HEAD` of the checkout, secrets masked
    code/untracked.txt   names of files that git does not know

Git works in processes of its own while the rest of the snapshot is taken. What it says is read
up to a limit, so that a diff of gigabytes costs no memory.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tracker import context, git_state, masking

_GIT_TIMEOUT_S: Final = 10.0
_DIFF_BYTES_MAX: Final = 4 * 1024 * 1024
_UNTRACKED_MAX: Final = 1_000
_UNTRACKED_BYTES_MAX: Final = 4 * 1024 * 1024
# The interpreter's lock is let go between two blocks.
_MASKED_LINES: Final = 500

_found: dict[str, bytes] | None = None


class CodeChanges:
    """Asks git when it is made; the answer is the same for every run of the process."""

    def __init__(self) -> None:
        self._diff = self._untracked = None
        if _found is None:
            checkout = git_state.find(context.source_folder())
            if checkout is not None:
                self._diff = _Answer(
                    checkout.root, "diff", "HEAD", "--no-ext-diff", "--no-color", "--no-textconv"
                )
                self._untracked = _Answer(
                    checkout.root, "ls-files", "--others", "--exclude-standard"
                )

    def contents(self) -> Mapping[str, bytes]:
        """The files by path, when git has answered; waits for it."""
        global _found
        if _found is None:
            _found = self._read()
        return _found

    def _read(self) -> dict[str, bytes]:
        found = {}
        if self._diff is not None and (diff := self._diff.read(_DIFF_BYTES_MAX)):
            found["code/changes.diff"] = _masked(diff)
        if self._untracked is not None and (names := self._untracked.read(_UNTRACKED_BYTES_MAX)):
            found["code/untracked.txt"] = _first_lines(names)
        return found


class _Answer:
    """What one git command prints; nothing if git is missing, fails or is too slow."""

    def __init__(self, root: Path, *arguments: str) -> None:
        command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(root)]
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return
        self._timer = threading.Timer(_GIT_TIMEOUT_S, self._process.kill)
        self._timer.daemon = True
        self._timer.start()

    def read(self, bytes_max: int) -> bytes:
        """At most so much, with a line that says so when it was more."""
        if self._process is None:
            return b""
        with self._process as process:
            assert process.stdout is not None
            text = process.stdout.read(bytes_max + 1)
            is_cut = len(text) > bytes_max
            if is_cut:
                process.kill()
        self._timer.cancel()
        if is_cut:
            return text[:bytes_max] + f"\n# cut here: more than {bytes_max} bytes\n".encode()
        return text if process.returncode == 0 else b""


def _masked(diff: bytes) -> bytes:
    lines = diff.decode(errors="replace").splitlines(keepends=True)
    blocks = ("".join(lines[at : at + _MASKED_LINES]) for at in range(0, len(lines), _MASKED_LINES))
    return "".join(masking.mask_text(block) for block in blocks).encode()


def _first_lines(names: bytes) -> bytes:
    lines = names.splitlines()
    shown = lines[:_UNTRACKED_MAX]
    if len(lines) > len(shown):
        shown.append(f"# and {len(lines) - len(shown)} more".encode())
    return b"\n".join(shown) + b"\n"
