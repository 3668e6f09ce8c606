"""The few lines the SDK writes to stderr: where a run's data goes, what became of it.

Silenced by TRACKER_QUIET=1. A stderr that is closed or gone is not an error.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Final

PREFIX: Final = "tracker: "


class Notices:
    """Says each kind of warning once per process."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def say(self, text: str, *, is_quiet: bool) -> None:
        if not is_quiet and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"{PREFIX}{text}\n")
                sys.stderr.flush()

    def warn_once(self, kind: str, text: str, *, is_quiet: bool = False) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self.say(f"warning: {text}", is_quiet=is_quiet)


notices: Final = Notices()


def started(
    *, verb: str, name: str, run_id: str, experiment: str, destination: str, spool: Path, mode: str
) -> str:
    if mode == "disabled":
        return f"run {name} is not recorded (mode=disabled)"
    where = f"{destination} (offline)" if mode == "offline" else destination
    what = f"{verb} run {name} ({run_id}) in experiment {experiment!r}"
    return f"{what} -> {where}, spool {short(spool)}"


def ended(
    *,
    name: str,
    status: str,
    logged: int,
    waiting: int,
    files_waiting: int,
    destination: str,
    spool: Path,
    mode: str,
    shipper: str,
) -> str:
    if mode == "disabled":
        return f"run {name} {status}, not recorded (mode=disabled)"
    if waiting == files_waiting == 0:
        return f"run {name} {status}, all {logged:,} records sent to {destination}"
    sent = f"{logged - waiting:,} of {logged:,} records sent"
    files = f" and {files_waiting:,} files" if files_waiting else ""
    if mode == "offline":
        return f"run {name} {status}, {logged:,} records{files} kept; send them with: {sync(spool)}"
    if files:
        sent += f",{files[4:]} not uploaded yet"
    if destination == "local":
        return (
            f"run {name} {status}, {sent}; the rest waits for a `tracker server` on this "
            f"machine (or: {sync(spool)} --uri ADDRESS)"
        )
    if shipper == "helper":
        rest = f"the rest goes on in the background (by hand: {sync(spool)})"
    else:
        rest = f"send the rest with: {sync(spool)}"
    return f"run {name} {status}, {sent}; {rest}"


def sync(spool: Path) -> str:
    path = short(spool)
    if " " in path:
        import shlex

        path = shlex.quote(str(spool))
    return f"tracker sync {path}"


def short(path: Path) -> str:
    """`path` with ~ for the home folder."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
