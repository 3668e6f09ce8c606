"""The fluent functions that read artifacts. They ask a server, after what this process has
logged has reached it, as far as that takes no longer than five seconds."""

from __future__ import annotations

import io
import json
import os
from typing import Any, NamedTuple

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
    run; or a logged model's, by models:/MODEL_ID. `tracking_uri` asks another server than the
    present one. Raises a QueryFailed."""
    place = _place(artifact_uri, run_id, artifact_path)
    asked = client(tracking_uri, with_artifacts=True)
    return asked.list_artifacts(place.run_id, place.path, model_id=place.model_id)


def download_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    dst_path: str | os.PathLike[str] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> str:
    """Download a file or folder of a run, verified by its SHA-256, and return where it is.

    `artifact_uri` is runs:/RUN_ID/PATH, or models:/MODEL_ID for all files of a logged model.
    Without `dst_path` a temporary folder is made; `tracking_uri` asks another server than the
    present one. `registry_uri` is asked for nothing: as in MLflow it matters only to the names
    of registered models (models:/NAME/VERSION), and those raise InvalidEvent, because there is
    no model registry here. Raises a QueryFailed.
    """
    place = _place(artifact_uri, run_id, artifact_path)
    asked = client(tracking_uri, with_artifacts=True)
    return asked.download_artifacts(place.run_id, place.path, dst_path, model_id=place.model_id)


def load_artifact(artifact_path: str, run_id: str | None = None) -> Any:
    """A file of a run as what it holds: JSON and YAML as Python's types, tables, images as PIL
    images, text as str, anything else as bytes. Raises a QueryFailed."""
    place = _place(None, run_id, artifact_path)
    return _loaded(client(with_artifacts=True).read_artifact(place.run_id, place.path), place.path)


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


class _Place(NamedTuple):
    """A path in the tree of a run, or of a logged model."""

    run_id: str | None
    model_id: str | None
    path: str


def _place(artifact_uri: str | None, run_id: str | None, path: str | None) -> _Place:
    if artifact_uri is not None:
        if run_id is not None or path is not None:
            raise InvalidEvent("give either artifact_uri, or run_id and artifact_path")
        return _place_of(artifact_uri)
    if run_id is None:
        active = session.active.current() or session.active.last
        if active is None:
            raise InvalidEvent("no run is active; pass run_id")
        run_id = active.run_id
    return _Place(run_id, None, path or "")


def _place_of(artifact_uri: str) -> _Place:
    """As MLflow reads them: what follows models:/ is a model's id only if it stands alone."""
    scheme, _, rest = artifact_uri.partition(":/")
    owner, _, path = rest.rstrip("/").partition("/")
    if scheme == "runs" and owner:
        return _Place(owner, None, path)
    if scheme == "models" and owner and not path and "@" not in owner:
        return _Place(None, owner, "")
    if scheme == "models" and owner:
        raise InvalidEvent(
            f"artifact_uri {artifact_uri!r} names a model of a registry, and there is no model "
            f"registry here; name the logged model itself (models:/MODEL_ID), a part of it by "
            f"Client.download_artifacts(model_id=…), or the run that made it (runs:/RUN_ID/PATH)"
        )
    raise InvalidEvent(
        f"artifact_uri {artifact_uri!r} is neither runs:/RUN_ID/PATH nor models:/MODEL_ID"
    )


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
