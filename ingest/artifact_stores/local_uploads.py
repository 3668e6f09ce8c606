"""Uploads in parts into a folder.

    uploads/<upload id>/
      upload.json      what was announced
      data             the blob, each part written where it belongs
      00001 …          one file per part that is present, holding the part's SHA-256

A part counts when its file is there, which is made after its bytes were written. Only
`upload.json` and the finished blob are synced: after a power loss a part may be marked and
yet be lost, which completing finds out, because it reads and hashes everything; it then
takes back the marks of exactly the parts that are damaged.

`data` becomes the blob itself by a rename, so nobody may write to it afterwards: whoever
writes a part holds a shared lock (flock) on the file, and completing takes it exclusively.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.artifact_stores.base import PartUrl, PutOutcome
from ingest.artifact_stores.durable_files import make_folder, publish, sync_folder
from ingest.artifact_stores.refusals import (
    parts_are_not_the_blob,
    parts_missing,
    upload_not_found,
    wrong_part_size,
)
from ingest.blob_uploads import Digest, Upload, upload_id_of
from ingest.errors import Busy, UploadNotFound

if TYPE_CHECKING:
    from ingest.artifact_stores.local import LocalArtifactStore

_PART_NAME: Final = re.compile(r"\d{5}")
_READ_BYTES: Final = 1024 * 1024


class LocalUploads:
    """See PartUploads."""

    def __init__(self, store: LocalArtifactStore, *, part_bytes: int) -> None:
        self._store = store
        self._part_bytes = part_bytes

    async def create(self, digest: Digest, *, size: int) -> Upload:
        upload = Upload.begin(digest, size=size, part_bytes=self._part_bytes)
        await self._store.blocking(_create, self._folder(upload.upload_id), upload)
        return upload

    async def find(self, upload_id: str) -> Upload:
        return await self._store.blocking(_find, self._folder(upload_id))

    async def put_part(self, upload: Upload, number: int, chunks: AsyncIterator[bytes]) -> None:
        expected, offset = upload.size_of(number), upload.offset_of(number)
        folder = self._folder(upload.upload_id)
        fd = await self._store.blocking(_open_data, folder, fcntl.LOCK_SH)
        try:
            # Until it is whole again, a part that is replaced is not there.
            await self._store.blocking(_part_path(folder, number).unlink, missing_ok=True)
            size, found = await self._store.receive(fd, chunks, offset=offset, size_max=expected)
            if size != expected:
                raise wrong_part_size(number, expected)
            await self._store.blocking(_mark, folder, number, found)
        finally:
            os.close(fd)

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        return await self._store.blocking(_parts, self._folder(upload.upload_id), upload)

    async def part_urls(self, upload: Upload, numbers: Sequence[int]) -> Sequence[PartUrl] | None:
        return None

    async def complete(self, upload: Upload) -> PutOutcome:
        folder = self._folder(upload.upload_id)
        path = self._store.path_of(upload.digest)
        return await self._store.blocking(_complete, folder, upload, path)

    async def abort(self, upload: Upload) -> None:
        await self._store.blocking(_remove, self._folder(upload.upload_id))

    async def clean(self, *, before_us: int) -> int:
        return await self._store.blocking(_clean, self._store.uploads_folder, before_us)

    def _folder(self, upload_id: str) -> Path:
        return self._store.uploads_folder / upload_id_of(upload_id)


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}"


def _create(folder: Path, upload: Upload) -> None:
    temporary = folder.with_name(f"{folder.name}.new")
    try:
        make_folder(temporary)
        with (temporary / "data").open("xb") as data:
            data.truncate(upload.size)
        with (temporary / "upload.json").open("xb") as note:
            note.write(upload.to_json())
            note.flush()
            os.fsync(note.fileno())
        sync_folder(temporary)
        temporary.rename(folder)
    except OSError:
        _remove(temporary)
        raise
    sync_folder(folder.parent)


def _find(folder: Path) -> Upload:
    try:
        return Upload.of_json((folder / "upload.json").read_bytes())
    except FileNotFoundError:
        raise upload_not_found(folder.name) from None


def _open_data(folder: Path, lock: int) -> int:
    """The data file under a lock. Raises UploadNotFound and Busy."""
    path = folder / "data"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise upload_not_found(folder.name) from None
    try:
        fcntl.flock(fd, lock | fcntl.LOCK_NB)
        if not path.exists():  # it became the blob between the two calls
            raise upload_not_found(folder.name)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise Busy("the upload is in use; try again", retry_after_s=1.0) from None
        raise
    return fd


def _mark(folder: Path, number: int, sha256: str) -> None:
    temporary = folder / f"{uuid.uuid4().hex}.mark"
    try:
        temporary.write_text(sha256)
        temporary.rename(_part_path(folder, number))
    except FileNotFoundError:
        raise upload_not_found(folder.name) from None
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def _parts(folder: Path, upload: Upload) -> dict[int, int]:
    try:
        names = [entry.name for entry in os.scandir(folder) if _PART_NAME.fullmatch(entry.name)]
    except FileNotFoundError:
        raise upload_not_found(folder.name) from None
    numbers = sorted(int(name) for name in names)
    return {n: upload.size_of(n) for n in numbers if 1 <= n <= upload.part_count}


def _complete(folder: Path, upload: Upload, path: Path) -> PutOutcome:
    try:
        fd = _open_data(folder, fcntl.LOCK_EX)
    except UploadNotFound:
        if not path.exists():
            raise
        _remove(folder)
        return PutOutcome.PRESENT
    try:
        if path.exists():
            outcome = PutOutcome.PRESENT
        else:
            _check(fd, folder, upload)
            _publish(fd, folder, path)
            outcome = PutOutcome.STORED
        _remove(folder)
    finally:
        os.close(fd)
    return outcome


def _check(fd: int, folder: Path, upload: Upload) -> None:
    """Raises PartsMissing, and DigestMismatch when no part is to blame."""
    missing = upload.missing(_parts(folder, upload))
    if missing:
        raise parts_missing(missing)
    found = _sha256(fd, 0, upload.size)
    if found == upload.digest and os.fstat(fd).st_size == upload.size:
        return
    damaged = [n for n in range(1, upload.part_count + 1) if not _is_intact(fd, folder, upload, n)]
    if damaged:
        for number in damaged:
            _part_path(folder, number).unlink(missing_ok=True)
        raise parts_missing(damaged)
    _remove(folder)
    raise parts_are_not_the_blob(upload, found)


def _is_intact(fd: int, folder: Path, upload: Upload, number: int) -> bool:
    noted = _part_path(folder, number).read_bytes()
    found = _sha256(fd, upload.offset_of(number), upload.size_of(number))
    return noted == found.encode()


def _publish(fd: int, folder: Path, path: Path) -> None:
    try:
        os.fsync(fd)
    except OSError:
        # Nobody knows now which bytes are on disk, and the next sync may succeed without
        # them: only sending them again is sure.
        _remove(folder)
        raise
    publish(fd, folder / "data", path)


def _sha256(fd: int, offset: int, size: int) -> str:
    hasher, end = hashlib.sha256(), offset + size
    while offset < end:
        chunk = os.pread(fd, min(_READ_BYTES, end - offset), offset)
        if not chunk:
            break
        hasher.update(chunk)
        offset += len(chunk)
    return hasher.hexdigest()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _clean(uploads: Path, before_us: int) -> int:
    try:
        folders = [Path(entry.path) for entry in os.scandir(uploads)]
    except FileNotFoundError:
        return 0
    return sum(_clean_upload(folder, before_us) for folder in folders)


def _clean_upload(folder: Path, before_us: int) -> bool:
    """Remove one upload unless it was touched since, or is in use."""
    try:
        times = [path.lstat().st_mtime_ns // 1000 for path in (folder, *folder.iterdir())]
    except OSError:
        return False  # it is going away by itself
    if max(times) >= before_us:
        return False
    try:
        fd = _open_data(folder, fcntl.LOCK_EX)
    except Busy:
        return False
    except UploadNotFound:  # it became the blob, or was never begun
        _remove(folder)
        return True
    try:
        _remove(folder)
    finally:
        os.close(fd)
    return True
