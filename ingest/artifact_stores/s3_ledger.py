"""The ledger of garbage collection in a bucket: gc/<kind>/<sha256>, empty objects.

Their time is S3's own. S3 has no locks: a collector says under gc/lock that it is there, and
says so again while it works. It looks before it says so and again afterwards, so that of two
that begin at once at most one goes on.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from ingest.artifact_stores.ledger import Note, StoredBlob
from ingest.artifact_stores.s3_bucket import Bucket, ObjectMissing
from ingest.blob_uploads import Digest, digest_of
from ingest.errors import Busy, InvalidRequest
from tracker.events.errors import TrackerError

# A collector that has said nothing for so long has died.
LOCK_S_MAX: Final = 900.0
_LOCK_RENEWED_S: Final = 60.0
# Longer than the write of somebody who looked before we wrote can be on its way.
_SETTLE_S: Final = 2.0


class S3Ledger:
    """See Ledger."""

    settle_s = _SETTLE_S

    def __init__(self, bucket: Bucket, *, root: str) -> None:
        self._bucket = bucket
        self._root = root
        self._lock_key = f"{root}gc/lock"

    async def blobs(self) -> AsyncIterator[StoredBlob]:
        async for blob in self._listed(f"{self._root}blobs/"):
            yield blob

    async def notes(self, note: Note) -> AsyncIterator[tuple[Digest, int]]:
        async for blob in self._listed(f"{self._root}gc/{note}/"):
            yield blob.digest, blob.time_us

    async def has(self, note: Note, digest: Digest) -> bool:
        try:
            await self._bucket.call("head_object", Key=self._key(note, digest))
        except ObjectMissing:
            return False
        return True

    async def write(self, note: Note, digest: Digest) -> None:
        await self._bucket.call("put_object", Key=self._key(note, digest), Body=b"")

    async def remove(self, note: Note, digest: Digest) -> None:
        with suppress(ObjectMissing):
            await self._bucket.call("delete_object", Key=self._key(note, digest))

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[None]:
        mine = uuid.uuid4().hex
        if await self.is_collecting():
            raise _busy()
        await self._say(mine)
        await asyncio.sleep(self.settle_s)
        if await self._holder() != mine:
            raise _busy()
        # No task group: what the block raises must come out as itself.
        renewing = asyncio.create_task(self._renew(mine), name="gc-lock")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
        if await self._holder() == mine:
            await self._bucket.call("delete_object", Key=self._lock_key)

    async def is_collecting(self) -> bool:
        try:
            answer = await self._bucket.call("head_object", Key=self._lock_key)
        except ObjectMissing:
            return False
        return time.time() - float(answer["LastModified"].timestamp()) < LOCK_S_MAX

    async def _renew(self, mine: str) -> None:
        while True:
            await asyncio.sleep(_LOCK_RENEWED_S)
            with suppress(TrackerError):  # there are many more tries until it is too late
                await self._say(mine)

    async def _say(self, mine: str) -> None:
        await self._bucket.call("put_object", Key=self._lock_key, Body=mine.encode())

    async def _holder(self) -> str:
        try:
            answer = await self._bucket.call("get_object", Key=self._lock_key)
        except ObjectMissing:
            return ""
        async with answer["Body"] as body:
            said: bytes = await body.read()
        return said.decode("ascii", "replace")

    async def _listed(self, prefix: str) -> AsyncIterator[StoredBlob]:
        async for page in self._bucket.pages("list_objects_v2", Prefix=prefix):
            for entry in page.get("Contents", ()):
                blob = _blob_of(entry)
                if blob is not None:
                    yield blob

    def _key(self, note: Note, digest: Digest) -> str:
        return f"{self._root}gc/{note}/{digest_of(digest)}"


def _blob_of(entry: Any) -> StoredBlob | None:
    """None for an object whose name is none of ours."""
    try:
        digest = digest_of(entry["Key"].rpartition("/")[2])
    except InvalidRequest:
        return None
    return StoredBlob(digest, int(entry["Size"]), round(entry["LastModified"].timestamp() * 1e6))


def _busy() -> Busy:
    return Busy("another collection is under way in this artifact store; wait for its end")
