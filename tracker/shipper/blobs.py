"""Uploading staged files, so that the records that name them may be sent.

    not larger than 1 MiB    many in one request (POST /api/v1/blobs/batch)
    larger                   in parts, side by side; straight to the store where it offers
                             that, else through the server; parts that are there stay there

A file is uploaded when the server says that it has its digest. What is not retryable is
about one file: its bytes are not those of its digest, or they are gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tracker.events import limits
from tracker.events.blob_batch import HEAD_BYTES, encode_blob_batch
from tracker.events.errors import TrackerError
from tracker.events.types import EventType
from tracker.shipper.state import DeliveryCounts
from tracker.shipper.transmit import Transmitter, Unreachable
from tracker.spool.chunks import Chunk
from tracker.spool.staging import staged_files

PARTS_AT_ONCE: Final = 3
# A part on a slow link takes minutes; a server that is silent for this long is away.
PART_TIMEOUT_S: Final = 900.0
# What is sent before the records that name it are; so small files never wait for large ones.
ROUND_BYTES_MAX: Final = 64 * 1024 * 1024
_TRIES: Final = 3
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{1,256}")


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob that a record names. `path`: where it is staged; None when it is not."""

    seq: int
    digest: str
    size: int
    path: Path | None


@dataclass(slots=True)
class Round:
    """The blobs of one chunk, up to as many bytes as are uploaded at once."""

    blobs: list[NamedBlob] = field(default_factory=list)
    records: int | None = None  # when the chunk names more than a round takes: how many fit

    @property
    def bytes(self) -> int:
        return sum(blob.size for blob in self.blobs)


class LostBlob(TrackerError):
    """A staged file cannot be uploaded, ever."""


class NotCarried(Unreachable):
    """The server carries no files (--no-serve-artifacts); its store may have URLs for them."""


def round_of(chunk: Chunk, writer_folder: Path) -> Round:
    """What must be in the store before this chunk may be sent."""
    found, staged = Round(), staged_files(writer_folder)
    size = 0
    for spooled in chunk.events:
        data = spooled.event.data
        digest = data.get("digest")
        if spooled.event.type != EventType.ARTIFACT_LOGGED or not isinstance(digest, str):
            continue
        paths = staged.get(digest)
        blob = NamedBlob(
            spooled.seq, digest, int(data.get("size") or 0), (paths and paths[0]) or None
        )
        size += blob.size
        if found.blobs and size > ROUND_BYTES_MAX:
            found.records = blob.seq - chunk.first_seq
            break
        found.blobs.append(blob)
    return found


