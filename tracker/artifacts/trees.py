"""A run's artifacts as a server has them: lists, bytes, and verified downloads.

A download is written beside its place under another name, hashed as it arrives, continued
where it broke off, compared with the digest in the run's record, and only then given its
name. Nothing that a server says leads out of the folder downloaded to.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from zlib import crc32

from tracker.connection import API, Connection
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import TrackerError
from tracker.refusals import ArtifactDamaged, ArtifactElsewhere, ArtifactNotFound, ServerUnreachable
from tracker.spool.locks import FileLock
from tracker.transport import Params, Query

DOWNLOADS_MAX: Final = 8
PAGE_ENTRIES: Final = 1_000
CHUNK_BYTES: Final = 1024 * 1024
# A download that breaks is continued; this many times without a byte more, it is given up.
_TRIES: Final = 3

Progress = Callable[[str, int], object]
"""Called with the path and the number of bytes that have just arrived."""


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """One file or folder of a tree. `digest` is the SHA-256 of a file that the server keeps;
    a reference has a `uri` instead."""

    path: str
    is_dir: bool
    file_size: int | None
    media_type: str | None
    digest: str | None
    uri: str | None
    etag: str | None
    time_us: int | None
    files: int | None = None

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> ArtifactInfo:
        return cls(
            path=row["path"],
            is_dir=row["is_folder"],
            file_size=row["size"],
            media_type=row["media_type"],
            digest=row["digest"],
            uri=row["uri"],
            etag=row["etag"],
            time_us=row["time_us"],
            files=row["files"],
        )


def tree_of(run_id: str | None, model_id: str | None) -> str:
    """The address of a run's tree, or of a logged model's."""
    kind, owner = ("models", model_id) if model_id is not None else ("runs", run_id)
    return f"{API}/{kind}/{quote(owner or '', safe='')}/artifacts"


async def entries(
    connection: Connection,
    tree: str,
    folder: str = "",
    *,
    recursive: bool = False,
    then: Params = (),
) -> AsyncIterator[ArtifactInfo]:
    """What lies in a folder, in order of path; page by page. `then`: what names the past."""
    token: str | None = None
    while True:
        params = [("prefix", folder), ("limit", str(PAGE_ENTRIES)), *then]
        if recursive:
            params.append(("recursive", "true"))
        if token:
            params.append(("page_token", token))
        page = await connection.read(tree, params)
        for row in page["artifacts"]:
            yield ArtifactInfo.from_json(row)
        token = page["next_page_token"]
        if not token:
            return


async def find_files(connection: Connection, tree: str, path: str) -> list[ArtifactInfo]:
    """The file at `path`, or all files below it. Raises ArtifactNotFound when there is neither."""
    path = path.strip("/")
    if path:
        parent = path.rpartition("/")[0]
        async for entry in entries(connection, tree, parent):
            if entry.path == path and not entry.is_dir:
                return [entry]
    below = [e async for e in entries(connection, tree, path, recursive=True) if not e.is_dir]
    if path and not below:
        raise ArtifactNotFound(
            f"there is no artifact {path!r} here", code="artifact_not_found", status=404
        )
    return below


async def read(connection: Connection, tree: str, info: ArtifactInfo) -> bytes:
    """A file's bytes, verified. For files that fit into memory."""
    pieces: list[bytes] = []
    digest = hashlib.sha256()
    async for piece in _bytes_of(connection, tree, info, start=0):
        digest.update(piece)
        pieces.append(piece)
    _check(info, digest.hexdigest())
    return b"".join(pieces)


async def download(
    connection: Connection,
    tree: str,
    path: str,
    dst_path: str | os.PathLike[str] | None,
    *,
    progress: Progress | None = None,
) -> str:
    """Download a file or a folder below `dst_path`; return where it is.

    Without `dst_path` a temporary folder is made. References are not followed; one that is
    asked for by its own path raises ArtifactElsewhere. Raises ArtifactDamaged when the bytes
    are not those that were logged.
    """
    path = path.strip("/")
    found = await find_files(connection, tree, path)
    if len(found) == 1 and found[0].path == path and found[0].digest is None:
        raise ArtifactElsewhere(path, found[0].uri or "")
    folder = Path(dst_path) if dst_path is not None else Path(tempfile.mkdtemp(prefix="tracker-"))
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    slots = asyncio.Semaphore(DOWNLOADS_MAX)

    async def one(info: ArtifactInfo) -> None:
        async with slots:
            await _download_file(connection, tree, info, root, progress)

    try:
        async with asyncio.TaskGroup() as group:
            for info in found:
                if info.digest is not None:
                    group.create_task(one(info))
    except* (TrackerError, OSError) as errors:
        raise errors.exceptions[0] from None  # the others were given up because of it
    return str(root / path) if path else str(root)


