"""Blobs in a bucket of S3, or of anything that speaks its API.

    <prefix><workspace>/blobs/<first two digits>/<sha256>
    <prefix><workspace>/uploads/<upload id>/       see ingest.artifact_stores.s3_uploads

The same names as in a folder, so a store can be moved by copying files. What passes through
the server is hashed on its way and gets its name only afterwards: an object, and a
multipart upload that is completed, appear as a whole.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from ingest.artifact_stores.base import DownloadUrl, PutOutcome
from ingest.artifact_stores.refusals import blob_not_found, check_digest
from ingest.artifact_stores.s3_bucket import Bucket, ObjectExists, ObjectMissing, open_bucket, said
from ingest.artifact_stores.s3_ledger import S3Ledger
from ingest.artifact_stores.s3_streams import URL_EXPIRES_S, expires_us, file_of, in_parts
from ingest.artifact_stores.s3_uploads import S3Uploads
from ingest.artifact_stores.together import together
from ingest.artifact_stores.waiting_file import waiting_file
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import DigestMismatch
from tracker.events.errors import TrackerError
from tracker.events.ids import is_workspace
from tracker.events.limits import ARTIFACT_PART_BYTES

CHUNK_BYTES: Final = 1024 * 1024
# S3 takes a part only as a whole, with its length first; this many are held in memory at once.
PARTS_IN_MEMORY_MAX: Final = 4
_PUTS_AT_ONCE: Final = 16


class S3ArtifactStore:
    """See ArtifactStore."""

    def __init__(self, bucket: Bucket, *, prefix: str, workspace: str, part_bytes: int) -> None:
        assert is_workspace(workspace)
        self._bucket = bucket
        self._root = f"{prefix}{workspace}/"
        self._part_bytes = part_bytes
        self.memory = asyncio.Semaphore(PARTS_IN_MEMORY_MAX)
        self.ledger = S3Ledger(bucket, root=self._root)
        self.uploads = S3Uploads(self, bucket, root=self._root, part_bytes=part_bytes)

    async def put(self, digest: Digest, chunks: AsyncIterator[bytes]) -> PutOutcome:
        if await self.stat(digest) is not None:
            return PutOutcome.PRESENT
        hasher = hashlib.sha256()
        async with self.memory:
            parts = in_parts(chunks, hasher, self._part_bytes)
            first = await anext(parts, b"")
            try:
                if len(first) == self._part_bytes:
                    await self._put_parts(digest, first, parts, hasher)
                else:
                    await self._put_whole(digest, first, hasher)
            except ObjectExists:
                return PutOutcome.PRESENT
        return PutOutcome.STORED

    async def put_unnamed(self, chunks: AsyncIterator[bytes]) -> tuple[Digest, int, PutOutcome]:
        # An object's key cannot be chosen after its bytes, so they wait on the server's disk.
        async with waiting_file() as file:
            size, digest = await file.receive(chunks)
            return digest, size, await self.put(digest, file.chunks(size))

    async def put_many(
        self, blobs: Sequence[tuple[Digest, memoryview]]
    ) -> Sequence[PutOutcome | DigestMismatch]:
        async def put(digest: Digest, data: memoryview) -> PutOutcome | DigestMismatch:
            try:
                return await self.put(digest, _just(bytes(data)))
            except DigestMismatch as error:
                return error

        return await together((put(*blob) for blob in blobs), at_once=_PUTS_AT_ONCE)

    async def stat(self, digest: Digest) -> int | None:
        try:
            answer = await self._bucket.call("head_object", Key=self.key_of(digest))
        except ObjectMissing:
            return None
        return int(answer["ContentLength"])

    @asynccontextmanager
    async def open(
        self, digest: Digest, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        size = await self.stat(digest)
        if size is None:
            raise blob_not_found(digest)
        end = size if end is None else min(end, size)
        if start >= end:
            yield _nothing()
            return
        async with self.reading(self.key_of(digest), f"bytes={start}-{end - 1}") as chunks:
            yield chunks

    async def delete(self, digest: Digest) -> bool:
        was_there = await self.stat(digest) is not None
        if was_there:
            await self._bucket.call("delete_object", Key=self.key_of(digest))
        return was_there

    async def download_url(self, digest: Digest) -> DownloadUrl | None:
        url = await self._bucket.presigned(
            "get_object",
            expires_s=URL_EXPIRES_S,
            Key=self.key_of(digest),
            ResponseContentType="application/octet-stream",
            ResponseContentDisposition=f'attachment; filename="{digest}"',
        )
        return DownloadUrl(url, expires_us(URL_EXPIRES_S))

    async def clean(self, *, before_us: int) -> int:
        return await self.uploads.clean(before_us=before_us)

    # -- for S3Uploads too ------------------------------------------------------------------

    def key_of(self, digest: Digest) -> str:
        return f"{self._root}blobs/{digest_of(digest)[:2]}/{digest}"

    @asynccontextmanager
    async def reading(self, key: str, byte_range: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Raises ObjectMissing."""
        answer = await self._bucket.call("get_object", Key=key, Range=byte_range)
        async with answer["Body"] as body:
            yield _chunks(body)

    async def _put_whole(self, digest: Digest, data: bytes, hasher: Any) -> None:
        check_digest(digest, hasher.hexdigest())
        await self._bucket.call(
            "put_object",
            Key=self.key_of(digest),
            Body=data,
            ChecksumSHA256=b64encode(hasher.digest()).decode(),
            IfNoneMatch="*",
        )

    async def _put_parts(
        self, digest: Digest, first: bytes, rest: AsyncIterator[bytes], hasher: Any
    ) -> None:
        key = self.key_of(digest)
        begun = await self._bucket.call("create_multipart_upload", Key=key)
        token = {"Key": key, "UploadId": begun["UploadId"]}
        try:
            done = [await self._put_part(token, 1, first)]
            del first
            async for part in rest:
                done.append(await self._put_part(token, len(done) + 1, part))
            check_digest(digest, hasher.hexdigest())
            await self._bucket.call(
                "complete_multipart_upload",
                **token,
                MultipartUpload={"Parts": done},
                IfNoneMatch="*",
            )
        except BaseException:
            with suppress(TrackerError):  # clean() finds what cannot be aborted now
                await asyncio.shield(self._bucket.call("abort_multipart_upload", **token))
            raise

    async def _put_part(self, token: dict[str, str], number: int, data: bytes) -> dict[str, Any]:
        answer = await self._bucket.call(
            "upload_part", **token, PartNumber=number, Body=file_of([data])
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}


@asynccontextmanager
async def open_s3_store(
    bucket: str, *, prefix: str, workspace: str, part_bytes: int = ARTIFACT_PART_BYTES
) -> AsyncIterator[S3ArtifactStore]:
    async with open_bucket(bucket) as opened:
        yield S3ArtifactStore(opened, prefix=prefix, workspace=workspace, part_bytes=part_bytes)


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    with said("get_object"):
        while chunk := await body.read(CHUNK_BYTES):
            yield chunk


async def _just(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