class Uploader:
    """Uploads through one transmitter, and counts what was taken."""

    def __init__(
        self,
        transmitter: Transmitter,
        counts: DeliveryCounts,
        writer_folder: Path,
        *,
        workspace: str,
    ) -> None:
        self._transmitter = transmitter
        self._counts = counts
        self._begun = BegunUploads(writer_folder, transmitter.uri)
        self._workspace = workspace

    async def upload(self, blobs: Sequence[NamedBlob]) -> None:
        """Return when all are in the store. Raises LostBlob and Unreachable."""
        unique = {blob.digest: blob for blob in blobs}
        small = [b for b in unique.values() if b.size <= limits.BLOB_BATCH_BLOB_BYTES_MAX]
        for batch in _batches(small):
            await self._upload_small(batch)
        for blob in unique.values():
            if blob.size > limits.BLOB_BATCH_BLOB_BYTES_MAX:
                await self._upload_large(blob)

    async def _upload_small(self, blobs: Sequence[NamedBlob]) -> None:
        pieces = []
        for blob in blobs:
            data = await asyncio.to_thread(_read_whole, blob)
            if data is None:
                await self._expect_present(blob)
            else:
                pieces.append((blob.digest, data))
        if not pieces:
            return
        try:
            answer = await self._ask(
                "POST",
                "/api/v1/blobs/batch",
                data=encode_blob_batch(pieces),
                media="application/octet-stream",
            )
        except NotCarried:
            await self._upload_singly(blobs)
            return
        try:
            refused = [row for row in answer["blobs"] if row["outcome"] == "refused"]
        except (KeyError, TypeError):
            raise Unreachable("the server's answer to blobs cannot be read") from None
        self._counts.blob_bytes += sum(len(data) for _, data in pieces)
        if refused:
            raise LostBlob(f"the staged bytes of {refused[0]['sha256']} are not those logged")

    async def _upload_singly(self, blobs: Sequence[NamedBlob]) -> None:
        """Small files to the store itself, by the URLs that the server signs for their parts."""
        for blob in blobs:
            if blob.size:
                await self._upload_large(blob)
            else:
                media = "application/octet-stream"
                await self._ask("PUT", f"/api/v1/blobs/{blob.digest}", data=b"", media=media)

    async def _upload_large(self, blob: NamedBlob) -> None:
        if blob.path is None or _size_of(blob.path) != blob.size:
            await self._expect_present(blob)
            return
        for _ in range(_TRIES):
            plan = await self._plan(blob)
            if not plan["is_stored"]:
                await self._send_parts(blob, plan)
                if not await self._complete(blob, plan["upload_id"]):
                    continue
            self._begun.forget(blob.digest)
            return
        raise Unreachable(f"the upload of {blob.digest} does not come to an end; trying again")

    async def _plan(self, blob: NamedBlob) -> dict[str, Any]:
        """The upload that was begun earlier, with what is missing; else a new one."""
        uploads = f"/api/v1/blobs/{blob.digest}/uploads"
        upload_id = self._begun.find(blob.digest)
        if upload_id is not None:
            status, answer, retry_after_s = await self._transmitter.ask(
                "GET", f"{uploads}/{upload_id}", workspace=self._workspace
            )
            if status == 200 and isinstance(answer, dict):
                return answer
            if status != 404:
                raise _unreachable(status, answer, retry_after_s)
        plan = await self._ask("POST", uploads, json_body={"size": blob.size})
        if not isinstance(plan, dict):
            raise Unreachable("the server's answer to an upload cannot be read")
        if plan["upload_id"] is not None:
            self._begun.remember(blob.digest, plan["upload_id"])
        return plan

    async def _send_parts(self, blob: NamedBlob, plan: dict[str, Any]) -> None:
        present = set(plan["present"])
        urls = {row["number"]: row["url"] for row in plan["urls"] or ()}
        missing = [n for n in range(1, plan["part_count"] + 1) if n not in present]
        slots = asyncio.Semaphore(PARTS_AT_ONCE)

        async def one(number: int) -> None:
            async with slots:
                await self._send_part(blob, plan, number, urls.get(number))

        try:
            async with asyncio.TaskGroup() as group:
                for number in missing:
                    group.create_task(one(number))
        except* (Unreachable, LostBlob) as errors:
            raise errors.exceptions[0] from None

    async def _send_part(
        self, blob: NamedBlob, plan: dict[str, Any], number: int, url: str | None
    ) -> None:
        assert blob.path is not None
        start = (number - 1) * plan["part_bytes"]
        length = min(plan["part_bytes"], blob.size - start)
        data = await asyncio.to_thread(_read_part, blob.path, start, length)
        # A URL may have expired, or the store may not be reachable from here: then the
        # server passes the bytes on.
        if url is None or not await self._transmitter.put_elsewhere(url, data, PART_TIMEOUT_S):
            path = f"/api/v1/blobs/{blob.digest}/uploads/{plan['upload_id']}/parts/{number}"
            await self._ask("PUT", path, data=data, media="application/octet-stream")
        self._counts.blob_bytes += length

    async def _complete(self, blob: NamedBlob, upload_id: str) -> bool:
        """False: parts are missing after all, or the upload is gone; begin again."""
        path = f"/api/v1/blobs/{blob.digest}/uploads/{upload_id}/complete"
        status, answer, retry_after_s = await self._transmitter.ask(
            "POST", path, workspace=self._workspace, timeout_s=PART_TIMEOUT_S
        )
        if status in (200, 201):
            return True
        code = _code_of(answer)
        if code == "digest_mismatch":
            raise LostBlob(f"the staged bytes of {blob.digest} are not those logged")
        if code in ("parts_missing", "upload_not_found"):
            return False
        raise _unreachable(status, answer, retry_after_s)

    async def _expect_present(self, blob: NamedBlob) -> None:
        """Nothing is staged: then an earlier upload must have come through."""
        status, answer, retry_after_s = await self._transmitter.ask(
            "HEAD", f"/api/v1/blobs/{blob.digest}", workspace=self._workspace
        )
        if status == 200:
            return
        if status == 404:
            raise LostBlob(f"the staged file of {blob.digest} is gone from the spool")
        raise _unreachable(status, answer, retry_after_s)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        media: str | None = None,
        json_body: Any = None,
    ) -> Any:
        if json_body is not None:
            import json

            data, media = json.dumps(json_body).encode(), "application/json"
        status, answer, retry_after_s = await self._transmitter.ask(
            method,
            path,
            workspace=self._workspace,
            data=data,
            media=media,
            timeout_s=PART_TIMEOUT_S,
        )
        if status in (200, 201):
            return answer
        if _code_of(answer) == "digest_mismatch":
            raise LostBlob(f"{path} was refused: the staged bytes are not those logged")
        raise _unreachable(status, answer, retry_after_s)


