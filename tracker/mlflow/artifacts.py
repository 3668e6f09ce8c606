"""MLflow's artifact repository of the plugin's runs and models: tracker-artifacts:/….

Files that are logged are staged in the spool, like everything, and delivered by a shipper.
Lists and downloads are the server's, after what this process has logged has had a moment to
arrive there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.tracking import get_tracking_uri
from mlflow.tracking._tracking_service.utils import _get_store

from tracker.artifacts import files
from tracker.artifacts.recorder import ArtifactRecorder
from tracker.client import Client
from tracker.mlflow.entities import ARTIFACT_SCHEME
from tracker.mlflow.errors import Unreachable, refusals
from tracker.mlflow.store import TrackerStore
from tracker.refusals import NotFound, QueryFailed, ServerUnreachable

_PLACE: Final = re.compile(
    ARTIFACT_SCHEME + r":/+([^/]+)/(?:models/([^/]+)|([^/]+))/artifacts(?:/(.+?))?/*"
)
_RETRY_FOR_S: Final = 2.0


class Place(NamedTuple):
    """Whose artifacts, and in which folder of them."""

    experiment_id: str
    model_id: str | None
    run_id: str | None
    folder: str


def place_of(artifact_uri: str) -> Place:
    """Raises MlflowException for what names neither a run's artifacts nor a model's."""
    match = _PLACE.fullmatch(artifact_uri)
    if match is None:
        raise MlflowException(
            f"{artifact_uri!r} names no artifacts: a run's are at {ARTIFACT_SCHEME}:/"
            "EXPERIMENT_ID/RUN_ID/artifacts",
            error_code=INVALID_PARAMETER_VALUE,
        )
    experiment_id, model_id, run_id, folder = match.groups()
    return Place(experiment_id, model_id, run_id, folder or "")


class TrackerArtifactRepository(ArtifactRepository):  # type: ignore[misc]  # mlflow has no types
    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, **given: Any) -> None:
        self.place = place_of(artifact_uri)
        self._tracking_uri = tracking_uri or get_tracking_uri()
        super().__init__(artifact_uri, **_taken(tracking_uri=tracking_uri, **given))

    # -- logging ----------------------------------------------------------------------------

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        with refusals():
            files.log_path(
                self._recorder(),
                Path(local_file),
                self._inside(artifact_path),
                model_id=self.place.model_id,
            )

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        with refusals():
            files.log_folder(
                self._recorder(),
                Path(local_dir),
                self._inside(artifact_path),
                model_id=self.place.model_id,
            )

    def _recorder(self) -> ArtifactRecorder:
        """The files of a model go with the run that made it; a model without one has a
        stream of its own."""
        store = self._store()
        run_id = self.place.run_id
        if run_id is None:
            assert self.place.model_id is not None
            model = store.recorder.models.find(self.place.model_id)
            run_id = model.source_run_id if model else None
            if run_id is None:
                run_id = store.get_logged_model(self.place.model_id).source_run_id
        if run_id is None:
            return store.recorder.workspace_artifacts()
        return store.recorder.run(run_id).artifacts

    def _inside(self, artifact_path: str | None) -> str | None:
        if self.place.folder and artifact_path:
            return f"{self.place.folder}/{artifact_path}"
        return self.place.folder or artifact_path

    # -- reading ----------------------------------------------------------------------------

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        folder = self._inside(path) or ""
        found = self._asked("list_artifacts", folder.rstrip("/"))
        within = f"{self.place.folder}/" if self.place.folder else ""
        return [
            FileInfo(e.path.removeprefix(within), e.is_dir, None if e.is_dir else e.file_size)
            for e in found
            if e.path != folder
        ]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        inside = self._inside(remote_file_path) or ""
        target = Path(local_path)
        target.write_bytes(self._asked("read_artifact", inside))

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        raise MlflowException(
            "artifacts are deleted on the server, where the run is seen by all; use the UI or "
            "DELETE /api/v1/runs/RUN_ID/artifacts/PATH",
            error_code=INVALID_PARAMETER_VALUE,
        )

    def _asked(self, method: str, path: str) -> Any:
        store = self._store()
        owner = self.place.run_id
        if owner is None and (model := store.recorder.models.find(self.place.model_id or "")):
            owner = model.source_run_id
        if owner is not None:
            store.reading.is_delivered(owner)  # which waits a moment
        address = store.rest.server.address()
        if address is None:
            raise Unreachable(store.rest.server.name(), "it was looked for a moment ago")
        try:
            with Client(address, retry_for_s=_RETRY_FOR_S) as client:
                asked = getattr(client, method)
                return asked(self.place.run_id, path, model_id=self.place.model_id)
        except ServerUnreachable as error:
            store.rest.server.is_gone()
            raise Unreachable(address, str(error)) from error
        except NotFound as error:
            if method == "list_artifacts":
                return []
            raise MlflowException(str(error), error_code=RESOURCE_DOES_NOT_EXIST) from error
        except QueryFailed as error:
            raise MlflowException(str(error)) from error

    def _store(self) -> TrackerStore:
        store = _get_store(self._tracking_uri)
        if not isinstance(store, TrackerStore):
            raise MlflowException(
                f"{self.artifact_uri} belongs to a tracker+http://, tracker+https:// or "
                f"tracker:// tracking URI, and MLflow's is {self._tracking_uri!r}",
                error_code=INVALID_PARAMETER_VALUE,
            )
        return store


def _taken(**given: Any) -> dict[str, Any]:
    """The arguments that this MLflow's repositories know."""
    from inspect import signature

    known = signature(ArtifactRepository.__init__).parameters
    return {name: value for name, value in given.items() if name in known}
