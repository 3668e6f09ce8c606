"""Which tree a proxied path belongs to.

MLflow's proxy is one tree of paths; here every run and every logged model has a tree of its
own. A path is a run's when it has RUN/artifacts in it and RUN is a run; a model's when it has
models/m-…/artifacts in it. All else lies in one tree of the workspace, so that whatever a
client stored it finds again.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from aiohttp import web

from ingest.mlflow.errors import invalid
from ingest.state import READ_STORES
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent
from tracker.events.ids import is_run_id

WORKSPACE_OWNER: Final = "mlflow-artifacts"
_MODEL_ID: Final = re.compile(r"m-[0-9a-f]{32}")
_DECODINGS_MAX: Final = 10


class Place(NamedTuple):
    """A file or folder of a tree; path '' is the tree itself."""

    owner: str
    path: str
    is_run: bool = False

    @property
    def stream(self) -> str:
        """The stream that facts about it travel in."""
        return self.owner if self.is_run else ""

    @property
    def about(self) -> dict[str, str]:
        """What a fact about it says beside its path."""
        return {} if self.is_run else {"model_id": self.owner}

    def below(self, name: str) -> Place:
        return self._replace(path=f"{self.path}/{name}" if self.path else name)


def checked(path: str | None) -> str:
    """The path, decoded, if it leads nowhere else. Raises INVALID_PARAMETER_VALUE."""
    text = (path or "").rstrip("/")
    for _ in range(_DECODINGS_MAX):
        decoded = unquote(text)
        if decoded == text:
            break
        text = decoded
    if "#" in text or any(ord(c) < 32 for c in text):
        raise invalid("Invalid path")
    # download_artifacts(artifact_path=".") asks for RUN/artifacts/.
    text = "/".join(part for part in text.split("/") if part != ".")
    if not text:
        return ""
    try:
        check_artifact_path(text)
    except InvalidEvent as error:
        raise invalid("Invalid path") from error
    return text


async def place_of(request: web.Request, path: str) -> Place:
    """Where a checked proxied path lies."""
    parts = path.split("/")
    for i, part in enumerate(parts):
        if part != "artifacts" or i == 0:
            continue
        owner, rest = parts[i - 1], "/".join(parts[i + 1 :])
        if _MODEL_ID.fullmatch(owner) and i > 1 and parts[i - 2] == "models":
            return Place(owner, rest)
        if is_run_id(owner) and await _is_run(request, owner):
            return Place(owner, rest, is_run=True)
    return Place(WORKSPACE_OWNER, path)


async def _is_run(request: web.Request, run_id: str) -> bool:
    runs = request.app[READ_STORES].runs
    return await runs.get_run(run_id, live_run_ids=frozenset()) is not None
