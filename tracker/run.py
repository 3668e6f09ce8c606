"""The handle of a run that is being recorded: what `start_run` returns.

A context manager: the run ends FINISHED when the block does, FAILED on an exception,
KILLED on KeyboardInterrupt. All methods are thread-safe, durable when they return, and
never wait for a network. Values and keys that cannot be recorded raise at the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from tracker import tag_names, values
from tracker.artifacts.methods import ArtifactMethods
from tracker.errors import ParamChanged
from tracker.events import limits
from tracker.events.errors import InvalidEvent
from tracker.events.types import EventType, RunStatus, check_key
from tracker.exits import Outcome, outcome_of
from tracker.snapshotting import SnapshotThread
from tracker.spool.framing import KEY_SEPARATOR
from tracker.spool.writer import SpoolClosed
from tracker.values import PLAIN, UNPACKABLE, time_us_of

if TYPE_CHECKING:
    from tracker.artifacts.recorder import ArtifactRecorder
    from tracker.entities import Metric, RunData, RunInfo, RunRecord
    from tracker.recording import Recording

# Keys and key sets seen before are not checked again; a run that invents a key per step
# must not fill memory with them.
_CACHED_KEYS_MAX: Final = 100_000
_CACHED_KEY_SETS_MAX: Final = 1_000
# Longer param values are remembered by their digest.
_REMEMBERED_CHARACTERS_MAX: Final = 1_024


class Run(ArtifactMethods):
    """A run of this process. `is_owner`: it ends the run; else it only joined it."""

    def __init__(
        self,
        *,
        recording: Recording,
        name: str,
        experiment_id: str,
        user_id: str,
        start_time_us: int,
        parent_run_id: str | None,
        tags: Mapping[str, str],
        end: Callable[[Run, Outcome], None],
        flush: Callable[[list[Run], float | None], bool],
    ) -> None:
        self.run_id: str = recording.plan.run_id
        self.name = name
        self.is_ended = False
        self.is_new = False  # begun here: no other process has logged to it before
        self.is_inherited = False  # from the process that forked this one
        self.outer: Run | None = None  # the run around this one in its thread or task
        self.thread_id = threading.get_ident()
        self.recording = recording
        self.experiment_id = experiment_id
        self.user_id = user_id
        self.start_time_us = start_time_us
        self._end_time_us: int | None = None
        self.parent_run_id = parent_run_id
        self._status = RunStatus.RUNNING
        self._outcome: Outcome | None = None
        self.tags = dict(tags)
        self._params: dict[str, str] = {}
        self._params_lock = threading.RLock()
        self._keys: dict[str, bytes] = {}
        self._key_sets: dict[tuple[str, ...], tuple[bytes, int]] = {}
        self._end = end
        self._flush = flush
        self._artifacts: ArtifactRecorder | None = None
        self._snapshot: SnapshotThread | None = None
        self._artifacts_lock = threading.Lock()

    # -- metrics ------------------------------------------------------------------------

    def log_metric(
        self,
        key: str,
        value: Any,
        step: int | None = None,
        synchronous: bool | None = None,
        timestamp: float | None = None,
    ) -> None:
        """Record one point of one metric.

        `value`: bool, int, float, or a numpy, torch or similar scalar; NaN and infinities
        are kept as they are. `step`: any int64 in any order; None is 0, as in MLflow.
        `timestamp`: milliseconds since 1970 UTC, now if None. `synchronous` is accepted
        for MLflow's sake: the record is durable when the call returns either way. Raises
        MetricTypeError, InvalidStep or InvalidEvent.
        """
        try:
            time_us = time_ns() // 1000 if timestamp is None else time_us_of(timestamp)
            if type(value) not in PLAIN:
                value = values.metric_value(key, value)
            self.recording.log_metric(
                self._keys.get(key) or self._key_bytes(key), value, step or 0, time_us
            )
        except UNPACKABLE:
            self._log_metric_with_care(key, value, step, timestamp)
        except SpoolClosed:  # another thread has ended the run; the recording opens anew
            self._log_metric_with_care(key, value, step, timestamp)

    def log_metrics(
        self,
        metrics: Mapping[str, Any],
        step: int | None = None,
        synchronous: bool | None = None,
        timestamp: float | None = None,
    ) -> None:
        """Record one point of each metric, all or none, with one step and time.

        More than 10,000 metrics are recorded in several pieces. Otherwise as log_metric.
        """
        try:
            time_us = time_ns() // 1000 if timestamp is None else time_us_of(timestamp)
            for value in metrics.values():
                if type(value) not in PLAIN:
                    metrics = values.metric_values(metrics)
                    break
            keys = tuple(metrics)
            block, k = self._key_sets.get(keys) or self._key_set(keys)
            self.recording.log_metrics(block, k, metrics.values(), step or 0, time_us)
        except UNPACKABLE:
            self._log_metrics_with_care(metrics, step, timestamp)
        except SpoolClosed:
            self._log_metrics_with_care(metrics, step, timestamp)

    def _log_metric_with_care(self, key: Any, value: Any, step: Any, timestamp: Any) -> None:
        """What the hot path could not pack: convert it, or say what is wrong with it."""
        checked = self._key_bytes(key)
        number = values.metric_value(key, value)
        time_us = time_ns() // 1000 if timestamp is None else time_us_of(timestamp)
        self.recording.open_and_log_metric(checked, number, values.step_value(step), time_us)

    def _log_metrics_with_care(self, metrics: Any, step: Any, timestamp: Any) -> None:
        if not isinstance(metrics, Mapping):
            raise InvalidEvent(
                f"metrics must be a dict of numbers, not {type(metrics).__name__}"
            ) from None
        items = [(self._key_bytes(key), values.metric_value(key, metrics[key])) for key in metrics]
        whole_step = values.step_value(step)
        time_us = time_ns() // 1000 if timestamp is None else time_us_of(timestamp)
        for start in range(0, len(items), limits.METRICS_PER_RECORD_MAX):
            piece = items[start : start + limits.METRICS_PER_RECORD_MAX]
            self.recording.open_and_log_metrics(
                KEY_SEPARATOR.join(key for key, _ in piece),
                len(piece),
                [number for _, number in piece],
                whole_step,
                time_us,
            )

    def _key_bytes(self, key: str) -> bytes:
        encoded = values.key_bytes(key)
        if len(self._keys) >= _CACHED_KEYS_MAX:
            self._keys.clear()
        self._keys[key] = encoded
        return encoded

    def _key_set(self, keys: tuple[str, ...]) -> tuple[bytes, int]:
        if not 0 < len(keys) <= limits.METRICS_PER_RECORD_MAX:
            raise ValueError("nothing to pack, or too much for one record")
        entry = (KEY_SEPARATOR.join(map(self._key_bytes, keys)), len(keys))
        if len(self._key_sets) >= _CACHED_KEY_SETS_MAX:
            self._key_sets.clear()
        self._key_sets[keys] = entry
        return entry

    # -- params and tags ----------------------------------------------------------------

    def log_param(self, key: str, value: Any, synchronous: bool | None = None) -> Any:
        """Record one param, str(value), and return `value`.

        A param never changes: another value for the same key raises ParamChanged in the
        process that logged the first one; the same value again is fine.
        """
        self.log_params({key: value})
        return value

    def log_params(self, params: Mapping[str, Any], synchronous: bool | None = None) -> None:
        """Record several params; all are checked before any is recorded."""
        texts = {key: values.param_text(key, params[key]) for key in _mapping(params, "params")}
        with self._params_lock:
            new: dict[str, str] = {}
            for key, text in texts.items():
                known = self._params.get(key)
                if known is None:
                    new[key] = text
                elif known != _remembered(text):
                    raise ParamChanged(key, old=known, new=text)
            for piece in values.chunks(new):
                self.recording.log_event(EventType.PARAMS_LOGGED, {"params": piece})
                self._params.update((key, _remembered(text)) for key, text in piece.items())

    def set_tag(self, key: str, value: Any, synchronous: bool | None = None) -> None:
        """Set one tag to str(value); the last value stands. mlflow.runName renames the run."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any], synchronous: bool | None = None) -> None:
        texts = {key: values.tag_text(key, tags[key]) for key in _mapping(tags, "tags")}
        for piece in values.chunks(texts):
            self.recording.log_event(EventType.TAGS_SET, {"tags": piece})
        if tag_names.RUN_NAME in texts:
            self.recording.log_event(EventType.RUN_UPDATED, {"name": texts[tag_names.RUN_NAME]})
            self.name = texts[tag_names.RUN_NAME]
        self.tags.update(texts)

    def delete_tag(self, key: str) -> None:
        """Take a tag away; one that is not there is fine."""
        check_key(key, what="tag")
        self.recording.log_event(EventType.TAG_DELETED, {"key": key})
        self.tags.pop(key, None)

    def log_input(
        self,
        dataset: Any = None,
        context: str | None = None,
        tags: Mapping[str, Any] | None = None,
        model: Any = None,
    ) -> None:
        """Record which data, or which logged model, the run reads; never the bytes.

        `dataset`: a frame of pandas or polars, a numpy array, a Hugging Face dataset, a path or
        URI, or a dataset of MLflow's; its name, digest, source and schema are recorded.
        `context`: "training", "validation" or the like; it and `tags` are of the dataset.
        `model`: a model's id, or what has one as `model_id`. As in MLflow each is an input of
        the run by itself, and without both nothing is recorded.
        """
        from tracker.artifacts import datasets

        given = _mapping(tags or {}, "tags")
        texts = {key: values.tag_text(key, given[key]) for key in given}
        if context is not None:
            texts[datasets.CONTEXT_TAG] = values.tag_text(datasets.CONTEXT_TAG, context)
        described = None if dataset is None else datasets.describe(dataset)
        if model is not None:
            self.recording.log_event(
                EventType.MODEL_INPUT_LOGGED, {"model_id": datasets.model_id_of(model)}
            )
        if described is not None:
            self.recording.log_event(EventType.INPUT_LOGGED, {**described.fact(), "tags": texts})

    @property
    def artifacts(self) -> ArtifactRecorder:
        """Stages and records the files this process logs to the run."""
        if self._artifacts is None:
            from tracker.artifacts.recorder import ArtifactRecorder

            with self._artifacts_lock:
                if self._artifacts is None:
                    self._artifacts = ArtifactRecorder(self.recording.plan)
        return self._artifacts

    def take_snapshot(self, what: str) -> None:
        """Keep what the run is made with, soon, off this thread; see tracker.snapshotting."""
        self._snapshot = SnapshotThread(self, what)

    def finish_artifacts(self, timeout_s: float) -> bool:
        """Let what is being staged for this run come to its end; whether it did in that time."""
        deadline = monotonic() + timeout_s
        snapshot = self._snapshot
        if snapshot is not None:
            if not snapshot.finish(timeout_s):
                return False
            self._snapshot = None
        return self._artifacts is None or self._artifacts.finish(max(0.0, deadline - monotonic()))

    @property
    def opened_artifacts(self) -> ArtifactRecorder | None:
        """The same if this process has logged any, else None."""
        return self._artifacts

    # -- the end ------------------------------------------------------------------------

    def end_run(self, status: str = "FINISHED") -> None:
        """End the run, and wait a bounded time until it is delivered. Twice is fine.

        A run that was only joined goes on; this process has left it. What is logged later
        through this handle still reaches the run.
        """
        self._end(self, Outcome(status_of(status)))

    def flush(self, timeout: float | None = None) -> bool:
        """Put this run's records on disk and wait for their delivery; see tracker.flush."""
        return self._flush([self], timeout)

    def mark_ended(self, outcome: Outcome) -> Outcome:
        """How it ends: as was said first, should it be said again before the end is recorded."""
        if self._outcome is None:
            self._outcome = outcome
            self._status = outcome.status
            self._end_time_us = time_ns() // 1000
        self.is_ended = True
        return self._outcome

    @property
    def is_end_owed(self) -> bool:
        """Whether the end was begun and not recorded: by another thread, or cut short."""
        return self.is_ended and self.is_owner

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(self, outcome_of(error))

    # -- what this process knows of it --------------------------------------------------

    @property
    def is_owner(self) -> bool:
        return self.recording.is_owner

    @property
    def info(self) -> RunInfo:
        """The run's attributes as this process knows them, in MLflow's shape."""
        from tracker.entities import RunInfo

        return RunInfo(
            run_id=self.run_id,
            run_name=self.name,
            experiment_id=self.experiment_id,
            user_id=self.user_id,
            status=self._status.value,
            lifecycle_stage="active",
            start_time_us=self.start_time_us,
            end_time_us=self._end_time_us,
            liveness="ended" if self.is_ended else "live",
            end_reason=None,
            end_detail=None,
            parent_run_id=self.parent_run_id,
        )

    @property
    def data(self) -> RunData:
        """Params and tags this process has logged. Metrics are not kept; see `fetch`."""
        from tracker.entities import RunData

        return RunData(metrics={}, params=dict(self._params), tags=dict(self.tags), summaries={})

    def fetch(self) -> RunRecord:
        """The run as the server knows it."""
        from tracker.queries import get_run

        return get_run(self.run_id)

    def get_metric_history(self, key: str) -> list[Metric]:
        """Every point of a metric that the server has of this run, in order of step."""
        from tracker.queries import get_metric_history

        return get_metric_history(self.run_id, key)

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.run_id} {self._status}>"

    def add_context(self, tags: dict[str, str]) -> None:
        """Take tags that were found out late; nothing happens if the run has ended."""
        self.tags.update(tags)
        self.recording.log_event_if_open(EventType.TAGS_SET, {"tags": tags})

    def leave_to_parent(self) -> None:
        """After a fork, in the child: go on as a further writer of the run."""
        self.is_inherited = True
        self._params_lock = threading.RLock()
        self._artifacts_lock = threading.Lock()
        self._snapshot = None
        self.recording.leave_to_parent()
        if self._artifacts is not None:
            self._artifacts.leave_to_parent()


def status_of(status: str) -> RunStatus:
    try:
        return RunStatus(status)
    except ValueError:
        names = ", ".join(RunStatus.__members__)
        raise InvalidEvent(f"status {status!r} is none of {names}") from None


def _mapping(entries: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(entries, Mapping):
        raise InvalidEvent(f"{what} must be a dict, not {type(entries).__name__}")
    return entries


def _remembered(text: str) -> str:
    if len(text) <= _REMEMBERED_CHARACTERS_MAX:
        return text
    from hashlib import sha256

    return f"{text[:60]}… ({len(text)} characters, sha256 {sha256(text.encode()).hexdigest()})"
