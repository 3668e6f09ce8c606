"""The files of runs and models: found where they lie on this machine, uploaded by digest.

    a path, file:…           read here, if it is there
    mlflow-artifacts:/PATH   read below --artifacts-root, where MLflow's server kept them
    s3://… and the like      stay where they are; the experiment keeps its artifact location,
                             so clients go on reading them there, and --references notes them

Links are not followed. A file's time is when it was last changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent
from tracker.events.limits import ARTIFACT_BYTES_MAX
from tracker.events.types import Event, EventType
from tracker.integrations.mlflow_import.sending import Sender, writer_id
from tracker.integrations.mlflow_import.source import Skips
from tracker.shipper.blobs import LostBlob, NamedBlob, Uploader
from tracker.shipper.state import DeliveryCounts

_CHUNK_BYTES: Final = 1024 * 1024
# What is uploaded before the events that name it are appended.
_ROUND_BYTES: Final = 64 * 1024 * 1024
_ROUND_FILES: Final = 1_000


@dataclass(frozen=True, slots=True)
class FilePlaces:
    """Where artifacts are looked for. `root`: what mlflow-artifacts:/ stands for."""

    base: Path  # relative paths are relative to this
    root: Path | None = None
    takes_files: bool = True
    notes_references: bool = False

    def folder_of(self, uri: str) -> Path | None:
        """The folder of this machine that `uri` means; None for another place."""
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts":
            path = unquote(parts.path).lstrip("/")
            return None if self.root is None or ".." in path.split("/") else self.root / path
        if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
            return None
        return self.base / (unquote(parts.path) if parts.scheme else uri)


@dataclass(frozen=True, slots=True)
class FoundFile:
    path: str  # in the tree
    file: Path
    size: int
    changed_us: int


@dataclass(slots=True)
class FileCounts:
    files: int = 0
    bytes: int = 0
    references: int = 0


class FileImport:
    def __init__(
        self, sender: Sender, places: FilePlaces, scratch: Path, skips: Skips, counts: FileCounts
    ) -> None:
        self._sender = sender
        self._places = places
        self._skips = skips
        self._counts = counts
        self._uploader = Uploader(
            sender.transmitter, DeliveryCounts(), scratch, workspace=sender.workspace
        )

    async def take(self, uri: str, *, run_id: str, time_us: int, model_id: str = "") -> None:
        """Take over the tree at `uri`, of a run or of a model."""
        if not uri or not self._places.takes_files:
            return
        owner = model_id or run_id
        folder = self._places.folder_of(uri)
        if folder is None:
            await self._elsewhere(uri, run_id, owner, time_us, model_id)
            return
        if not folder.is_dir():
            # A run that logged no files has no folder either; then those around it are there.
            if not any(above.is_dir() for above in list(folder.parents)[:3]):
                self._skips.add("artifacts", "the folder is not on this machine", f"{owner}: {uri}")
            return
        found = await asyncio.to_thread(lambda: list(files_of(folder, owner, self._skips)))
        if found:
            await self._send(found, run_id, owner, model_id)

    async def _elsewhere(
        self, uri: str, run_id: str, owner: str, time_us: int, model_id: str
    ) -> None:
        scheme = urlsplit(uri).scheme
        if scheme == "mlflow-artifacts":
            reason = "kept by an MLflow server; say where with --artifacts-root FOLDER"
            self._skips.add("artifacts", reason, f"{owner}: {uri}")
            return
        if not self._places.notes_references:
            reason = f"stay where they are ({scheme}://…); --references notes where"
            self._skips.add("artifacts", reason, f"{owner}: {uri}")
            return
        data: dict[str, Any] = {"path": "artifacts", "uri": uri}
        if model_id:
            data["model_id"] = model_id
        event = Event(EventType.ARTIFACT_LOGGED, time_us, data)
        writer = writer_id("r", owner, uri)
        await self._sender.events(
            run_id, writer, [event], next_seq=await self._sender.next_seq(writer)
        )
        self._counts.references += 1

    async def _send(
        self, found: Sequence[FoundFile], run_id: str, owner: str, model_id: str
    ) -> None:
        listed = [(f.path, f.size, f.changed_us) for f in found]
        writer = writer_id("a", owner, listed)
        next_seq = await self._sender.next_seq(writer)
        self._counts.files += len(found)
        self._counts.bytes += sum(file.size for file in found)
        for start, part in _rounds(found, next_seq - 1):
            events = []
            blobs = []
            for offset, each in enumerate(part):
                digest, size = await asyncio.to_thread(_digest_of, each.file)
                blobs.append(NamedBlob(start + offset + 1, digest, size, each.file))
                events.append(_event(each, digest, size, model_id))
            try:
                await self._sender.patiently(lambda blobs=blobs: self._uploader.upload(blobs))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            except LostBlob as error:
                self._skips.add("artifacts", f"changed while they were read: {error}", owner)
                return
            await self._append(run_id, writer, events, start + 1)

    async def _append(
        self, run_id: str, writer: str, events: Sequence[Event], first_seq: int
    ) -> None:
        # The sender counts from 1; what stands before these is stored already.
        padded: list[Event] = [events[0]] * (first_seq - 1) + list(events)
        await self._sender.events(run_id, writer, padded, next_seq=first_seq)


def _event(found: FoundFile, digest: str, size: int, model_id: str) -> Event:
    data: dict[str, Any] = {"path": found.path, "digest": digest, "size": size}
    media_type, _ = mimetypes.guess_type(found.path)
    if media_type:
        data["media_type"] = media_type
    if model_id:
        data["model_id"] = model_id
    return Event(EventType.ARTIFACT_LOGGED, found.changed_us, data)


def _rounds(found: Sequence[FoundFile], start: int) -> Iterator[tuple[int, Sequence[FoundFile]]]:
    """(index of the first, files): parts whose files are uploaded together."""
    part: list[FoundFile] = []
    size = 0
    for index in range(start, len(found)):
        if part and (size + found[index].size > _ROUND_BYTES or len(part) >= _ROUND_FILES):
            yield index - len(part), part
            part, size = [], 0
        part.append(found[index])
        size += found[index].size
    if part:
        yield len(found) - len(part), part


def files_of(folder: Path, owner: str, skips: Skips) -> Iterator[FoundFile]:
    """The regular files below a folder, in order of path."""
    for file in sorted(folder.rglob("*")):
        name = f"{owner}: {file.relative_to(folder).as_posix()}"
        if file.is_symlink():
            skips.add("artifact", "it is a link", name)
            continue
        if not file.is_file():
            continue
        path = file.relative_to(folder).as_posix()
        try:
            check_artifact_path(path)
            about = file.stat()
        except InvalidEvent:
            skips.add("artifact", "its path is not allowed in a tree", name)
            continue
        except OSError as error:
            skips.add("artifact", error.strerror or type(error).__name__, name)
            continue
        if about.st_size > ARTIFACT_BYTES_MAX:
            skips.add("artifact", f"larger than {ARTIFACT_BYTES_MAX} bytes", name)
            continue
        yield FoundFile(path, file, about.st_size, about.st_mtime_ns // 1000)


def _digest_of(file: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
