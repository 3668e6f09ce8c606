"""The files of the projections beside a store, and which of them serve.

`PATH-projections/` holds one SQLite file per build, `runs-<n>.sqlite`, `series-<n>.sqlite`,
and `current.json`, which names the serving ones. A rebuild is a new file beside the old;
switching replaces `current.json` by temp, fsync, rename and fsync of the folder. So a crash
at any moment leaves the old build serving, and what is not named there is a leftover.

Nobody but the owner of the store changes the folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracker.events.errors import TrackerError

POINTER: Final = "current.json"
_SCHEMA: Final = 1
_BUILD = re.compile(r"([a-z]+)-(\d+)\.sqlite")
_BUILD_OR_COMPANION = re.compile(r"[a-z]+-\d+\.sqlite(-wal|-shm|-journal)?")
_COMPANIONS: Final = ("", "-wal", "-shm", "-journal")


class UnreadablePointer(TrackerError):
    """current.json is not what this software wrote; remove it and the builds are made anew."""


@dataclass(frozen=True, slots=True)
class Build:
    """One file of one version of a projection."""

    name: str
    version: int
    path: Path

    @property
    def label(self) -> str:
        return str(self.path)


class Builds:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, store_path: Path) -> Builds:
        return cls(store_path.with_name(store_path.name + "-projections"))

    def current(self, name: str) -> Build | None:
        """The serving build of this projection, if there is one and its file exists."""
        build = self._read().get(name)
        return build if build is not None and build.path.exists() else None

    def new(self, name: str, *, version: int) -> Build:
        """Where the next build goes. Its number was never used by a file that is here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers = [
            int(match.group(2))
            for path in self.folder.iterdir()
            if (match := _BUILD.match(path.name)) and match.group(1) == name
        ]
        return Build(name, version, self.folder / f"{name}-{max(numbers, default=0) + 1}.sqlite")

    def switch(self, build: Build) -> None:
        """From now on this build serves. Atomic and durable."""
        entries = {
            each.name: {"file": each.path.name, "version": each.version}
            for each in (*self._read().values(), build)
        }
        pointer = {"schema": _SCHEMA, "projections": entries}
        temporary = self.folder / f"{POINTER}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(pointer, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / POINTER)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a build's file and its companions. Readers that have it open keep it."""
        for suffix in _COMPANIONS:
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def remove_leftovers(self) -> list[str]:
        """Remove what crashed builds left: every file of a build that does not serve."""
        if not self.folder.exists():
            return []
        serving = {build.path.name for build in self._read().values()}
        removed = []
        for path in sorted(self.folder.iterdir()):
            is_build = _BUILD_OR_COMPANION.fullmatch(path.name)
            if path.name.startswith("verify-") and not _is_running(path.name):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path.name)
            elif is_build and path.name.removesuffix(is_build.group(1) or "") not in serving:
                path.unlink(missing_ok=True)
                removed.append(path.name)
        (self.folder / f"{POINTER}.tmp").unlink(missing_ok=True)
        return removed

    def _read(self) -> dict[str, Build]:
        pointer = self.folder / POINTER
        try:
            text = pointer.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            entries = json.loads(text)["projections"].items()
            return {name: self._build(name, entry) for name, entry in entries}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UnreadablePointer(
                f"{pointer} cannot be read; remove the folder {self.folder} "
                "and it will be built anew from the log"
            ) from None

    def _build(self, name: str, entry: dict[str, str | int]) -> Build:
        file_name = str(entry["file"])
        if not _BUILD.fullmatch(file_name):
            raise ValueError(file_name)
        return Build(name, int(entry["version"]), self.folder / file_name)


def _is_running(scratch_name: str) -> bool:
    """Whether the process that a verify's scratch folder is named after still runs."""
    try:
        os.kill(int(scratch_name.split("-")[1]), 0)
    except (ProcessLookupError, ValueError, IndexError):
        return False
    except PermissionError:
        return True
    return True
