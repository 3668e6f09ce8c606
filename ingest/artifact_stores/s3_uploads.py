"""Uploads in parts into a bucket, through the server or by presigned URLs.

    uploads/<upload id>/upload.json      what was announced
    uploads/<upload id>/data             the bytes, until they are proven

S3 knows no SHA-256 of an object that came in parts, and the server may not have seen its
bytes. So the parts become one object under uploads/, which the server reads back and
hashes, and only then copies to its name under blobs/ (inside S3). Every step can be
repeated: completing again after a crash goes on with whatever is there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ingest.artifact_stores.base import PartUrl, PutOutcome
from ingest.artifact_stores.refusals import (
    parts_are_not_the_blob,
    parts_missing,
    upload_not_found,
    wrong_part_size,
)
from ingest.artifact_stores.s3_bucket import Bucket, ObjectMissing
from ingest.artifact_stores.s3_leftovers import Leftovers, latest_parts
from ingest.artifact_stores.s3_streams import URL_EXPIRES_S, expires_us, file_of, hash_chunk
from ingest.blob_uploads import Digest, Upload, upload_id_of

if TYPE_CHECKING:
    from ingest.artifact_stores.s3 import S3ArtifactStore

# S3 copies at most 5 GiB at once; more goes in ranges.
COPY_BYTES_MAX: Final = 5 * 1024**3
_COPIES_AT_ONCE: Final = 4


class S3Uploads:
    """See PartUploads."""

    copy_bytes_max = COPY_BYTES_MAX

    def __init__(
        self, store: S3ArtifactStore, bucket: Bucket, *, root: str, part_bytes: int
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._root = root
        self._part_bytes = part_bytes

    async def create(self, digest: Digest, *, size: int) -> Upload:
        upload = Upload.begin(digest, size=size, part_bytes=self._part_bytes)
        key = self._data_key(upload.upload_id)
        begun = await self._bucket.call("create_multipart_upload", Key=key)
        upload = upload.with_token(begun["UploadId"])
        note = self._note_key(upload.upload_id)
        await self._bucket.call("put_object", Key=note, Body=upload.to_json())
        return upload

    async def find(self, upload_id: str) -> Upload:
        key = self._note_key(upload_id_of(upload_id))
        try:
            answer = await self._bucket.call("get_object", Key=key)
        except ObjectMissing:
            raise upload_not_found(upload_id) from None
        async with answer["Body"] as body:
            return Upload.of_json(await body.read())

    async def put_part(self, upload: Upload, number: int, chunks: AsyncIterator[bytes]) -> None:
        expected = upload.size_of(number)
        held: list[bytes] = []
        size = 0
        async with self._store.memory:
            async for chunk in chunks:
                size += len(chunk)
                if size > expected:
                    break
                held.append(chunk)
            if size != expected:
                raise wrong_part_size(number, expected)
            body = file_of(held)
            try:
                await self._bucket.call(
                    "upload_part", **self._token(upload), PartNumber=number, Body=body
                )
            except ObjectMissing:
                raise upload_not_found(upload.upload_id) from None

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        try:
            found = await latest_parts(self._bucket, self._token(upload))
        except ObjectMissing:
            raise upload_not_found(upload.upload_id) from None
        return {number: part["Size"] for number, part in found.items()}

    async def part_urls(self, upload: Upload, numbers: Sequence[int]) -> Sequence[PartUrl] | None:
        until_us = expires_us(URL_EXPIRES_S)
        return [
            PartUrl(number, await self._part_url(upload, number, URL_EXPIRES_S), until_us)
            for number in numbers
        ]

    async def complete(self, upload: Upload) -> PutOutcome:
        if await self._store.stat(upload.digest) is not None:
            await self._forget(upload)
            return PutOutcome.PRESENT
        await self._join(upload)
        found, etag = await self._hash(upload)
        if found != upload.digest:
            await self._forget(upload)
            raise parts_are_not_the_blob(upload, found)
        await self._copy(upload, etag)
        await self._forget(upload)
        return PutOutcome.STORED

    async def abort(self, upload: Upload) -> None:
        await self._forget(upload)

    async def clean(self, *, before_us: int) -> int:
        leftovers = Leftovers(self._bucket, root=self._root)
        count = await leftovers.abort_unnoted(before_us=before_us)
        async for upload_id in leftovers.noted(before_us=before_us):
            upload = await self.find(upload_id)
            if await leftovers.is_idle(self._token(upload), before_us=before_us):
                await self._forget(upload)
                count += 1
        return count

    # -- completing -------------------------------------------------------------------------

    async def _join(self, upload: Upload) -> None:
        """Make one object of the parts, unless an earlier attempt did."""
        try:
            parts = await latest_parts(self._bucket, self._token(upload))
            missing = upload.missing({number: part["Size"] for number, part in parts.items()})
            if missing:
                raise parts_missing(missing)
            chosen = [
                {"PartNumber": number, "ETag": parts[number]["ETag"]}
                for number in range(1, upload.part_count + 1)
            ]
            await self._bucket.call(
                "complete_multipart_upload",
                **self._token(upload),
                MultipartUpload={"Parts": chosen},
            )
        except ObjectMissing:
            return  # joined already, or gone: reading it will tell

    async def _hash(self, upload: Upload) -> tuple[str, str]:
        """The SHA-256 of what arrived, and the ETag it was read under."""
        key, hasher = self._data_key(upload.upload_id), hashlib.sha256()
        try:
            head = await self._bucket.call("head_object", Key=key)
            async with self._store.reading(key, "bytes=0-") as chunks:
                async for chunk in chunks:
                    await hash_chunk(hasher, chunk)
        except ObjectMissing:
            raise upload_not_found(upload.upload_id) from None
        return hasher.hexdigest(), head["ETag"]

    async def _copy(self, upload: Upload, etag: str) -> None:
        source = {
            "CopySource": {"Bucket": self._bucket.name, "Key": self._data_key(upload.upload_id)},
            "CopySourceIfMatch": etag,
        }
        key = self._store.key_of(upload.digest)
        if upload.size <= self.copy_bytes_max:
            await self._bucket.call("copy_object", Key=key, **source)
        else:
            await self._copy_ranges(upload, key, source)

    async def _copy_ranges(self, upload: Upload, key: str, source: dict[str, Any]) -> None:
        begun = await self._bucket.call("create_multipart_upload", Key=key)
        token = {"Key": key, "UploadId": begun["UploadId"]}
        turn = asyncio.Semaphore(_COPIES_AT_ONCE)

        async def copy(number: int, start: int) -> dict[str, Any]:
            end = min(start + self.copy_bytes_max, upload.size) - 1
            async with turn:
                answer = await self._bucket.call(
                    "upload_part_copy",
                    **token,
                    **source,
                    PartNumber=number,
                    CopySourceRange=f"bytes={start}-{end}",
                )
            return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        starts = range(0, upload.size, self.copy_bytes_max)
        done = await asyncio.gather(*(copy(n, start) for n, start in enumerate(starts, 1)))
        await self._bucket.call(
            "complete_multipart_upload", **token, MultipartUpload={"Parts": done}
        )

    async def _forget(self, upload: Upload) -> None:
        """The note goes last: as long as it is there, cleaning finds the rest."""
        await self._abort(self._data_key(upload.upload_id), upload.store_token)
        for key in (self._data_key(upload.upload_id), self._note_key(upload.upload_id)):
            await self._bucket.call("delete_object", Key=key)

    async def _abort(self, key: str, token: str) -> None:
        try:
            await self._bucket.call("abort_multipart_upload", Key=key, UploadId=token)
        except ObjectMissing:
            return

    # -- names ------------------------------------------------------------------------------

    async def _part_url(self, upload: Upload, number: int, expires_s: int) -> str:
        return await self._bucket.presigned(
            "upload_part",
            expires_s=expires_s,
            **self._token(upload),
            PartNumber=number,
            ContentLength=upload.size_of(number),
        )

    def _token(self, upload: Upload) -> dict[str, str]:
        return {"Key": self._data_key(upload.upload_id), "UploadId": upload.store_token}

    def _data_key(self, upload_id: str) -> str:
        return f"{self._root}uploads/{upload_id_of(upload_id)}/data"

    def _note_key(self, upload_id: str) -> str:
        return f"{self._root}uploads/{upload_id_of(upload_id)}/upload.json"