class BegunUploads:
    """Which uploads were begun at a server, kept in the writer's folder, so that whoever ships
    next goes on with them:  uploads/<sha256>-<server>, holding the upload's id."""

    def __init__(self, writer_folder: Path, uri: str) -> None:
        self._folder = writer_folder / "uploads"
        self._server = hashlib.sha256(uri.encode()).hexdigest()[:16]

    def find(self, digest: str) -> str | None:
        try:
            found = self._path(digest).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return found if _UPLOAD_ID.fullmatch(found) else None

    def remember(self, digest: str, upload_id: str) -> None:
        """A folder that cannot be written to costs sending parts again, nothing else."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._path(digest).write_text(upload_id, encoding="ascii")

    def forget(self, digest: str) -> None:
        with suppress(OSError):
            self._path(digest).unlink()

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}-{self._server}"


def _batches(blobs: Sequence[NamedBlob]) -> list[list[NamedBlob]]:
    batches: list[list[NamedBlob]] = []
    size = limits.BLOB_BATCH_BYTES_MAX + 1
    for blob in blobs:
        size += blob.size + HEAD_BYTES
        is_full = batches and len(batches[-1]) >= limits.BLOB_BATCH_BLOBS_MAX
        if size > limits.BLOB_BATCH_BYTES_MAX or is_full:
            batches.append([])
            size = blob.size + HEAD_BYTES
        batches[-1].append(blob)
    return batches


def _read_whole(blob: NamedBlob) -> bytes | None:
    """None when it is gone, or no longer as long as it was."""
    if blob.path is None:
        return None
    try:
        data = blob.path.read_bytes()
    except FileNotFoundError:
        return None
    return data if len(data) == blob.size else None


def _read_part(path: Path, start: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = os.pread(file.fileno(), length, start)
            while len(data) < length:
                more = os.pread(file.fileno(), length - len(data), start + len(data))
                if not more:
                    raise LostBlob(f"{path.name} is shorter than it was when it was logged")
                data += more
            return data
    except FileNotFoundError:
        raise LostBlob(f"{path.name} is gone from the spool") from None


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _code_of(answer: Any) -> str | None:
    error = answer.get("error") if isinstance(answer, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None


def _unreachable(status: int, answer: Any, retry_after_s: float | None) -> Unreachable:
    """Every other refusal is about the server, not about the file: keep it and try again."""
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    kind = NotCarried if _code_of(answer) == "artifacts_not_served" else Unreachable
    return kind(
        f"{message or 'a file is not taken'} ({_code_of(answer) or f'HTTP {status}'})",
        retry_after_s=retry_after_s,
    )
