"""Uploading staged files, so that the records that name them may be sent.

    not larger than 1 MiB    many in one request (POST /api/v1/blobs/batch)
    larger                   in parts, side by side; straight to the store where it offers
                             that, else through the server; parts that are there stay there

A file is uploaded when the server says that it has its digest. What is not retryable is
about one file: its bytes are not those of its digest, or they are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tracker.events import limits
from tracker.events.blob_batch import HEAD_BYTES, encode_blob_batch
from tracker.shipper.begun_uploads import BegunUploads
from tracker.shipper.blobs import LostBlob, NamedBlob
from tracker.shipper.staged_bytes import read_part, read_whole, size_of
from tracker.shipper.state import DeliveryCounts
from tracker.shipper.transmit import Transmitter, Unreachable

PARTS_AT_ONCE: Final = 3
# A part on a slow link takes minutes; a server that is silent for this long is away.
PART_TIMEOUT_S: Final = 900.0
_TRIES: Final = 3


class NotCarried(Unreachable):
    """The server carries no files (--no-serve-artifacts); its store may have URLs for them."""


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
            data = await asyncio.to_thread(read_whole, blob)
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
        if blob.path is None or size_of(blob.path) != blob.size:
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
        data = await asyncio.to_thread(read_part, blob.path, start, length)
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
