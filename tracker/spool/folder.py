"""Where everything of a spool lies: the names of its folders and files, and how to list them.

    <root>/helper.lock  helper.log  doorbell
    <root>/<run folder>/<writer id>/meta.json  lock  acks  reserve  <first seq, 16 hex>.seg
                                    quarantine/  rejected/  blobs/

A writer folder is one that has a meta.json; it appears whole, by a rename, so there is
none that is half made. Listing never fails because of junk or because a folder vanishes
while it is listed. Nothing here reads a file's content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tracker.spool.framing import segment_name

META_NAME: Final = "meta.json"
SEGMENT_SUFFIX: Final = ".seg"
WORKSPACE_FOLDER_NAME: Final = "_workspace"
CREATING_PREFIX: Final = ".creating-"

_SEGMENT = re.compile(r"[0-9a-f]{16}\.seg")
# A file name holds 255 bytes, a run id up to 256 characters; meta.json has the full id.
_RUN_FOLDER_CHARACTERS_MAX: Final = 200


class SegmentFile(NamedTuple):
    """One segment by name. The sequence it starts at is its name, in 16 hex digits."""

    first_seq: int
    path: Path


class WriterFolder(NamedTuple):
    """The folder of one writer. Its name is the writer id."""

    path: Path

    @property
    def writer_id(self) -> str:
        return self.path.name

    @property
    def meta(self) -> Path:
        return self.path / META_NAME

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def acks(self) -> Path:
        return self.path / "acks"

    @property
    def reserve(self) -> Path:
        return self.path / "reserve"

    @property
    def quarantine(self) -> Path:
        return self.path / "quarantine"

    @property
    def rejected(self) -> Path:
        return self.path / "rejected"

    def segment(self, first_seq: int) -> Path:
        return self.path / segment_name(first_seq)

    def segments(self) -> list[SegmentFile]:
        """All segments, in the order of their sequences; none if the folder is gone.

        Raises OSError when it is there and cannot be read: that is not the same as empty.
        """
        return sorted(
            SegmentFile(int(name.removesuffix(SEGMENT_SUFFIX), 16), self.path / name)
            for name in _names(self.path)
            if _SEGMENT.fullmatch(name)
        )

    def readable_segments(self) -> list[SegmentFile]:
        """The same for who only looks: none, too, if the folder cannot be read."""
        try:
            return self.segments()
        except OSError:
            return []


class SpoolRoot(NamedTuple):
    """A spool: the folder that holds every writer of a user on this machine."""

    path: Path

    @property
    def helper_lock(self) -> Path:
        return self.path / "helper.lock"

    @property
    def helper_log(self) -> Path:
        return self.path / "helper.log"

    @property
    def doorbell(self) -> Path:
        return self.path / "doorbell"

    def run_folder(self, run_id: str) -> Path:
        return self.path / run_folder_name(run_id)

    def writer_folder(self, run_id: str, writer_id: str) -> WriterFolder:
        return WriterFolder(self.run_folder(run_id) / writer_id)

    def writer_folders(self) -> Iterator[WriterFolder]:
        """Every writer folder, by run and writer name."""
        for run_folder in _folders(self.path):
            yield from _writer_folders_in(run_folder)


def run_folder_name(run_id: str) -> str:
    """The folder's name for a run; a long id is cut and told apart by its digest."""
    if not run_id:
        return WORKSPACE_FOLDER_NAME
    if len(run_id) <= _RUN_FOLDER_CHARACTERS_MAX:
        return run_id
    import hashlib  # loads OpenSSL, which an import of the SDK should not wait for

    digest = hashlib.sha256(run_id.encode()).hexdigest()[:32]
    return f"{run_id[: _RUN_FOLDER_CHARACTERS_MAX - 33]}-{digest}"


def writer_folders_at(path: Path) -> list[WriterFolder]:
    """The writer folders that `path` means, be it a spool root, a run or a writer folder."""
    if is_writer_folder(path):
        return [WriterFolder(path)]
    of_a_run = list(_writer_folders_in(path))
    return of_a_run + list(SpoolRoot(path).writer_folders())


def is_writer_folder(path: Path) -> bool:
    # Unlike Path.is_file this also answers for a name with a NUL or a folder we may not enter.
    return os.path.isfile(path / META_NAME)  # noqa: PTH113


def _writer_folders_in(run_folder: Path) -> Iterator[WriterFolder]:
    return (WriterFolder(path) for path in _folders(run_folder) if is_writer_folder(path))


def _folders(path: Path) -> list[Path]:
    """The visible folders in `path`. Links are not followed: a spool holds only its own."""
    found = []
    try:
        with os.scandir(path) as entries:
            found = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        # Not a folder, not ours to read, or gone since: then it holds no writer for us.
        return []
    return [path / name for name in sorted(found)]


def _names(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
