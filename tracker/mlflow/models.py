"""The part of the store about MLflow 3's logged models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from tracker.events.limits import MODEL_METRICS_PER_EVENT_MAX
from tracker.events.types import EventType
from tracker.mlflow import entities
from tracker.mlflow.errors import Unreachable
from tracker.names import name_for

if TYPE_CHECKING:
    from tracker.mlflow.asking import AskingStore
    from tracker.mlflow.recorder import Recorder


class LoggedModels:
    """Models are created here, with ids minted here; the server learns of them later."""

    recorder: Recorder
    rest: AskingStore

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Any = None,
        params: Any = None,
        model_type: str | None = None,
    ) -> Any:
        model_id = f"m-{os.urandom(16).hex()}"
        fact = {
            "model_id": model_id,
            "experiment_id": str(experiment_id),
            "name": name or name_for(model_id),
            "source_run_id": source_run_id,
            "model_type": model_type,
            "params": _texts(params),
            "tags": _texts(tags),
        }
        self._log(source_run_id, EventType.MODEL_CREATED, _given(fact))
        return self.get_logged_model(model_id)

    def finalize_logged_model(self, model_id: str, status: Any) -> Any:
        fact = {"model_id": model_id, "status": status.value}
        self._log(self._run_of(model_id), EventType.MODEL_FINALIZED, fact)
        return self.get_logged_model(model_id)

    def log_logged_model_params(self, model_id: str, params: Any) -> None:
        fact = {"model_id": model_id, "params": _texts(params)}
        self._log(self._run_of(model_id), EventType.MODEL_PARAMS_LOGGED, fact)

    def set_logged_model_tags(self, model_id: str, tags: Any) -> None:
        fact = {"model_id": model_id, "tags": _texts(tags)}
        self._log(self._run_of(model_id), EventType.MODEL_TAGS_SET, fact)

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        fact = {"model_id": model_id, "key": key}
        self._log(self._run_of(model_id), EventType.MODEL_TAG_DELETED, fact)

    def log_outputs(self, run_id: str, models: Any) -> None:
        for model in models:
            fact = {"model_id": model.model_id, "step": model.step or 0}
            self.recorder.log_event(run_id, EventType.MODEL_OUTPUT_LOGGED, fact)

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """The tag that MLflow 2 keeps a run's models in."""
        import json

        name = "mlflow.log-model.history"
        known = self.recorder.pending(run_id).tags.get(name)
        history = [*(json.loads(known) if known else ()), mlflow_model.get_tags_dict()]
        self.recorder.set_tags(run_id, {name: json.dumps(history)})

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> Any:
        """This machine's own models are known here, from the moment they are created."""
        pending = self.recorder.models.find(model_id)
        if pending is not None and (
            not pending.source_run_id or not self.recorder.is_delivered(pending.source_run_id)
        ):
            return entities.model_of(pending)
        try:
            found = self.rest.get_logged_model(model_id, **_deleted(allow_deleted))
        except (Unreachable, MlflowException):
            if pending is None:
                raise
            return entities.model_of(pending)
        return entities.model_with_own_uri(found)

    def search_logged_models(self, *args: Any, **kwargs: Any) -> Any:
        found = self.rest.search_logged_models(*args, **kwargs)
        found[:] = [entities.model_with_own_uri(model) for model in found]
        return found

    def log_model_metrics(self, run_id: str, metrics: Sequence[Any]) -> None:
        """Metrics that MLflow's caller linked to a model; they are the run's as well."""
        of_model: dict[str, list[list[Any]]] = {}
        for metric in metrics:
            of_model.setdefault(metric.model_id, []).append(
                [
                    metric.key,
                    _number(metric.value),
                    metric.step or 0,
                    metric.timestamp * 1000,
                    metric.dataset_name,
                    metric.dataset_digest,
                ]
            )
        for model_id, rows in of_model.items():
            for start in range(0, len(rows), MODEL_METRICS_PER_EVENT_MAX):
                piece = rows[start : start + MODEL_METRICS_PER_EVENT_MAX]
                fact = {"model_id": model_id, "run_id": run_id, "metrics": piece}
                self._log(run_id, EventType.MODEL_METRICS_LOGGED, fact)

    def _run_of(self, model_id: str) -> str | None:
        pending = self.recorder.models.find(model_id)
        return pending.source_run_id if pending else None

    def _log(self, run_id: str | None, kind: EventType, fact: Mapping[str, Any]) -> None:
        self.recorder.log_model_event(run_id, kind, fact)


def _texts(entries: Any) -> dict[str, str]:
    if isinstance(entries, Mapping):
        return {key: str(value) for key, value in entries.items()}
    return {entry.key: str(entry.value) for entry in entries or ()}


def _given(fact: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fact.items() if value is not None}


def _deleted(allow_deleted: bool) -> dict[str, bool]:
    """MLflow before 3.5 has no such argument."""
    return {"allow_deleted": True} if allow_deleted else {}


def _number(value: float) -> float | str:
    """A value as model.metrics_logged has it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return float(value)
