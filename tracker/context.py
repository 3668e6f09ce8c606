"""What surrounds a run: who started what, where, from which commit; as tags.

The names are MLflow's where MLflow has one, else they begin with `tracker.`. Captured once
per process, from memory and from a few files, within milliseconds. Whether the checkout
is dirty costs a git process; that flag follows from a background thread (`DirtyFlag`).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tracker import config, git_state, masking, tag_names
from tracker.spool.machine import host_name

# A command line can hold a whole program (python -c); what follows adds nothing.
_COMMAND_CHARACTERS_MAX: Final = 4096
# git status of a large tree on a network disk can take minutes; then nobody is told.
_DIRTY_TIMEOUT_S: Final = 30.0
# Starting git imports a module and makes a process; the training's first steps go first.
_HEAD_START_S: Final = 0.01

_captured: tuple[int, dict[str, str]] | None = None


def context_tags() -> dict[str, str]:
    """The tags of this process, a fresh dict. Never raises for what cannot be found out."""
    global _captured
    if _captured is None or _captured[0] != os.getpid():
        _captured = (os.getpid(), _capture())
    return dict(_captured[1])


def _capture() -> dict[str, str]:
    name, kind = _source()
    tags = {
        tag_names.USER: config.user_name(),
        tag_names.SOURCE_NAME: name,
        tag_names.SOURCE_TYPE: kind,
        tag_names.HOST: host_name(),
        tag_names.COMMAND: _command(sys.orig_argv),
        tag_names.PYTHON: ".".join(map(str, sys.version_info[:3])),
        tag_names.PID: str(os.getpid()),
    }
    checkout = git_state.find(_source_folder(name))
    if checkout is not None:
        found = {
            tag_names.GIT_COMMIT: checkout.commit,
            tag_names.GIT_BRANCH: checkout.branch,
            tag_names.GIT_REPO_URL: checkout.remote_url,
        }
        tags.update({key: value for key, value in found.items() if value})
    return {key: _encodable(value) for key, value in tags.items()}


def _source() -> tuple[str, str]:
    """(name, MLflow's source type) of the program that runs."""
    if "ipykernel" in sys.modules:
        return config.notebook_name() or "notebook", "NOTEBOOK"
    script = sys.argv[0] if sys.argv else ""
    if script in ("", "-c"):
        return "<console>", "LOCAL"
    return masking.mask_text(script), "LOCAL"


def source_folder() -> Path:
    """Where this program's code lies: beside the script, else the working directory."""
    return _source_folder(_source()[0])


def _source_folder(source: str) -> Path:
    """Where to look for a checkout: beside the script, else in the working directory."""
    try:
        path = Path(source).absolute()
        return path.parent if path.is_file() else Path.cwd()
    except OSError:
        return Path(source).parent


def _command(arguments: Sequence[str]) -> str:
    import shlex

    command = shlex.join(masking.mask_arguments(arguments))
    if len(command) > _COMMAND_CHARACTERS_MAX:
        command = command[: _COMMAND_CHARACTERS_MAX - 1] + "…"
    return command


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


class DirtyFlag:
    """Asks git once per process, in the background, and tells every run that wants to know."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_asked = False
        self._answered = threading.Event()
        self._tags: dict[str, str] = {}
        self._listeners: list[Callable[[dict[str, str]], None]] = []

    def tell(self, listener: Callable[[dict[str, str]], None]) -> None:
        """Call `listener` with the tag when it is known, from another thread or at once."""
        with self._lock:
            if not self._answered.is_set():
                self._listeners.append(listener)
                if not self._is_asked:
                    self._is_asked = True
                    threading.Thread(target=self._ask, name="tracker-git", daemon=True).start()
                return
        if self._tags:
            listener(self._tags)

    def wait(self, timeout_s: float) -> None:
        """Give the answer a moment to arrive, so that short runs have the tag too."""
        if self._is_asked:
            self._answered.wait(timeout_s)

    def _ask(self) -> None:
        time.sleep(_HEAD_START_S)
        name, _ = _source()
        checkout = git_state.find(_source_folder(name))
        is_dirty = checkout and git_state.is_dirty(checkout.root, timeout_s=_DIRTY_TIMEOUT_S)
        with self._lock:
            if is_dirty is not None:
                self._tags = {tag_names.GIT_DIRTY: str(is_dirty).lower()}
            listeners, self._listeners = self._listeners, []
            if self._tags:
                for listener in listeners:
                    listener(self._tags)
            self._answered.set()
