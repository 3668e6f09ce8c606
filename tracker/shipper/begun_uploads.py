"""Uploads that were begun and not completed: whoever ships next goes on with them."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{1,256}")


class BegunUploads:
    """Which uploads were begun at a server, kept in the writer's folder, so that whoever ships
    next goes on with them:  uploads/<sha256>-<server>, holding the upload's id."""

    def __init__(self, writer_folder: Path, uri: str) -> None:
        self._folder = writer_folder / "uploads"
        self._server = hashlib.sha256(uri.encode()).hexdigest()[:16]

    def find(self, digest: str) -> str | None:
        try:
            found = self._path(digest).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return found if _UPLOAD_ID.fullmatch(found) else None

    def remember(self, digest: str, upload_id: str) -> None:
        """A folder that cannot be written to costs sending parts again, nothing else."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._path(digest).write_text(upload_id, encoding="ascii")

    def forget(self, digest: str) -> None:
        with suppress(OSError):
            self._path(digest).unlink()

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}-{self._server}"
