"""The fluent functions that read artifacts. They ask a server, after what this process has
logged has reached it, as far as that takes no longer than five seconds."""

from __future__ import annotations

import io
import json
import os
from typing import Any
from urllib.parse import urlsplit

from tracker.artifacts.trees import ArtifactInfo
from tracker.events.errors import InvalidEvent
from tracker.fluent import session
from tracker.notices import notices
from tracker.queries import client
from tracker.refusals import NotFound, QueryFailed


def list_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    tracking_uri: str | None = None,
) -> list[ArtifactInfo]:
    """What lies in a folder of a run's artifacts: by runs:/RUN/PATH, by run, or of the active
    run. `tracking_uri` asks another server than the present one. Raises a QueryFailed."""
    run, path = _place(artifact_uri, run_id, artifact_path)
    return client(tracking_uri, with_artifacts=True).list_artifacts(run, path)


def download_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    dst_path: str | os.PathLike[str] | None = None,
    tracking_uri: str | None = None,
) -> str:
    """Download a file or folder of a run, verified by its SHA-256, and return where it is.

    Without `dst_path` a temporary folder is made; `tracking_uri` asks another server than the
    present one. Raises a QueryFailed.
    """
    run, path = _place(artifact_uri, run_id, artifact_path)
    return client(tracking_uri, with_artifacts=True).download_artifacts(run, path, dst_path)


def load_artifact(artifact_path: str, run_id: str | None = None) -> Any:
    """A file of a run as what it holds: JSON and YAML as Python's types, tables, images as PIL
    images, text as str, anything else as bytes. Raises a QueryFailed."""
    run, path = _place(None, run_id, artifact_path)
    return _loaded(client(with_artifacts=True).read_artifact(run, path), path)


def earlier_bytes(run_id: str, path: str) -> bytes | None:
    """What the run's server has under `path`; None where there is nothing or nobody to ask,
    which is said: what is logged now takes the place of what may be there."""
    if session.is_begun_here(run_id):
        return None
    try:
        return client().read_artifact(run_id, path)
    except NotFound:
        return None
    except QueryFailed as error:
        notices.warn_once(
            f"earlier {run_id} {path}",
            f"the rows that run {run_id} has logged to {path} before could not be asked for "
            f"({error}); the table begins anew",
        )
        return None


def _place(artifact_uri: str | None, run_id: str | None, path: str | None) -> tuple[str, str]:
    if artifact_uri is not None:
        if run_id is not None or path is not None:
            raise InvalidEvent("give either artifact_uri, or run_id and artifact_path")
        parts = urlsplit(artifact_uri)
        run, _, path = parts.path.lstrip("/").partition("/")
        if parts.scheme != "runs" or not run:
            raise InvalidEvent(f"artifact_uri {artifact_uri!r} is not runs:/RUN_ID/PATH")
        return run, path
    if run_id is None:
        active = session.active.current() or session.active.last
        if active is None:
            raise InvalidEvent("no run is active; pass run_id")
        run_id = active.run_id
    return run_id, path or ""


def _loaded(content: bytes, path: str) -> Any:
    suffix = path.rpartition(".")[2].lower() if "." in path else ""
    if suffix == "json":
        return json.loads(content)
    if suffix in ("yaml", "yml"):
        import yaml

        return yaml.safe_load(content)
    if suffix in ("txt", "log", "md", "csv", "html", "py", "toml", "jsonl", "diff"):
        return content.decode(errors="replace")
    if suffix in ("png", "jpg", "jpeg", "webp", "gif", "bmp"):
        from PIL import Image

        return Image.open(io.BytesIO(content))
    if suffix == "parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(io.BytesIO(content))
    if suffix == "npy":
        import numpy as np

        return np.load(io.BytesIO(content), allow_pickle=False)
    return content
