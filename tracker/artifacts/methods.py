"""The artifact methods of a run: MLflow's names and arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.artifacts.recorder import ArtifactRecorder
    from tracker.artifacts.trees import ArtifactInfo


class ArtifactMethods:
    """What logs stages and returns, what reads asks the server. Raises InvalidEvent for
    paths and contents that cannot be logged, OSError for files that cannot be read, and a
    QueryFailed for what the server does not answer."""

    run_id: str

    @property
    def artifacts(self) -> ArtifactRecorder:
        raise NotImplementedError

    def log_artifact(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str | None = None,
        *,
        reference: bool = False,
    ) -> None:
        """Log a file, or a folder as log_artifacts does, into the folder `artifact_path`.

        With reference=True `local_path` is a URI (s3://…, https://…, or a path), and what is
        recorded is where it lies and its ETag, never its bytes.
        """
        from tracker.artifacts import files

        if reference:
            files.log_reference(self.artifacts, str(local_path), artifact_path)
        else:
            files.log_path(self.artifacts, Path(local_path), artifact_path)

    def log_artifacts(
        self, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Log every file of a folder. Links out of it are not followed."""
        from tracker.artifacts import files

        files.log_folder(self.artifacts, Path(local_dir), artifact_path)

    def log_text(self, text: str, artifact_file: str) -> None:
        """Log text as a file, in UTF-8."""
        from tracker.artifacts import content

        self.artifacts.log_bytes(content.text_bytes(text), artifact_file)

    def log_dict(self, dictionary: Mapping[str, Any] | list[Any], artifact_file: str) -> None:
        """Log a dictionary or list as JSON, or as YAML if the name ends with .yaml or .yml."""
        from tracker.artifacts import content

        self.artifacts.log_bytes(content.dict_bytes(dictionary, artifact_file), artifact_file)

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
        synchronous: bool | None = None,
    ) -> None:
        """Log a PIL image, or an array (height, width[, 1, 3 or 4]) of numpy's or torch's.

        Integers are 0 to 255, floats 0 to 1, bools black and white. With `key` instead of
        `artifact_file` the image is one of a series by step.
        """
        from tracker.artifacts import images

        path = images.path_of(artifact_file, key=key, step=step, timestamp=timestamp)
        self.artifacts.log_bytes(images.image_bytes(image, path), path)

    def log_figure(
        self, figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Log a matplotlib figure (format by the name's ending) or a plotly one (.html or an
        image format)."""
        from tracker.artifacts import images

        self.artifacts.log_bytes(
            images.figure_bytes(figure, artifact_file, save_kwargs or {}), artifact_file
        )

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Log rows as a table: a list of dicts, a dict of columns, a pandas or polars frame.

        Logged again under the same name in one process, rows are added to the earlier ones;
        a run that is resumed first takes what the server has. The file is JSON with `columns`
        and `data`, as MLflow's tables are, or Parquet if the name ends with .parquet.
        """
        from tracker.artifacts import tables

        tables.log_table(self.artifacts, self.run_id, data, artifact_file)

    # -- what the server has of them -----------------------------------------------------

    def list_artifacts(self, artifact_path: str | None = None) -> list[ArtifactInfo]:
        """What lies in a folder of the run's artifacts; see tracker.list_artifacts."""
        from tracker.artifacts import reading

        return reading.list_artifacts(run_id=self.run_id, artifact_path=artifact_path)

    def download_artifacts(
        self,
        artifact_path: str | None = None,
        dst_path: str | os.PathLike[str] | None = None,
    ) -> str:
        """Download a file or folder of the run, verified; see tracker.download_artifacts."""
        from tracker.artifacts import reading

        return reading.download_artifacts(
            run_id=self.run_id, artifact_path=artifact_path, dst_path=dst_path
        )

    def load_artifact(self, artifact_path: str) -> Any:
        """A file of the run as what it holds; see tracker.load_artifact."""
        from tracker.artifacts import reading

        return reading.load_artifact(artifact_path, self.run_id)
