"""Uploads the files of runs and models by their digests, and says which they are."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tracker.events.types import Event, EventType
from tracker.integrations.mlflow_import.places import FilePlaces, FoundFile, PlaceSkipped, Tree
from tracker.integrations.mlflow_import.report import FileCounts
from tracker.integrations.mlflow_import.sending import Sender, writer_id
from tracker.integrations.mlflow_import.source import Skips
from tracker.shipper.blobs import LostBlob, NamedBlob
from tracker.shipper.state import DeliveryCounts
from tracker.shipper.uploads import Uploader

_CHUNK_BYTES: Final = 1024 * 1024
# What is uploaded before the events that name it are appended; a larger file goes alone.
_ROUND_BYTES: Final = 64 * 1024 * 1024
_ROUND_FILES: Final = 1_000


class FileImport:
    """`scratch` holds the files of the rounds that are on their way, and no longer."""

    def __init__(
        self, sender: Sender, places: FilePlaces, scratch: Path, skips: Skips, counts: FileCounts
    ) -> None:
        self._sender = sender
        self._places = places
        self._scratch = scratch
        self._skips = skips
        self._counts = counts
        self._uploader = Uploader(
            sender.transmitter, DeliveryCounts(), scratch, workspace=sender.workspace
        )

    async def take(self, uri: str, *, run_id: str, time_us: int, model_id: str = "") -> None:
        """Take over the tree at `uri`, of a run or of a model, which ended at `time_us`."""
        if not uri or not self._places.takes_files:
            return
        owner = model_id or run_id
        try:
            tree = self._places.tree_of(uri)
            found = await tree.files(owner, self._skips)
        except PlaceSkipped as error:
            if error.is_elsewhere and self._places.notes_references:
                await self._refer(uri, run_id, model_id, time_us)
            else:
                self._skips.add("artifacts", error.reason, f"{owner}: {uri}")
            return
        for part in _rounds(found):
            await self._send(tree, part, run_id=run_id, model_id=model_id, time_us=time_us)

    async def _refer(self, uri: str, run_id: str, model_id: str, time_us: int) -> None:
        data: dict[str, Any] = {"path": "artifacts", "uri": uri}
        if model_id:
            data["model_id"] = model_id
        event = Event(EventType.ARTIFACT_LOGGED, time_us, data)
        writer = writer_id("r", model_id or run_id, uri)
        next_seq = await self._sender.next_seq(writer)
        await self._sender.events(run_id, writer, [event], next_seq=next_seq)
        self._counts.references += 1

    async def _send(
        self, tree: Tree, part: Sequence[FoundFile], *, run_id: str, model_id: str, time_us: int
    ) -> None:
        """One round, whose events are one batch: all of them are stored, or none."""
        owner = model_id or run_id
        if await self._sender.next_seq(_writer(owner, part)) == 1:
            part, events = await self._upload(tree, part, owner, model_id, time_us)
            writer = _writer(owner, part)
            next_seq = await self._sender.next_seq(writer)
            await self._sender.events(run_id, writer, events, next_seq=next_seq)
        self._counts.files += len(part)
        self._counts.bytes += sum(file.size for file in part)

    async def _upload(
        self, tree: Tree, part: Sequence[FoundFile], owner: str, model_id: str, time_us: int
    ) -> tuple[list[FoundFile], list[Event]]:
        """The files that could be read, now in the store, and the events that name them."""
        taken, blobs, events, scratches = [], list[NamedBlob](), list[Event](), list[Path]()
        for number, found in enumerate(part):
            scratch = self._scratch / f"{owner}-{number}"
            try:
                file = await tree.fetch(found, scratch)
                digest, size = await asyncio.to_thread(_digest_of, file)
            except OSError as error:
                reason = f"it cannot be read: {error.strerror or error}"
                self._skips.add("artifact", reason, f"{owner}: {found.path}")
                continue
            finally:
                scratches.append(scratch)
            taken.append(found)
            blobs.append(NamedBlob(number + 1, digest, size, file))
            events.append(_event(found, digest, size, model_id, time_us))
        try:
            await self._sender.patiently(lambda: self._uploader.upload(blobs))
        except LostBlob as error:
            reason = "the files changed while they were read; run the same command again"
            self._skips.add("artifact", reason, f"{owner}: {error}", count=len(taken))
            return [], []
        finally:
            for scratch in scratches:
                scratch.unlink(missing_ok=True)
        return taken, events


def _writer(owner: str, part: Sequence[FoundFile]) -> str:
    return writer_id("a", owner, part)


def _event(found: FoundFile, digest: str, size: int, model_id: str, time_us: int) -> Event:
    data: dict[str, Any] = {"path": found.path, "digest": digest, "size": size}
    media_type, _ = mimetypes.guess_type(found.path)
    if media_type:
        data["media_type"] = media_type
    if model_id:
        data["model_id"] = model_id
    changed_us = time_us if found.changed_us is None else found.changed_us
    return Event(EventType.ARTIFACT_LOGGED, changed_us, data)


def _rounds(found: Sequence[FoundFile]) -> Iterator[Sequence[FoundFile]]:
    """The files in parts that are uploaded together."""
    part: list[FoundFile] = []
    size = 0
    for file in found:
        if part and (size + file.size > _ROUND_BYTES or len(part) >= _ROUND_FILES):
            yield part
            part, size = [], 0
        part.append(file)
        size += file.size
    if part:
        yield part


def _digest_of(file: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
