"""The rules of artifacts: what is said of a file in a tree, and what its folders hold.

A tree belongs to an owner: a run, or a logged model. Of each path the greatest order stands,
whether it logs the file or deletes it; a deletion stays as a row without content, so that an
older log that arrives later does not bring the file back. Of equal orders the greater content
stands, and any content over none. So every order of arrival ends in the same rows.

Folders are sums over what stands: how many files lie below, and how many bytes. They are kept
so that a listing of a folder reads its own entries only, however many files lie below them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from tracker.events.limits import INT64_MAX, INT64_MIN
from tracker.events.types import Event, EventType

ARTIFACT_EVENTS: Final = frozenset({EventType.ARTIFACT_LOGGED, EventType.ARTIFACT_DELETED})

# What one file adds to its folders at most: a million of them still fit in 64 bits.
_COUNTED_BYTES_MAX: Final = 2**43

Place = tuple[str, str]
"""(owner, path)"""


class Artifact(NamedTuple):
    """What stands at a path. Neither digest nor uri: deleted, remembered to order late writes."""

    order_us: int = INT64_MIN
    digest: str | None = None
    uri: str | None = None
    etag: str | None = None
    size: int | None = None
    media_type: str | None = None
    time_us: int = 0

    @property
    def is_there(self) -> bool:
        return self.digest is not None or self.uri is not None

    @property
    def counted_bytes(self) -> int:
        return min(self.size or 0, _COUNTED_BYTES_MAX) if self.is_there else 0


@dataclass(slots=True)
class Folder:
    """What lies below a folder, at any depth; '' is the whole tree. `files` 0: it is gone."""

    files: int = 0
    size: int = 0


class ArtifactsLoader(Protocol):
    """Reads what was stored before; None for what was never stored."""

    def artifact(self, owner: str, path: str) -> Artifact | None: ...

    def artifact_folder(self, owner: str, path: str) -> Folder | None: ...


@dataclass(slots=True)
class ArtifactChanges:
    files: dict[Place, Artifact] = field(default_factory=dict)
    folders: dict[Place, Folder] = field(default_factory=dict)


class Artifacts:
    """The files and folders in memory; others are loaded when something is said of them."""

    def __init__(self, loader: ArtifactsLoader) -> None:
        self._loader = loader
        self._files: dict[Place, Artifact] = {}
        self._folders: dict[Place, Folder] = {}

    def __len__(self) -> int:
        return len(self._files) + len(self._folders)

    def apply(self, event: Event, order_us: int, run_id: str, changes: ArtifactChanges) -> bool:
        """Apply an artifact.* event; False when it names neither a run nor a model."""
        data = event.data
        owner = data.get("model_id") or run_id
        if not owner:
            return False
        said = _said(event.type, data, order_us, event.time_us)
        place = (owner, data["path"])
        before = self._file(place)
        if before is not None and _rank(said) <= _rank(before):
            return True
        self._files[place] = changes.files[place] = said
        self._count(place, before or _NOTHING, said, changes)
        return True

    def _count(
        self, place: Place, before: Artifact, now: Artifact, changes: ArtifactChanges
    ) -> None:
        files = int(now.is_there) - int(before.is_there)
        size = now.counted_bytes - before.counted_bytes
        if files == 0 and size == 0:
            return
        owner, path = place
        for name in folders_of(path):
            folder = self._folder((owner, name))
            folder.files += files
            folder.size += size
            changes.folders[owner, name] = folder

    def _file(self, place: Place) -> Artifact | None:
        found = self._files.get(place)
        return found if found is not None else self._loader.artifact(*place)

    def _folder(self, place: Place) -> Folder:
        found = self._folders.get(place)
        if found is None:
            found = self._loader.artifact_folder(*place) or Folder()
            self._folders[place] = found
        return found


def folders_of(path: str) -> Iterator[str]:
    """Every folder above a path, the whole tree ('') first."""
    yield ""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def folder_of(path: str) -> str:
    """The folder a file or folder lies in; '' for the tree itself."""
    return path.rpartition("/")[0]


def file_row(place: Place, artifact: Artifact) -> tuple[Any, ...]:
    owner, path = place
    return (
        owner,
        path,
        folder_of(path),
        artifact.digest,
        artifact.size,
        artifact.media_type,
        artifact.uri,
        artifact.etag,
        artifact.time_us,
        artifact.order_us,
        int(not artifact.is_there),
    )


def folder_row(place: Place, folder: Folder) -> tuple[Any, ...]:
    owner, path = place
    return (owner, path, folder_of(path), folder.files, min(folder.size, INT64_MAX))


_NOTHING: Final = Artifact()


def _said(kind: str, data: Mapping[str, Any], order_us: int, time_us: int) -> Artifact:
    if kind == EventType.ARTIFACT_DELETED:
        return Artifact(order_us, time_us=time_us)
    return Artifact(
        order_us=order_us,
        digest=data.get("digest"),
        uri=data.get("uri"),
        etag=data.get("etag") or None,
        size=data.get("size"),
        media_type=data.get("media_type") or None,
        time_us=time_us,
    )


def _rank(said: Artifact) -> tuple[int, bool, str, str, str, int, str, int]:
    return (
        said.order_us,
        said.is_there,
        said.digest or "",
        said.uri or "",
        said.etag or "",
        -1 if said.size is None else said.size,
        said.media_type or "",
        said.time_us,
    )
