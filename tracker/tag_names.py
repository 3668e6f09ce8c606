"""The names of the tags that the SDK sets by itself: MLflow's where MLflow has one."""

from __future__ import annotations

from typing import Final

USER: Final = "mlflow.user"
SOURCE_NAME: Final = "mlflow.source.name"
SOURCE_TYPE: Final = "mlflow.source.type"
GIT_COMMIT: Final = "mlflow.source.git.commit"
GIT_BRANCH: Final = "mlflow.source.git.branch"
GIT_REPO_URL: Final = "mlflow.source.git.repoURL"
GIT_DIRTY: Final = "mlflow.source.git.dirty"
RUN_NAME: Final = "mlflow.runName"
PARENT_RUN_ID: Final = "mlflow.parentRunId"
NOTE: Final = "mlflow.note.content"
HOST: Final = "tracker.host"
COMMAND: Final = "tracker.command"
PYTHON: Final = "tracker.python"
PID: Final = "tracker.pid"
