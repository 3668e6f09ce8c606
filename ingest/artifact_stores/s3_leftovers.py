"""What uploads into a bucket have left: found by listing, whoever began them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from ingest.artifact_stores.s3_bucket import Bucket, ObjectMissing


class Leftovers:
    def __init__(self, bucket: Bucket, *, root: str) -> None:
        self._bucket = bucket
        self._root = root

    async def noted(self, *, before_us: int) -> AsyncIterator[str]:
        """The ids of uploads that were announced before."""
        prefix = f"{self._root}uploads/"
        async for page in self._bucket.pages("list_objects_v2", Prefix=prefix):
            for entry in page.get("Contents", ()):
                upload_id, _, name = entry["Key"].removeprefix(prefix).partition("/")
                if name == "upload.json" and _us(entry["LastModified"]) < before_us:
                    yield upload_id

    async def is_idle(self, token: Mapping[str, str], *, before_us: int) -> bool:
        """Whether no part has arrived since."""
        try:
            parts = await latest_parts(self._bucket, token)
        except ObjectMissing:
            return True
        return all(_us(part["LastModified"]) < before_us for part in parts.values())

    async def abort_unnoted(self, *, before_us: int) -> int:
        """Abort multipart uploads whose server died before noting or finishing them."""
        count = 0
        async for page in self._bucket.pages("list_multipart_uploads", Prefix=self._root):
            for begun in page.get("Uploads", ()):
                token = {"Key": begun["Key"], "UploadId": begun["UploadId"]}
                if _us(begun["Initiated"]) >= before_us or await self._is_noted(begun["Key"]):
                    continue
                if await self.is_idle(token, before_us=before_us):
                    await self._abort(token)
                    count += 1
        return count

    async def _abort(self, token: Mapping[str, str]) -> None:
        try:
            await self._bucket.call("abort_multipart_upload", **token)
        except ObjectMissing:
            return

    async def _is_noted(self, key: str) -> bool:
        if not key.startswith(f"{self._root}uploads/"):
            return False
        try:
            await self._bucket.call("head_object", Key=f"{key.rpartition('/')[0]}/upload.json")
        except ObjectMissing:
            return False
        return True


async def latest_parts(bucket: Bucket, token: Mapping[str, str]) -> dict[int, Any]:
    """The parts of a multipart upload, by number, in order. Raises ObjectMissing.

    SeaweedFS lists every version of a part that was put again; the latest counts.
    """
    parts: dict[int, Any] = {}
    async for page in bucket.pages("list_parts", **token):
        for part in page.get("Parts", ()):
            earlier = parts.get(part["PartNumber"])
            if earlier is None or part["LastModified"] > earlier["LastModified"]:
                parts[part["PartNumber"]] = part
    return dict(sorted(parts.items()))


def _us(time: datetime) -> int:
    return round(time.timestamp() * 1e6)
