"""Files that an MLflow server serves, read over HTTP as its own clients read them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from tracker.integrations.mlflow_import.places import (
    PROXY_PATH,
    FoundFile,
    PlaceSkipped,
    may_be_taken,
)
from tracker.integrations.mlflow_import.source import Skips

# Of one run. A listing is one answer for each folder.
FOLDERS_MAX: Final = 100_000
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
_CHUNK_BYTES: Final = 1024 * 1024


class MlflowServer:
    """Shares the session it is given. `address` may carry a user and a password."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._files = address.rstrip("/") + PROXY_PATH

    def tree(self, path: str) -> ServedTree:
        return ServedTree(self._session, self._files, path)


class ServedTree:
    """The files below one path. Nothing says when they were changed."""

    def __init__(self, session: aiohttp.ClientSession, files: str, path: str) -> None:
        self._session = session
        self._served = files
        self._path = path

    async def files(self, owner: str, skips: Skips) -> Sequence[FoundFile]:
        found: list[FoundFile] = []
        folders = [""]
        for _ in range(FOLDERS_MAX):
            if not folders:
                return sorted(found, key=lambda file: file.path)
            folder = folders.pop()
            for name, is_folder, size in await self._list(folder):
                path = f"{folder}/{name}" if folder else name
                if is_folder:
                    folders.append(path)
                elif may_be_taken(path, size, owner, skips):
                    found.append(FoundFile(path, size, None))
        raise PlaceSkipped(f"they are in more than {FOLDERS_MAX} folders")

    async def _list(self, folder: str) -> list[tuple[str, bool, int]]:
        """(name, whether it is a folder, size) of what lies in a folder."""
        path = f"{self._path}/{folder}" if folder else self._path
        try:
            async with self._session.get(
                self._served, params={"path": path}, timeout=_TIMEOUT
            ) as answer:
                if answer.status == 404:
                    return []
                if answer.status != 200:
                    raise PlaceSkipped(f"the server at --artifacts-root says HTTP {answer.status}")
                return [_entry(row) for row in (await answer.json()).get("files", [])]
        except (aiohttp.ClientError, TimeoutError, ValueError, TypeError, KeyError) as error:
            raise PlaceSkipped(
                f"the server at --artifacts-root cannot be read: {type(error).__name__}"
            ) from None

    async def fetch(self, found: FoundFile, scratch: Path) -> Path:
        url = f"{self._served}/{quote(self._path)}/{quote(found.path)}"
        try:
            async with self._session.get(url, timeout=_TIMEOUT) as answer:
                if answer.status != 200:
                    raise OSError(f"HTTP {answer.status}")
                with scratch.open("wb") as file:
                    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                        await asyncio.to_thread(file.write, chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(str(error) or type(error).__name__) from None
        return scratch


def _entry(row: Any) -> tuple[str, bool, int]:
    name = str(row["path"]).rpartition("/")[2]
    if name in ("", ".", ".."):
        raise ValueError("a listing with no name in it")
    return name, bool(row.get("is_dir")), int(row.get("file_size") or 0)
