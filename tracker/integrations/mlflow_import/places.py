"""Where MLflow's artifact URIs lead, and the files that lie there.

    a path, file:…            a folder of this machine
    mlflow-artifacts:/PATH    what an MLflow server keeps: below --artifacts-root, which is a
    http(s)://…/artifacts/P   folder of this machine or the address of that server
    s3://… and the like       another place: files stay there

No address in a source is ever asked; only --artifacts-root is. Links are not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent, TrackerError
from tracker.events.limits import ARTIFACT_BYTES_MAX
from tracker.integrations.mlflow_import.source import Skips

# Below this, MLflow's server serves its files over HTTP.
PROXY_PATH: Final = "/api/2.0/mlflow-artifacts/artifacts"


class PlaceSkipped(TrackerError):
    """These artifacts are not taken. `is_elsewhere`: they lie where clients can still read them."""

    def __init__(self, reason: str, *, is_elsewhere: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_elsewhere = is_elsewhere


class FoundFile(NamedTuple):
    path: str  # in the tree
    size: int
    changed_us: int | None  # None where nothing says when it was changed


class Tree(Protocol):
    """The artifacts of one run or one model."""

    async def files(self, owner: str, skips: Skips) -> Sequence[FoundFile]:
        """The files that can be taken, in order of path; the others go into `skips`.

        Raises PlaceSkipped when nothing can be said about any.
        """
        ...

    async def fetch(self, found: FoundFile, scratch: Path) -> Path:
        """A file with its bytes: its own, or `scratch`. Raises OSError when it is not to be had."""
        ...


class ServedFiles(Protocol):
    """An MLflow server that serves files; see served.MlflowServer."""

    def tree(self, path: str) -> Tree: ...


@dataclass(frozen=True, slots=True)
class FilePlaces:
    """`root`: what mlflow-artifacts:/ stands for, when somebody said it."""

    base: Path  # relative paths are relative to this
    root: Path | ServedFiles | None = None
    takes_files: bool = True
    notes_references: bool = False

    def tree_of(self, uri: str) -> Tree:
        """Raises PlaceSkipped for a place that is not looked into."""
        parts = urlsplit(uri)
        if parts.scheme in ("", "file") and parts.netloc in ("", "localhost"):
            return FolderTree(self.base / (unquote(parts.path) if parts.scheme else uri))
        path = _served_path(uri)
        if path is None:
            reason = f"they stay where they are ({parts.scheme}://…); --references notes where"
            raise PlaceSkipped(reason, is_elsewhere=True)
        if ".." in path.split("/"):
            raise PlaceSkipped("their address leads out of the folder that is served")
        if self.root is None:
            raise PlaceSkipped(
                "an MLflow server keeps them; name its folder or its address with --artifacts-root"
            )
        return FolderTree(self.root / path) if isinstance(self.root, Path) else self.root.tree(path)


def _served_path(uri: str) -> str | None:
    """The path below what an MLflow server serves; None for an address of another kind."""
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts":
        return unquote(parts.path).strip("/")
    _, _, path = parts.path.partition(PROXY_PATH)
    if parts.scheme in ("http", "https") and path.strip("/"):
        return unquote(path).strip("/")
    return None


class FolderTree:
    """Artifacts that lie in a folder of this machine. A file's time is when it was changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def files(self, owner: str, skips: Skips) -> Sequence[FoundFile]:
        if not self.folder.is_dir():
            # A run that logged no files has no folder either; then those around it are there.
            if not any(above.is_dir() for above in list(self.folder.parents)[:3]):
                raise PlaceSkipped("the folder is not on this machine")
            return []
        return await asyncio.to_thread(lambda: list(self._files(owner, skips)))

    def _files(self, owner: str, skips: Skips) -> Iterator[FoundFile]:
        for file in sorted(self.folder.rglob("*")):
            path = file.relative_to(self.folder).as_posix()
            if file.is_symlink():
                skips.add("artifact", "it is a link", f"{owner}: {path}")
                continue
            if not file.is_file():
                continue
            try:
                about = file.stat()
            except OSError as error:
                reason = error.strerror or type(error).__name__
                skips.add("artifact", reason, f"{owner}: {path}")
                continue
            if may_be_taken(path, about.st_size, owner, skips):
                yield FoundFile(path, about.st_size, about.st_mtime_ns // 1000)

    async def fetch(self, found: FoundFile, scratch: Path) -> Path:
        return self.folder / PurePosixPath(found.path)


def may_be_taken(path: str, size: int, owner: str, skips: Skips) -> bool:
    """Whether a tree here can hold the file; otherwise the reason is counted."""
    try:
        check_artifact_path(path)
    except InvalidEvent:
        skips.add("artifact", "its path is not allowed in a tree", f"{owner}: {path[:200]!r}")
        return False
    if size > ARTIFACT_BYTES_MAX:
        skips.add("artifact", f"larger than {ARTIFACT_BYTES_MAX} bytes", f"{owner}: {path}")
        return False
    return True
