"""A folder of a tree as a zip, written while it is sent.

Files are stored, not deflated: what training logs is mostly compressed already. Each is
hashed on its way; when one breaks off or is not what its digest says, the zip ends before its
directory, so no reader takes it for complete. Memory holds one chunk, and of every file its
entry in that directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, BinaryIO, Final, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from ingest.artifact_stores.base import ArtifactStore
from ingest.blob_uploads import digest_of
from ingest.errors import StoreUnavailable, TooLarge
from projections.read_models import ArtifactListing, ArtifactView, RunsReadStore

# About half a kilobyte each in the directory: 50 MB.
ZIP_FILES_MAX: Final = 100_000
_PAGE: Final = 1000
_INLINE_BYTES_MAX: Final = 64 * 1024
_DATE_MIN: Final = (1980, 1, 1, 0, 0, 0)
REFERENCE_SUFFIX: Final = ".reference.json"


def check_zip_size(folder: ArtifactView) -> None:
    """Raises TooLarge."""
    if (folder.files or 0) > ZIP_FILES_MAX:
        raise TooLarge(
            f"the folder has {folder.files} files; a zip has at most {ZIP_FILES_MAX} "
            "(zip_files_max): take its folders one by one, or `tracker artifacts download`"
        )


async def files_below(
    runs: RunsReadStore, owner: str, folder: str
) -> AsyncGenerator[ArtifactView, None]:
    """Every file below a folder, in order of path."""
    token: str | None = None
    while True:
        page = await runs.list_artifacts(
            ArtifactListing(owner, folder, True, max_results=_PAGE, page_token=token)
        )
        for view in page.items:
            yield view
        token = page.next_page_token
        if token is None:
            return


async def zip_chunks(
    store: ArtifactStore, files: AsyncGenerator[ArtifactView, None], *, below: str
) -> AsyncGenerator[bytes, None]:
    """The zip's bytes; its paths are relative to the folder `below`.

    Raises TrackerError when a file cannot be sent whole. A reference, whose bytes are not
    here, is a small JSON file that says where they are.
    """
    sink = _Sink()
    # Of a file it needs no more than write and flush.
    archive = ZipFile(cast(BinaryIO, sink), "w", ZIP_STORED)
    start = len(below) + 1 if below else 0
    async with aclosing(files) as listed:
        async for view in listed:
            info = _info_of(view, view.path[start:])
            async for _ in _add(archive, info, view, store):
                for chunk in sink.taken():
                    yield chunk
    archive.close()
    for chunk in sink.taken():
        yield chunk


async def _add(
    archive: ZipFile, info: ZipInfo, view: ArtifactView, store: ArtifactStore
) -> AsyncIterator[None]:
    """Write one entry; yields whenever there is something to send."""
    if view.digest is None:
        said = {"uri": view.uri, "etag": view.etag, "size": view.size}
        info.filename += REFERENCE_SUFFIX
        archive.writestr(info, json.dumps(said, indent=2))
        yield
        return
    digest, hasher, size = digest_of(view.digest), hashlib.sha256(), 0
    async with store.open(digest) as chunks:
        # Known before its bytes, so that only what needs 64 bits gets them.
        info.file_size = await store.stat(digest) or 0
        with archive.open(info, "w") as entry:
            async for chunk in chunks:
                size += len(chunk)
                if len(chunk) <= _INLINE_BYTES_MAX:
                    _take(entry, hasher, chunk)
                else:
                    await asyncio.to_thread(_take, entry, hasher, chunk)
                yield
            if hasher.hexdigest() != digest:
                raise StoreUnavailable(
                    f"blob {digest} is damaged: {size} bytes came with another SHA-256"
                )
    yield


def _take(entry: Any, hasher: Any, chunk: bytes) -> None:
    entry.write(chunk)
    hasher.update(chunk)


def _info_of(view: ArtifactView, name: str) -> ZipInfo:
    date = time.gmtime(max(0, view.time_us or 0) // 1_000_000)[:6]
    year = min(date[0], 2107)
    info = ZipInfo(name, date_time=max(_DATE_MIN, (year, *date[1:])))
    info.external_attr = 0o644 << 16
    return info


class _Sink:
    """What zipfile writes to: it cannot seek, so sizes and checksums follow each file."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do: what is held is taken as soon as it is there."""

    def taken(self) -> list[bytes]:
        held, self._held = self._held, []
        return held
