"""The writing half of the plugin: runs and models by id, into the spool of this machine.

A run that this process creates, or that it takes up again after it had ended, is its own:
when the process dies the run has failed. Any other run is only joined. Nothing here asks a
network.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from tracker import config, starting, tag_names
from tracker.artifacts.recorder import ArtifactRecorder
from tracker.binding import Binding
from tracker.errors import ParamChanged
from tracker.events.ids import new_run_id
from tracker.events.types import EventType, RunStatus
from tracker.exits import Outcome
from tracker.fluent import session
from tracker.mlflow import spooled
from tracker.mlflow.own_runs import own_run
from tracker.mlflow.pending import LastPoint, PendingModels, PendingRun
from tracker.names import name_for
from tracker.run import Run
from tracker.starting import given

# Of runs that ended long ago the server knows more than we do.
_RUNS_KEPT_MAX: Final = 1_000


class Recorder:
    """Records for one destination. Thread-safe."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.models = PendingModels()
        self._lock = threading.RLock()
        self._runs: dict[str, Run] = {}
        self._pending: OrderedDict[str, PendingRun] = OrderedDict()
        self._workspace_artifacts: ArtifactRecorder | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._go_on_in_child)

    def _go_on_in_child(self) -> None:
        """After a fork, which may have come while another thread held the lock."""
        self._lock = threading.RLock()

    # -- runs -----------------------------------------------------------------------------

    def begin(
        self,
        binding: Binding,
        *,
        name: str | None,
        user: str,
        start_us: int,
        tags: Mapping[str, str],
    ) -> PendingRun:
        """A new run of this process."""
        run_id = new_run_id()
        shown = name or tags.get(tag_names.RUN_NAME) or name_for(run_id)
        fact = given(
            {
                "experiment_name": binding.name,
                "experiment_id": binding.experiment_id,
                "name": shown,
                "parent_run_id": tags.get(tag_names.PARENT_RUN_ID),
                "user": user,
                "start_time_us": start_us,
                "tags": {**tags, tag_names.RUN_NAME: shown},
            }
        )
        pending = PendingRun(run_id)
        pending.apply(EventType.RUN_STARTED, fact, start_us)
        with self._lock:
            self._open(run_id, binding, name=shown, fact=fact, kind=EventType.RUN_STARTED)
            self._keep(pending)
        return pending

    def resume(self, run_id: str, binding: Binding) -> None:
        """Take a run up again that had ended; from now on it is this process's."""
        with self._lock:
            self._open(run_id, binding, name=run_id, fact={}, kind=EventType.RUN_RESUMED)
            self.pending(run_id).apply(EventType.RUN_RESUMED, {}, _now_us())

    def is_own(self, run_id: str) -> bool:
        run = self._runs.get(run_id)
        return run is not None and run.is_owner and not run.is_ended

    def run(self, run_id: str) -> Run:
        """The handle to record with. Raises InvalidEvent for what is no run's id."""
        run = self._runs.get(run_id)
        if run is not None and not run.is_ended:
            return run
        with self._lock:
            run = self._runs.get(run_id)
            if run is None or run.is_ended:
                run = session.open_apart(
                    lambda settings, end, flush: starting.joined_run(
                        run_id, settings, end=end, flush=flush, uri=self.destination
                    )
                )
                self._runs[run_id] = run
            return run

    def log_metric(self, run_id: str, key: str, value: float, step: int, time_ms: int) -> None:
        (self._runs.get(run_id) or self.run(run_id)).log_metric(key, value, step, timestamp=time_ms)
        self.pending(run_id).point(key, LastPoint(step, time_ms * 1000, float(value)))

    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], step: int, time_ms: int
    ) -> None:
        """Points of one step and time: one record."""
        self.run(run_id).log_metrics(metrics, step, timestamp=time_ms)
        pending, time_us = self.pending(run_id), time_ms * 1000
        for key, value in metrics.items():
            pending.point(key, LastPoint(step, time_us, float(value)))

    def log_event(self, run_id: str, kind: EventType, data: Mapping[str, Any]) -> None:
        self.run(run_id).recording.log_event(kind, data)
        self.pending(run_id).apply(kind, data, _now_us())

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Raises ParamChanged for a param that this machine has logged with another value."""
        pending = self.pending(run_id)
        for key, value in params.items():
            if pending.params.get(key, value) != value:
                raise ParamChanged(key, old=pending.params[key], new=value)
        self.run(run_id).log_params(params)
        pending.apply(EventType.PARAMS_LOGGED, {"params": params}, _now_us())

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.run(run_id).set_tags(tags)
        pending = self.pending(run_id)
        pending.apply(EventType.TAGS_SET, {"tags": tags}, _now_us())
        pending.name = tags.get(tag_names.RUN_NAME, pending.name)

    def end(self, run_id: str, status: RunStatus, end_us: int | None) -> None:
        """End the run, and wait as every end of a run does; see tracker's exit_wait_s."""
        run = self.run(run_id)
        fact = given({"status": status.value, "end_time_us": end_us})
        if not run.is_owner:
            run.recording.log_event(EventType.RUN_ENDED, fact)
        self.pending(run_id).apply(EventType.RUN_ENDED, fact, _now_us())
        session.end(run, Outcome(status, end_time_us=end_us))

    # -- what was recorded ----------------------------------------------------------------

    def pending(self, run_id: str) -> PendingRun:
        """What this machine recorded of the run; read from the spool the first time."""
        pending = self._pending.get(run_id)
        if pending is None:
            with self._lock:
                pending = self._pending.get(run_id)
                if pending is None:
                    pending = PendingRun(run_id)
                    for row in spooled.facts(config.client_settings().spool_dir, run_id):
                        self._apply_spooled(pending, row)
                    self._keep(pending)
        return pending

    def begun(self) -> list[PendingRun]:
        """The runs whose beginning was recorded by this process, latest last."""
        with self._lock:
            return [pending for pending in self._pending.values() if pending.is_begun]

    def is_delivered(self, run_id: str, *, wait_s: float = 0.0) -> bool:
        """Whether the server has all that this process recorded of the run."""
        run = self._runs.get(run_id)
        if run is None:
            return not spooled.has_unsent(config.client_settings().spool_dir, run_id)
        if run.is_ended:
            progress = run.recording.latest_writer
            return progress is None or progress.acked_seq() >= progress.next_seq
        return run.flush(wait_s)

    # -- models ---------------------------------------------------------------------------

    def log_model_event(self, run_id: str | None, kind: EventType, data: Mapping[str, Any]) -> None:
        """A fact about a model, in its run's stream, or the workspace's if it has none."""
        if run_id:
            self.run(run_id).recording.log_event(kind, data)
        else:
            session.record_workspace_fact(kind, data, uri=self.destination)
        self.models.apply(kind, data, _now_us())

    def workspace_artifacts(self) -> ArtifactRecorder:
        """For files of models that no run has made."""
        with self._lock:
            if self._workspace_artifacts is None:
                self._workspace_artifacts = session.open_apart(
                    lambda settings, end, flush: starting.workspace_run(
                        settings, end=end, flush=flush, uri=self.destination
                    )
                ).artifacts
            return self._workspace_artifacts

    # -- inside ---------------------------------------------------------------------------

    def _open(
        self, run_id: str, binding: Binding, *, name: str, fact: Mapping[str, Any], kind: EventType
    ) -> None:
        make = partial(
            own_run, run_id, binding, name=name, kind=kind, fact=fact, uri=self.destination
        )
        self._runs[run_id] = session.open_apart(make)

    def _apply_spooled(self, pending: PendingRun, row: Mapping[str, Any]) -> None:
        if row["type"] == EventType.METRICS_LOGGED:
            for key, value in row["metrics"].items():
                pending.point(key, LastPoint(row["step"], row["time_us"], value))
        elif "data" in row:
            pending.apply(row["type"], row["data"], row["time_us"])
            self.models.apply(row["type"], row["data"], row["time_us"])

    def _keep(self, pending: PendingRun) -> None:
        self._pending[pending.run_id] = pending
        if len(self._pending) > _RUNS_KEPT_MAX:
            for run_id in list(self._pending):
                run = self._runs.get(run_id)
                if run is None or run.is_ended:
                    del self._pending[run_id]
                    self._runs.pop(run_id, None)
                    return


def _now_us() -> int:
    return time.time_ns() // 1000
