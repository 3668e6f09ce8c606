"""What this machine has recorded about a run or a logged model, as far as it is known here.

MLflow's programs read what they have just written. The server knows it as soon as it is
delivered; until then, and while there is no server, the answer comes from here. The rules
are those of the server's fold, for the facts of one machine in the order they were made.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tracker.events.types import EventType

# A run that logs a new key every step must not fill the training's memory.
METRICS_KEPT_MAX: Final = 10_000
# Of models that were made long ago the server knows more than we do.
_MODELS_KEPT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class LastPoint:
    """The point that stands for a metric: the greatest step, then time, then value."""

    step: int
    time_us: int
    value: float

    def rank(self) -> tuple[int, int, bool, float]:
        is_number = not math.isnan(self.value)
        return (self.step, self.time_us, is_number, self.value if is_number else 0.0)


@dataclass(slots=True)
class PendingRun:
    """`is_begun`: its beginning was recorded here, so it can be shown without a server."""

    run_id: str
    is_begun: bool = False
    experiment_id: str = ""
    experiment_name: str | None = None
    name: str | None = None
    user: str = ""
    status: str | None = None
    start_us: int = 0
    end_us: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)
    metrics: dict[str, LastPoint] = field(default_factory=dict)
    inputs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    model_inputs: dict[str, None] = field(default_factory=dict)
    model_outputs: dict[str, int] = field(default_factory=dict)

    def point(self, key: str, point: LastPoint) -> None:
        known = self.metrics.get(key)
        if known is None:
            if len(self.metrics) < METRICS_KEPT_MAX:
                self.metrics[key] = point
        elif point.rank() >= known.rank():
            self.metrics[key] = point

    def apply(self, kind: str, data: Mapping[str, Any], time_us: int) -> None:
        """Fold one fact; those that say nothing about the run itself change nothing."""
        match kind:
            case EventType.RUN_STARTED:
                self._begin(data, time_us)
            case EventType.RUN_RESUMED:
                self.status, self.end_us = "RUNNING", None
            case EventType.RUN_UPDATED:
                self.name = data.get("name") or self.name
                self.status = data.get("status") or self.status
                self.end_us = data.get("end_time_us", self.end_us)
            case EventType.RUN_ENDED:
                self.status = data["status"]
                self.end_us = data.get("end_time_us") or time_us
            case EventType.PARAMS_LOGGED:
                self.params = {**data["params"], **self.params}  # the first value stands
            case EventType.TAGS_SET:
                self.tags.update(data["tags"])
            case EventType.TAG_DELETED:
                self.tags[data["key"]] = None
            case EventType.INPUT_LOGGED:
                known = self.inputs.get((data["name"], data["digest"]), {})
                tags = {**(known.get("tags") or {}), **(data.get("tags") or {})}
                self.inputs[data["name"], data["digest"]] = {**known, **data, "tags": tags}
            case EventType.MODEL_INPUT_LOGGED:
                self.model_inputs[data["model_id"]] = None
            case EventType.MODEL_OUTPUT_LOGGED:
                self.model_outputs[data["model_id"]] = int(data.get("step") or 0)

    def _begin(self, data: Mapping[str, Any], time_us: int) -> None:
        if not self.is_begun:
            self.is_begun = True
            self.experiment_id = data.get("experiment_id") or ""
            self.experiment_name = data.get("experiment_name")
            self.user = data.get("user") or ""
            self.start_us = data.get("start_time_us") or time_us
        self.name = data.get("name") or self.name
        self.status = data.get("status") or self.status or "RUNNING"
        self.tags.update(data.get("tags") or {})


class PendingModels:
    """The models this machine has recorded, the latest of them. Thread-safe."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, PendingModel] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, model_id: str) -> PendingModel | None:
        return self._models.get(model_id)

    def apply(self, kind: str, data: Mapping[str, Any], time_us: int) -> None:
        """Fold one fact; those that are about no model, or an unknown one, change nothing."""
        model_id = data.get("model_id")
        with self._lock:
            if kind == EventType.MODEL_CREATED:
                self._models[data["model_id"]] = PendingModel.created(data, time_us)
                if len(self._models) > _MODELS_KEPT_MAX:
                    self._models.popitem(last=False)
            elif model_id is not None and (model := self._models.get(model_id)) is not None:
                model.apply(kind, data, time_us)


@dataclass(slots=True)
class PendingModel:
    model_id: str
    experiment_id: str
    name: str
    source_run_id: str | None
    model_type: str | None
    created_us: int
    updated_us: int
    status: str = "PENDING"
    message: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Sequence[Any]] = field(default_factory=list)  # as model.metrics_logged has them

    @classmethod
    def created(cls, data: Mapping[str, Any], time_us: int) -> PendingModel:
        return cls(
            model_id=data["model_id"],
            experiment_id=data["experiment_id"],
            name=data.get("name") or "",
            source_run_id=data.get("source_run_id"),
            model_type=data.get("model_type"),
            created_us=time_us,
            updated_us=time_us,
            params=dict(data.get("params") or {}),
            tags=dict(data.get("tags") or {}),
        )

    def apply(self, kind: str, data: Mapping[str, Any], time_us: int) -> None:
        self.updated_us = max(self.updated_us, time_us)
        match kind:
            case EventType.MODEL_FINALIZED:
                self.status, self.message = data["status"], data.get("message")
            case EventType.MODEL_PARAMS_LOGGED:
                self.params = {**data["params"], **self.params}
            case EventType.MODEL_TAGS_SET:
                self.tags.update(data["tags"])
            case EventType.MODEL_TAG_DELETED:
                self.tags.pop(data["key"], None)
            case EventType.MODEL_METRICS_LOGGED:
                room = METRICS_KEPT_MAX - len(self.metrics)
                self.metrics.extend(data["metrics"][:room])
