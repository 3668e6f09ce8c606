"""Immutable objects in a folder or in a bucket: what an archive is made of.

An object appears as a whole, durable, and is never changed. Creating one that is there
already says so and changes nothing (link(2) in a folder, If-None-Match: * in a bucket),
which is how two who archive at once cannot both win.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingest.artifact_stores.destination import FolderDestination, S3Destination, parse_destination
from ingest.artifact_stores.durable_files import disk_errors, make_folder, sync_folder, write_all
from ingest.binding import InvalidSettings
from tracker.events.errors import TrackerError

if TYPE_CHECKING:
    from ingest.artifact_stores.s3_bucket import Bucket


class NoSuchObject(TrackerError):
    """There is no object of this name."""


class Objects(Protocol):
    """Keys are relative to the place, with slashes. Raises StoreUnavailable and its kin."""

    async def create(self, key: str, data: bytes) -> bool:
        """Durable when it returns; False when an object of that key is there already."""
        ...

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to and without `end`. Raises NoSuchObject."""
        ...

    async def size(self, key: str) -> int:
        """Raises NoSuchObject."""
        ...

    async def keys(self, prefix: str) -> list[str]:
        """The keys that begin so, in order."""
        ...

    async def delete(self, key: str) -> None: ...

    def address_of(self, key: str) -> str:
        """How people find the object."""
        ...


class FolderObjects:
    """See Objects."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def create(self, key: str, data: bytes) -> bool:
        return await asyncio.to_thread(self._create, self._folder / key, data)

    def _create(self, path: Path, data: bytes) -> bool:
        with disk_errors():
            make_folder(path.parent)
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, data, 0)
                os.fsync(fd)
                try:
                    # Unlike a rename, a link never replaces what is there.
                    path.hardlink_to(temporary)
                except FileExistsError:
                    return False
                sync_folder(path.parent)
                return True
            finally:
                os.close(fd)
                with suppress(OSError):
                    temporary.unlink()

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        def read() -> bytes:
            with disk_errors():
                try:
                    with (self._folder / key).open("rb") as file:
                        file.seek(start)
                        return file.read() if end is None else file.read(end - start)
                except FileNotFoundError:
                    raise NoSuchObject(key) from None

        return await asyncio.to_thread(read)

    async def size(self, key: str) -> int:
        try:
            return (self._folder / key).stat().st_size
        except FileNotFoundError:
            raise NoSuchObject(key) from None

    async def keys(self, prefix: str) -> list[str]:
        folder = self._folder / prefix.rpartition("/")[0]
        return await asyncio.to_thread(self._keys, folder, prefix)

    def _keys(self, folder: Path, prefix: str) -> list[str]:
        found = (
            path.relative_to(self._folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )
        return sorted(key for key in found if key.startswith(prefix))

    async def delete(self, key: str) -> None:
        with disk_errors():
            (self._folder / key).unlink(missing_ok=True)

    def address_of(self, key: str) -> str:
        return str(self._folder / key)


class S3Objects:
    """See Objects."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    async def create(self, key: str, data: bytes) -> bool:
        from ingest.artifact_stores.s3_bucket import ObjectExists

        try:
            await self._bucket.call(
                "put_object",
                Key=self._prefix + key,
                Body=data,
                ChecksumSHA256=b64encode(hashlib.sha256(data).digest()).decode(),
                IfNoneMatch="*",
            )
        except ObjectExists:
            return False
        return True

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        from ingest.artifact_stores.s3_bucket import ObjectMissing, said

        if end is not None and end <= start:
            return b""
        asked = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
        try:
            answer = await self._bucket.call("get_object", Key=self._prefix + key, Range=asked)
        except ObjectMissing:
            raise NoSuchObject(key) from None
        with said("get_object"):
            async with answer["Body"] as body:
                data: bytes = await body.read()
                return data

    async def size(self, key: str) -> int:
        from ingest.artifact_stores.s3_bucket import ObjectMissing

        try:
            answer = await self._bucket.call("head_object", Key=self._prefix + key)
        except ObjectMissing:
            raise NoSuchObject(key) from None
        return int(answer["ContentLength"])

    async def keys(self, prefix: str) -> list[str]:
        found: list[str] = []
        async for page in self._bucket.pages("list_objects_v2", Prefix=self._prefix + prefix):
            found += [item["Key"].removeprefix(self._prefix) for item in page.get("Contents") or ()]
        return sorted(found)

    async def delete(self, key: str) -> None:
        await self._bucket.call("delete_object", Key=self._prefix + key)

    def address_of(self, key: str) -> str:
        return f"s3://{self._bucket.name}/{self._prefix}{key}"


def absolute_location(location: str) -> str:
    """The same place, also for who is in another folder. Raises InvalidSettings."""
    match parse_destination(location):
        case FolderDestination(folder):
            return str(folder)
        case S3Destination(bucket, prefix):
            return f"s3://{bucket}/{prefix}".rstrip("/")


@asynccontextmanager
async def open_objects(location: str) -> AsyncIterator[Objects]:
    """The objects in a folder or below s3://BUCKET/PREFIX. Raises InvalidSettings."""
    match parse_destination(location):
        case FolderDestination(folder):
            yield FolderObjects(folder)
        case S3Destination(bucket, prefix):
            try:
                from ingest.artifact_stores.s3_bucket import open_bucket
            except ModuleNotFoundError as error:
                raise InvalidSettings(
                    f"{location} needs the package {error.name!r}: pip install 'tracker[s3]'"
                ) from None
            async with open_bucket(bucket) as opened:
                yield S3Objects(opened, prefix)
