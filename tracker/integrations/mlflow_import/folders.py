"""Reads a folder `mlruns`, as MLflow's file store lays it out.

    <root>/<experiment>/meta.yaml  tags/<key>
    <root>/<experiment>/<run>/meta.yaml  params/<key>  tags/<key>  metrics/<key>  artifacts/
    <root>/<experiment>/<run>/inputs/<id>/meta.yaml  outputs/<model>/meta.yaml
    <root>/<experiment>/datasets/<id>/meta.yaml
    <root>/<experiment>/models/<model>/…             like a run
    <root>/.trash/<experiment>/…                     deleted experiments

What cannot be read is skipped with its reason; links are not followed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tracker.integrations.mlflow_import.folder_files import model_points_of, points_of, texts_of
from tracker.integrations.mlflow_import.source import (
    NOT_KEPT_HERE,
    Skips,
    SourceDataset,
    SourceExperiment,
    SourceModel,
    SourceRun,
    SourceUnreadable,
)

META: Final = "meta.yaml"
TRASH: Final = ".trash"
_NOT_RUNS: Final = frozenset({"datasets", "models", "tags", "traces"})
_STATUSES: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_MODEL_STATUSES: Final = {1: "PENDING", 2: "READY", 3: "FAILED"}


class FolderSource:
    """See source.Source. Needs PyYAML, which MLflow itself brings."""

    def __init__(self, root: Path) -> None:
        try:
            import yaml
        except ImportError:
            raise SourceUnreadable(
                "reading a folder mlruns needs PyYAML: pip install 'tracker[mlflow]'"
            ) from None
        self._yaml = yaml
        self._root = root
        self.skips = Skips()
        self._folders = list(self._experiment_folders())
        if not self._folders:
            raise SourceUnreadable(
                f"{root} holds no experiment of MLflow's; name the folder that holds 0/{META}"
            )

    async def aclose(self) -> None:
        pass

    async def notes(self) -> Sequence[str]:
        return []

    async def count_not_taken(self) -> None:
        for folder, _ in self._folders:
            for trace in _subfolders(folder / "traces"):
                self.skips.add("trace", NOT_KEPT_HERE, trace.name)
        for model in _subfolders(self._root / "models"):
            if (model / META).is_file():
                self.skips.add("registered model", NOT_KEPT_HERE, model.name)

    async def counts(self) -> tuple[int, int, int]:
        runs = sum(len(list(_run_folders(folder))) for folder, _ in self._folders)
        models = sum(len(list(_model_folders(folder))) for folder, _ in self._folders)
        return len(self._folders), runs, models

    def _experiment_folders(self) -> Iterator[tuple[Path, bool]]:
        """(folder, whether it is in the trash)."""
        for parent, is_deleted in ((self._root, False), (self._root / TRASH, True)):
            for folder in _subfolders(parent):
                if (folder / META).is_file():
                    yield folder, is_deleted

    async def experiments(self) -> Sequence[SourceExperiment]:
        found = []
        for folder, is_deleted in self._folders:
            meta = self._meta(folder, "experiment")
            if meta is None or not isinstance(meta.get("name"), str):
                self.skips.add("experiment", "its meta.yaml says no name", folder.name)
                continue
            found.append(
                SourceExperiment(
                    experiment_id=str(meta.get("experiment_id", folder.name)),
                    name=meta["name"],
                    artifact_location=_text(meta.get("artifact_location")),
                    is_deleted=is_deleted or meta.get("lifecycle_stage") == "deleted",
                    created_ms=_integer(meta.get("creation_time")),
                    updated_ms=_integer(meta.get("last_update_time")),
                    tags=texts_of(folder / "tags", self.skips),
                )
            )
        return found

    async def runs(self) -> AsyncIterator[SourceRun]:
        for folder, _ in self._folders:
            for run_folder in _run_folders(folder):
                run = self._run(folder, run_folder)
                if run is not None:
                    yield run

    def _run(self, experiment: Path, folder: Path) -> SourceRun | None:
        meta = self._meta(folder, "run")
        if meta is None:
            return None
        run_id = str(meta.get("run_id") or meta.get("run_uuid") or folder.name)
        tags = texts_of(folder / "tags", self.skips)
        inputs = [self._meta(each, "input") or {} for each in _subfolders(folder / "inputs")]
        outputs = [self._meta(each, "output") or {} for each in _subfolders(folder / "outputs")]
        status = meta.get("status")
        return SourceRun(
            run_id=run_id,
            experiment_id=str(meta.get("experiment_id", experiment.name)),
            name=str(meta.get("run_name") or tags.get("mlflow.runName", "")),
            user=str(meta.get("user_id") or ""),
            status=_STATUSES.get(status, "RUNNING") if isinstance(status, int) else str(status),
            start_ms=_integer(meta.get("start_time")),
            end_ms=_integer(meta.get("end_time")),
            is_deleted=meta.get("lifecycle_stage") == "deleted",
            deleted_ms=_integer(meta.get("deleted_time")),
            artifact_uri=_artifacts_of(folder, meta.get("artifact_uri")),
            params=texts_of(folder / "params", self.skips),
            tags=tags,
            datasets=[
                dataset
                for said in inputs
                if said.get("source_type") == "DATASET"
                and (dataset := self._dataset(experiment, said)) is not None
            ],
            model_inputs=[
                str(said["source_id"])
                for said in inputs
                if said.get("source_type") == "MODEL" and said.get("source_id")
            ],
            model_outputs=[
                (str(said["source_id"]), _integer(said.get("step")) or 0)
                for said in outputs
                if said.get("source_id")
            ],
            points=points_of(folder / "metrics", run_id, self.skips),
        )

    def _dataset(self, experiment: Path, said: dict[str, Any]) -> SourceDataset | None:
        folder = experiment / "datasets" / Path(str(said.get("source_id"))).name
        meta = self._meta(folder, "dataset") if folder.is_dir() else None
        if meta is None:
            self.skips.add("input", "its dataset is not there", str(said.get("source_id")))
            return None
        tags = said.get("tags")
        return SourceDataset(
            name=str(meta.get("name", "")),
            digest=str(meta.get("digest", "")),
            source_type=str(meta.get("source_type") or ""),
            source=str(meta.get("source") or ""),
            schema=_text(meta.get("schema")),
            profile=_text(meta.get("profile")),
            tags={str(k): str(v) for k, v in tags.items()} if isinstance(tags, dict) else {},
        )

    async def models(self) -> AsyncIterator[SourceModel]:
        for experiment, _ in self._folders:
            for folder in _model_folders(experiment):
                meta = self._meta(folder, "model")
                if meta is not None:
                    yield self._model(experiment, folder, meta)

    def _model(self, experiment: Path, folder: Path, meta: dict[str, Any]) -> SourceModel:
        status = meta.get("status")
        return SourceModel(
            model_id=str(meta.get("model_id", folder.name)),
            experiment_id=str(meta.get("experiment_id", experiment.name)),
            name=str(meta.get("name") or ""),
            model_type=_text(meta.get("model_type")),
            source_run_id=_text(meta.get("source_run_id")),
            status=(
                _MODEL_STATUSES.get(status, "PENDING") if isinstance(status, int) else str(status)
            ),
            status_message=_text(meta.get("status_message")),
            created_ms=_integer(meta.get("creation_timestamp")),
            updated_ms=_integer(meta.get("last_updated_timestamp")),
            is_deleted=meta.get("lifecycle_stage") == "deleted",
            artifact_uri=_artifacts_of(folder, meta.get("artifact_location")),
            params=texts_of(folder / "params", self.skips),
            tags=texts_of(folder / "tags", self.skips),
            points=sorted(
                model_points_of(folder, self.skips), key=lambda p: (p.time_ms, p.key, p.step)
            ),
        )

    def _meta(self, folder: Path, kind: str) -> dict[str, Any] | None:
        try:
            with (folder / META).open(encoding="utf-8") as file:
                meta = self._yaml.safe_load(file)
        except (OSError, ValueError, self._yaml.YAMLError) as error:
            reason = f"its {META} cannot be read: {type(error).__name__}"
            self.skips.add(kind, reason, str(folder))
            return None
        if not isinstance(meta, dict):
            self.skips.add(kind, f"its {META} holds no fields", str(folder))
            return None
        return meta


def _run_folders(experiment: Path) -> Iterator[Path]:
    for folder in _subfolders(experiment):
        if folder.name not in _NOT_RUNS and (folder / META).is_file():
            yield folder


def _model_folders(experiment: Path) -> Iterator[Path]:
    for folder in _subfolders(experiment / "models"):
        if (folder / META).is_file():
            yield folder


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.is_symlink())


def _artifacts_of(folder: Path, said: object) -> str:
    """The folder beside the run where it is there: what was moved names its old place."""
    beside = folder / "artifacts"
    if beside.is_dir() and any(beside.iterdir()):
        return str(beside.resolve())
    return "" if said is None else str(said)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
