"""The tracking store MLflow uses for tracker+http://, tracker+https:// and tracker://.

Writing goes to the spool and never waits for a network. Reading asks the server and lays
over its answer what this machine has recorded and the server has not got yet; without a
server, what this machine recorded is the answer. What needs the server's decision (to
delete, restore or rename something) is asked of it and fails, clearly, without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from mlflow.entities import Metric, Run, RunInfo, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.abstract_store import AbstractStore

from tracker import tag_names
from tracker.binding import Binding
from tracker.events.types import EventType
from tracker.events.types import RunStatus as Status
from tracker.mlflow import entities
from tracker.mlflow.addresses import Server, destination_of
from tracker.mlflow.asking import AskingStore, forwarding
from tracker.mlflow.errors import refusals
from tracker.mlflow.experiments import Experiments
from tracker.mlflow.models import LoggedModels
from tracker.mlflow.reading import Reading
from tracker.mlflow.recorder import Recorder


@forwarding
class TrackerStore(LoggedModels, AbstractStore):  # type: ignore[misc]  # mlflow has no types
    """Not a RestStore: those are asked over the network at every end of a run."""

    def __init__(self, store_uri: str | None = None, artifact_uri: str | None = None) -> None:
        """`store_uri` is MLflow's tracking URI. Raises InvalidUri."""
        self.destination = destination_of(store_uri or "tracker://")
        self.recorder = Recorder(self.destination)
        self.rest = AskingStore(Server(self.destination))
        self.experiments = Experiments(self.rest)
        self.reading = Reading(self.recorder, self.rest)
        super().__init__()

    # -- experiments ------------------------------------------------------------------------

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Any = None
    ) -> str:
        return self.experiments.create(name, artifact_location, tags)

    def get_experiment(self, experiment_id: str) -> Any:
        return self.experiments.get(experiment_id)

    def get_experiment_by_name(self, experiment_name: str) -> Any:
        return self.experiments.get_by_name(experiment_name)

    def set_experiment_tag(self, experiment_id: str, tag: Any) -> None:
        self.experiments.set_tag(experiment_id, tag)

    # -- runs -------------------------------------------------------------------------------

    def create_run(
        self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str | None
    ) -> Run:
        texts = {tag.key: str(tag.value) for tag in tags or ()}
        start_us = start_time * 1000 if start_time else time.time_ns() // 1000
        with refusals():
            pending = self.recorder.begin(
                self.experiments.binding(experiment_id),
                name=run_name,
                user=user_id or "",
                start_us=start_us,
                tags=texts,
            )
        return entities.run_of(pending)

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        with refusals():
            if run_name:
                self.recorder.log_event(run_id, EventType.RUN_UPDATED, {"name": run_name})
                self.recorder.set_tags(run_id, {tag_names.RUN_NAME: run_name})
            if run_status is not None:
                status = Status(RunStatus.to_string(run_status))
                self._say_status(run_id, status, None if end_time is None else end_time * 1000)
        return entities.run_of(self.recorder.pending(run_id)).info

    def _say_status(self, run_id: str, status: Status, end_us: int | None) -> None:
        if status.is_terminal:
            self.recorder.end(run_id, status, end_us)
        elif status is Status.RUNNING and not self.recorder.is_own(run_id):
            # Whoever takes up a run that had ended is its owner; a run that goes on elsewhere
            # is joined.
            known = self.reading.status(run_id)
            if known is not None and known in Status.__members__ and Status(known).is_terminal:
                self.recorder.resume(run_id, Binding())
        else:
            self.recorder.log_event(run_id, EventType.RUN_UPDATED, {"status": status.value})

    def delete_run(self, run_id: str) -> None:
        self.reading.is_delivered(run_id)  # what the server does not know, it cannot delete
        self.rest.delete_run(run_id)

    def restore_run(self, run_id: str) -> None:
        self.reading.is_delivered(run_id)
        self.rest.restore_run(run_id)

    # -- logging ----------------------------------------------------------------------------

    def log_metric(self, run_id: str, metric: Metric) -> None:
        with refusals():
            self.recorder.log_metric(
                run_id, metric.key, metric.value, metric.step or 0, metric.timestamp
            )
            if getattr(metric, "model_id", None):
                self.log_model_metrics(run_id, [metric])

    def log_param(self, run_id: str, param: Any) -> None:
        self.log_batch(run_id, (), (param,), ())

    def set_tag(self, run_id: str, tag: Any) -> None:
        self.log_batch(run_id, (), (), (tag,))

    def delete_tag(self, run_id: str, key: str) -> None:
        pending = self.recorder.pending(run_id)
        if pending.is_begun and pending.tags.get(key) is None:
            raise MlflowException(
                f"No tag with name: {key} in run with id {run_id}",
                error_code=RESOURCE_DOES_NOT_EXIST,
            )
        with refusals():
            self.recorder.log_event(run_id, EventType.TAG_DELETED, {"key": key})

    def log_batch(
        self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
    ) -> None:
        with refusals():
            # As MLflow does: a param that cannot be logged refuses what comes with it.
            if params:
                self.recorder.log_params(run_id, {p.key: str(p.value) for p in params})
            for (step, time_ms), values in _records(metrics):
                self.recorder.log_metrics(run_id, values, step, time_ms)
            if tags:
                self.recorder.set_tags(run_id, {t.key: str(t.value) for t in tags})
            of_models = [m for m in metrics if getattr(m, "model_id", None)]
            if of_models:
                self.log_model_metrics(run_id, of_models)

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> None:
        with refusals():
            for item in datasets or ():
                dataset = item.dataset
                fact = {
                    "name": dataset.name,
                    "digest": dataset.digest,
                    "source_type": dataset.source_type,
                    "source": dataset.source,
                    "schema": dataset.schema,
                    "profile": dataset.profile,
                    "tags": {tag.key: str(tag.value) for tag in item.tags or ()},
                }
                known = {key: value for key, value in fact.items() if value is not None}
                self.recorder.log_event(run_id, EventType.INPUT_LOGGED, known)
            for model in models or ():
                self.recorder.log_event(
                    run_id, EventType.MODEL_INPUT_LOGGED, {"model_id": model.model_id}
                )

    # -- reading ----------------------------------------------------------------------------

    def get_run(self, run_id: str) -> Run:
        return self.reading.run(run_id)

    def get_metric_history(
        self,
        run_id: str,
        metric_key: str,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> PagedList[Metric]:
        return self.reading.metric_history(run_id, metric_key, max_results, page_token)

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: Any,
        max_results: int,
        order_by: Any,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        return self.reading.search(
            experiment_ids, filter_string, run_view_type, max_results, order_by, page_token
        )


def _records(metrics: Sequence[Any]) -> Iterator[tuple[tuple[int, int], dict[str, float]]]:
    """((step, time), values): metrics that follow each other and make one record."""
    for point, same in groupby(metrics, key=lambda m: (m.step or 0, m.timestamp)):
        values: dict[str, float] = {}
        for metric in same:
            if metric.key in values:
                yield point, values
                values = {}
            values[metric.key] = metric.value
        yield point, values
