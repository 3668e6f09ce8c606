"""The tracking store MLflow uses for tracker+http://, tracker+https:// and tracker://.

Writing goes to the spool and never waits for a network. Reading asks the server and lays
over its answer what this machine has recorded and the server has not got yet; without a
server, what this machine recorded is the answer. What needs the server's decision (to
delete, restore or rename something) is asked of it and fails, clearly, without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from mlflow.entities import Metric, Run, RunInfo, RunStatus, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.search_utils import SearchUtils

from tracker import config
from tracker.binding import Binding
from tracker.errors import ParamChanged
from tracker.events.errors import TrackerError
from tracker.events.ids import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME, experiment_id_for
from tracker.events.types import EventType
from tracker.events.types import RunStatus as Status
from tracker.fluent import session
from tracker.mlflow import entities, spooled
from tracker.mlflow.addresses import Server, destination_of
from tracker.mlflow.asking import AskingStore, Unreachable, forwarding
from tracker.mlflow.models import LoggedModels
from tracker.mlflow.recorder import Recorder

_logger: Final = logging.getLogger("tracker.mlflow")

# A read waits so long for what this process wrote just before; a shipper takes milliseconds.
_OWN_WRITES_WAIT_S: Final = 1.0


@forwarding
class TrackerStore(LoggedModels, AbstractStore):  # type: ignore[misc]  # mlflow has no types
    """Not a RestStore: those are asked over the network at every end of a run."""

    def __init__(self, store_uri: str | None = None, artifact_uri: str | None = None) -> None:
        """`store_uri` is MLflow's tracking URI. Raises InvalidUri."""
        self.destination = destination_of(store_uri or "tracker://")
        self.recorder = Recorder(self.destination)
        self._experiments: dict[str, Any] = {
            DEFAULT_EXPERIMENT_ID: entities.local_experiment(
                DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME
            )
        }
        self._statuses: dict[str, str] = {}
        self.rest = AskingStore(Server(self.destination))
        super().__init__()

    # -- experiments ------------------------------------------------------------------------

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Any = None
    ) -> str:
        """Created by the server; without one, recorded under the id that follows from the name."""
        try:
            experiment_id: str = self.rest.create_experiment(name, artifact_location, tags)
        except Unreachable:
            experiment_id = experiment_id_for(name)
            fact = {
                "experiment_id": experiment_id,
                "name": name,
                "tags": {tag.key: str(tag.value) for tag in tags or ()},
            }
            if artifact_location is not None:
                fact["artifact_location"] = artifact_location
            with refusals():
                session.record_workspace_fact(
                    EventType.EXPERIMENT_CREATED, fact, uri=self.destination
                )
        self._experiments[experiment_id] = entities.local_experiment(
            experiment_id, name, tags or ()
        )
        return experiment_id

    def get_experiment(self, experiment_id: str) -> Any:
        try:
            return self._known(self.rest.get_experiment(experiment_id))
        except Unreachable:
            if str(experiment_id) in self._experiments:
                return self._experiments[str(experiment_id)]
            raise

    def get_experiment_by_name(self, experiment_name: str) -> Any:
        """None, too, for a name that nobody here has used while no server answers."""
        try:
            found = self.rest.get_experiment_by_name(experiment_name)
        except Unreachable:
            named = (e for e in self._experiments.values() if e.name == experiment_name)
            return next(named, None)
        return None if found is None else self._known(found)

    def _known(self, experiment: Any) -> Any:
        self._experiments[experiment.experiment_id] = experiment
        return experiment

    def _binding(self, experiment_id: str) -> Binding:
        known = self._experiments.get(str(experiment_id))
        return Binding(known.name if known else None, str(experiment_id))

    # -- runs -------------------------------------------------------------------------------

    def create_run(
        self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str | None
    ) -> Run:
        texts = {tag.key: str(tag.value) for tag in tags or ()}
        start_us = start_time * 1000 if start_time else time.time_ns() // 1000
        with refusals():
            pending = self.recorder.begin(
                self._binding(experiment_id),
                name=run_name,
                user=user_id or "",
                start_us=start_us,
                tags=texts,
            )
        return entities.run_of(pending)

    def get_run(self, run_id: str) -> Run:
        is_delivered = self._is_delivered(run_id)
        try:
            found = self.rest.get_run(run_id)
        except Unreachable:
            pending = self.recorder.pending(run_id)
            if not pending.is_begun:
                raise
            return entities.run_of(pending)
        except MlflowException as error:
            pending = self.recorder.pending(run_id)
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" or not pending.is_begun:
                raise
            return entities.run_of(pending)
        self._statuses[run_id] = found.info.status
        if is_delivered:
            return entities.with_own_uri(found)
        return entities.run_of(self.recorder.pending(run_id), found)

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        with refusals():
            if run_name:
                self.recorder.log_event(run_id, EventType.RUN_UPDATED, {"name": run_name})
                self.recorder.set_tags(run_id, {"mlflow.runName": run_name})
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
            known = self._statuses.get(run_id) or self.recorder.pending(run_id).status
            if known is not None and known in Status.__members__ and Status(known).is_terminal:
                self.recorder.resume(run_id, Binding())
        else:
            self.recorder.log_event(run_id, EventType.RUN_UPDATED, {"status": status.value})

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
            for metric in metrics:
                self.recorder.log_metric(
                    run_id, metric.key, metric.value, metric.step or 0, metric.timestamp
                )
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

    def _is_delivered(self, run_id: str) -> bool:
        """Whether the server's answer includes what this machine recorded; waits a moment."""
        wait_s = _OWN_WRITES_WAIT_S if self.rest.server.address() is not None else 0.0
        return self.recorder.is_delivered(run_id, wait_s=wait_s)

    def wait_for_own_writes(self, run_id: str) -> None:
        """Give what this process has logged to the run, files too, a moment to be delivered."""
        self._is_delivered(run_id)

    # -- reading ----------------------------------------------------------------------------

    def get_metric_history(
        self,
        run_id: str,
        metric_key: str,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> PagedList[Metric]:
        is_delivered = self._is_delivered(run_id)
        try:
            found = self.rest.get_metric_history(run_id, metric_key, max_results, page_token)
        except Unreachable:
            if not self.recorder.pending(run_id).is_begun:
                raise
            _logger.warning(
                "no server answers: the history of %s is what still lies in this machine's spool",
                metric_key,
            )
            return PagedList(self._spooled_points(run_id, metric_key), None)
        except MlflowException as error:
            pending = self.recorder.pending(run_id)
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" or not pending.is_begun:
                raise
            return PagedList(self._spooled_points(run_id, metric_key), None)
        if is_delivered or page_token or found.token:
            return found
        # Undelivered points may be among the server's by now: each is listed once.
        known = {(m.step, m.timestamp, repr(m.value)) for m in found}
        more = self._spooled_points(run_id, metric_key)
        fresh = [m for m in more if (m.step, m.timestamp, repr(m.value)) not in known]
        return PagedList([*found, *fresh], None)

    def _spooled_points(self, run_id: str, key: str) -> list[Metric]:
        points = spooled.points(config.client_settings().spool_dir, run_id, key)
        return [
            Metric(key, entities.clipped(value), time_us // 1000, step)
            for step, time_us, value in points
        ]

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: Any,
        max_results: int,
        order_by: Any,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        """The server's page, with the runs it does not know yet merged into the first one."""
        waiting = [
            pending for pending in self.recorder.begun() if not self._is_delivered(pending.run_id)
        ]
        found: list[Run] = []
        token: str | None = None
        try:
            found, token = self.rest._search_runs(
                experiment_ids, filter_string, run_view_type, max_results, order_by, page_token
            )
        except Unreachable:
            if not waiting:
                raise
            _logger.warning("no server answers: only the runs of this process are searched")
        if page_token or not waiting or run_view_type == ViewType.DELETED_ONLY:
            return [entities.with_own_uri(run) for run in found], token
        runs = {run.info.run_id: entities.with_own_uri(run) for run in found}
        servers = {run.info.run_id: run for run in found}
        own = [entities.run_of(p, servers.get(p.run_id)) for p in waiting]
        wanted = {str(experiment_id) for experiment_id in experiment_ids}
        for run in SearchUtils.filter(
            [run for run in own if run.info.experiment_id in wanted], filter_string
        ):
            runs[run.info.run_id] = run
        return SearchUtils.sort(list(runs.values()), order_by)[:max_results], token


@contextmanager
def refusals() -> Iterator[None]:
    """What tracker refuses, as the error that MLflow's users catch."""
    try:
        yield
    except ParamChanged as error:
        raise MlflowException(
            "Changing param values is not allowed. Param with key="
            f"'{error.key}' was already logged with value='{error.old}'. "
            f"Attempted logging new value '{error.new}'.",
            error_code=INVALID_PARAMETER_VALUE,
        ) from error
    except TrackerError as error:
        raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error
