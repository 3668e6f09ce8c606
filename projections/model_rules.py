"""The rules of logged models: what is said of one, by whom and whenever.

A model is born with its model.created; of several the smallest order stands. Params stand as
said by the smallest order, tags and status by the greatest (of equal orders the greater text),
a deletion by any order. Points of its metrics, and links of runs to it, are sets. So every
order of arrival ends in the same rows. Facts about a model that was never created are kept
for when it is; until then nobody is shown it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tracker.events.limits import INT64_MAX, INT64_MIN
from tracker.events.types import Event, EventType

MODEL_EVENTS: Final = frozenset(
    {
        EventType.MODEL_CREATED,
        EventType.MODEL_FINALIZED,
        EventType.MODEL_DELETED,
        EventType.MODEL_PARAMS_LOGGED,
        EventType.MODEL_TAGS_SET,
        EventType.MODEL_TAG_DELETED,
        EventType.MODEL_METRICS_LOGGED,
    }
)
LINK_EVENTS: Final = frozenset({EventType.MODEL_INPUT_LOGGED, EventType.MODEL_OUTPUT_LOGGED})
INPUT, OUTPUT = "input", "output"

MetricRow = tuple[str, str, str, str, int, int, str, str]
"""(model id, run id, key, value as text, step, time_us, dataset name, dataset digest)"""
LinkRow = tuple[int, str, str, int]
"""(run number, input or output, model id, step)"""


@dataclass(slots=True)
class ModelState:
    model_id: str
    born_order_us: int = INT64_MAX
    born: dict[str, str] = field(default_factory=dict)
    created_us: int = 0
    updated_us: int = INT64_MIN
    status: tuple[int, str, str] = (INT64_MIN, "PENDING", "")  # (order, status, message)
    is_deleted: bool = False
    params: dict[str, tuple[int, str]] = field(default_factory=dict)
    tags: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    last_order_us: int = INT64_MIN

    @property
    def is_born(self) -> bool:
        return self.born_order_us != INT64_MAX

    def to_json(self) -> str:
        """Everything that has no column of its own; equal states give equal text."""
        return json.dumps(
            {
                "born_order_us": self.born_order_us,
                "born": self.born,
                "updated_us": self.updated_us,
                "status": list(self.status),
                "params": {key: list(said) for key, said in self.params.items()},
                "tags": {key: list(said) for key, said in self.tags.items()},
                "last_order_us": self.last_order_us,
            },
            sort_keys=True,
            ensure_ascii=False,
        )

    @classmethod
    def of_row(cls, model_id: str, created_us: int, is_deleted: int, state: str) -> ModelState:
        said = json.loads(state)
        return cls(
            model_id=model_id,
            born_order_us=said["born_order_us"],
            born=said["born"],
            created_us=created_us,
            updated_us=said["updated_us"],
            status=tuple(said["status"]),
            is_deleted=bool(is_deleted),
            params={key: tuple(each) for key, each in said["params"].items()},
            tags={key: tuple(each) for key, each in said["tags"].items()},
            last_order_us=said["last_order_us"],
        )


class ModelsLoader(Protocol):
    def model(self, model_id: str) -> ModelState | None:
        """What was stored before; None for what was never stored."""
        ...


@dataclass(slots=True)
class ModelChanges:
    models: dict[str, ModelState] = field(default_factory=dict)
    metrics: set[MetricRow] = field(default_factory=set)
    links: set[LinkRow] = field(default_factory=set)


class Models:
    """The models in memory; others are loaded when something is said of them."""

    def __init__(self, loader: ModelsLoader) -> None:
        self._loader = loader
        self._models: dict[str, ModelState] = {}

    def __len__(self) -> int:
        return len(self._models)

    def apply(self, event: Event, order_us: int, run_id: str, changes: ModelChanges) -> None:
        data = event.data
        model = self._model(data["model_id"])
        changes.models[model.model_id] = model
        model.updated_us = max(model.updated_us, event.time_us)
        model.last_order_us = max(model.last_order_us, order_us)
        match event.type:
            case EventType.MODEL_CREATED:
                _create(model, data, order_us, event.time_us)
            case EventType.MODEL_FINALIZED:
                said = (order_us, data["status"], data.get("message") or "")
                model.status = max(model.status, said)
            case EventType.MODEL_DELETED:
                model.is_deleted = True
            case EventType.MODEL_PARAMS_LOGGED:
                _say_params(model, data["params"], order_us)
            case EventType.MODEL_TAGS_SET:
                _say_tags(model, data["tags"], order_us)
            case EventType.MODEL_TAG_DELETED:
                _say_tags(model, {data["key"]: None}, order_us)
            case EventType.MODEL_METRICS_LOGGED:
                about = data.get("run_id") or run_id
                changes.metrics.update(_points(model.model_id, about, data["metrics"]))

    def _model(self, model_id: str) -> ModelState:
        model = self._models.get(model_id)
        if model is None:
            model = self._loader.model(model_id) or ModelState(model_id)
            self._models[model_id] = model
        return model


def link_of(event: Event, run_no: int) -> LinkRow:
    kind = INPUT if event.type == EventType.MODEL_INPUT_LOGGED else OUTPUT
    return (run_no, kind, event.data["model_id"], int(event.data.get("step") or 0))


def model_row(model: ModelState) -> tuple[Any, ...]:
    born = model.born
    return (
        model.model_id,
        born.get("experiment_id"),
        born.get("source_run_id"),
        model.created_us,
        int(model.is_deleted),
        model.to_json(),
    )


_BORN_WITH: Final = ("experiment_id", "name", "source_run_id", "model_type")


def _create(model: ModelState, data: Mapping[str, Any], order_us: int, time_us: int) -> None:
    born = {name: data[name] for name in _BORN_WITH if data.get(name)}
    said = (order_us, sorted(born.items()))
    if said < (model.born_order_us, sorted(model.born.items())):
        model.born_order_us, model.born, model.created_us = order_us, born, time_us
    _say_params(model, data.get("params") or {}, order_us)
    _say_tags(model, data.get("tags") or {}, order_us)


def _say_params(model: ModelState, params: Mapping[str, str], order_us: int) -> None:
    for key, value in params.items():
        known = model.params.get(key)
        said = (order_us, value)
        model.params[key] = said if known is None else min(known, said)


def _say_tags(model: ModelState, tags: Mapping[str, str | None], order_us: int) -> None:
    for key, value in tags.items():
        known = model.tags.get(key)
        if known is None or (known[0], known[1] or "") < (order_us, value or ""):
            model.tags[key] = (order_us, value)


def _points(model_id: str, run_id: str, metrics: Any) -> list[MetricRow]:
    return [
        (model_id, run_id, key, repr(value) if isinstance(value, float) else str(value), step,
         time_us, name or "", digest or "")
        for key, value, step, time_us, name, digest in metrics
    ]  # fmt: skip