async def _download_file(
    connection: Connection, tree: str, info: ArtifactInfo, root: Path, progress: Progress | None
) -> None:
    target = _place(root, info.path)
    with _part_beside(target, info.digest or "") as part:
        was_begun = part.stat().st_size > 0
        try:
            await _fetch(connection, tree, info, part, progress)
        except ArtifactDamaged:
            if not was_begun:
                part.unlink(missing_ok=True)
                raise
            # What lay here from an earlier attempt may have been the damage.
            os.truncate(part, 0)
            await _fetch(connection, tree, info, part, progress)
        part.replace(target)


@contextmanager
def _part_beside(target: Path, digest: str) -> Iterator[Path]:
    """The file to download into: what a broken attempt has left there, or an empty one.

    A file of its own for each that downloads the same to the same place at once, as all ranks
    of a training do; the last one to be done gives the name to its own.
    """
    part = part_of(target, digest)
    part.touch()
    lock = FileLock.acquire(part, wait_s=0)
    try:
        if lock is not None and _is_still(part, lock.inode):
            if sys.platform == "win32":
                lock.release()  # it proves nothing there, and an open file cannot be renamed
            yield part
            return
    finally:
        if lock is not None:
            lock.release()
    own = part.with_suffix(f".{uuid.uuid4().hex}")
    own.touch()
    try:
        yield own
    finally:
        own.unlink(missing_ok=True)


def part_of(target: Path, digest: str) -> Path:
    """Where a download waits until it is whole; files with the same bytes have one each."""
    return target.with_name(f".{digest}.{crc32(target.name.encode()):08x}.part")


def _is_still(path: Path, inode: int) -> bool:
    """Whether the file is in its place; who had it until now may have given it its name."""
    try:
        return path.stat().st_ino == inode
    except FileNotFoundError:
        return False


async def _fetch(
    connection: Connection, tree: str, info: ArtifactInfo, part: Path, progress: Progress | None
) -> None:
    """Complete `part`. Raises ArtifactDamaged when it is not what was logged in the end."""
    digest, size, fruitless = hashlib.sha256(), 0, 0
    with part.open("a+b") as file:
        file.seek(0)
        while piece := file.read(CHUNK_BYTES):  # what an earlier attempt has got
            digest.update(piece)
            size += len(piece)
        while True:
            before = size
            try:
                async for piece in _bytes_of(connection, tree, info, start=size):
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                    if progress is not None:
                        progress(info.path, len(piece))
                break
            except ServerUnreachable:
                fruitless = fruitless + 1 if size == before else 0
                if fruitless >= _TRIES:
                    raise
    _check(info, digest.hexdigest())


def _place(root: Path, path: str) -> Path:
    """Where a file goes, its folder made. Raises InvalidEvent or ArtifactDamaged for a path
    that leads elsewhere, be it by its name or by a link that lies in the way."""
    check_artifact_path(path)
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(root):
        raise ArtifactDamaged(f"{target.parent} is a link out of {root}; nothing is written there")
    return target


async def _bytes_of(
    connection: Connection, tree: str, info: ArtifactInfo, *, start: int
) -> AsyncIterator[bytes]:
    if start and start == info.file_size:
        return
    query = Query(
        "GET",
        f"{tree}/{quote(info.path)}",
        is_read=True,
        params=connection.at_position(()),
        accept="*/*",
        headers=(("Range", f"bytes={start}-"),) if start else (),
    )
    transport = await connection.opened()
    async with transport.answer(query) as response:
        if start and response.status != 206:
            raise ArtifactDamaged(f"the server does not continue {info.path!r} in the middle")
        async for piece in response.content.iter_chunked(CHUNK_BYTES):
            yield piece


def _check(info: ArtifactInfo, digest: str) -> None:
    if info.digest is not None and digest != info.digest:
        raise ArtifactDamaged(
            f"{info.path!r} is damaged: its bytes have SHA-256 {digest}, {info.digest} was logged; "
            "`tracker artifacts verify` on the server tells what else is"
        )
