"""What a run read and made: datasets, models, and the log-model call of old clients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from ingest.messages import json_answer
from ingest.mlflow.bodies import SEE_DOCS, as_int64, missing, pairs, read_fields, wrong_type
from ingest.mlflow.errors import invalid
from ingest.mlflow.names import TAG_VALUE_CHARACTERS_MAX, check_run_id, too_long
from ingest.mlflow.run_changes import Change, change_run
from projections.read_models import RunView
from tracker.events import limits
from tracker.events.types import EventType

LOG_MODEL_HISTORY: Final = "mlflow.log-model.history"
INPUT_TAG_KEY_CHARACTERS_MAX: Final = 250
INPUT_TAG_VALUE_CHARACTERS_MAX: Final = 500
# MLflow's, but for the profile: 16 MB of it would be an artifact here.
_DATASET_CHARACTERS_MAX: Final[Mapping[str, int]] = {
    "name": 500,
    "digest": 36,
    "source_type": 256,
    "source": 65_535,
    "schema": limits.DATASET_TEXT_BYTES_MAX - 1,
    "profile": limits.DATASET_TEXT_BYTES_MAX,
}
_REQUIRED: Final = ("name", "digest", "source_type", "source")
_MODEL_FIELDS: Final = ("artifact_path", "flavors", "utc_time_created", "run_id")


async def log_inputs(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    check_run_id(run_id)
    datasets = [_dataset(item, i) for i, item in enumerate(fields.array("datasets"))]
    models = [_model(item, i) for i, item in enumerate(fields.array("models"))]

    def changes(view: RunView) -> list[Change]:
        known = {(item.name, item.digest) for item in view.inputs}
        made: list[Change] = []
        for data in datasets:
            name = (data["name"], data["digest"])
            if name not in known:
                known.add(name)
                made.append((EventType.INPUT_LOGGED, data))
        read = {item.model_id for item in view.model_inputs}
        made += [
            (EventType.MODEL_INPUT_LOGGED, {"model_id": model_id})
            for model_id, _ in models
            if model_id not in read
        ]
        return made

    await change_run(request, run_id, changes)
    return json_answer({})


def _dataset(item: Any, index: int) -> dict[str, Any]:
    """The data of input.logged. Raises for what is missing, of a wrong type, or too long."""
    if not isinstance(item, dict):
        raise wrong_type("datasets", [item])
    dataset = item.get("dataset")
    if dataset is None:
        raise invalid("Dataset cannot be None")
    if not isinstance(dataset, dict):
        raise wrong_type(f"datasets[{index}].dataset", dataset)
    data: dict[str, Any] = {}
    for name, most in _DATASET_CHARACTERS_MAX.items():
        text = dataset.get(name)
        if text is None:
            if name in _REQUIRED:
                raise invalid(f"Dataset {name} cannot be None")
            continue
        if not isinstance(text, str):
            raise wrong_type(f"datasets[{index}].dataset.{name}", text)
        if len(text) > most:
            raise too_long(name, most)
        data[name] = text
    for name in ("name", "digest"):
        if not data[name]:
            raise invalid(missing(f"datasets[{index}].dataset.{name}") + SEE_DOCS)
    tags = dict(pairs(item.get("tags") or [], f"datasets[{index}].tags"))
    for key, value in tags.items():
        if len(key) > INPUT_TAG_KEY_CHARACTERS_MAX:
            raise too_long("key", INPUT_TAG_KEY_CHARACTERS_MAX)
        if len(value) > INPUT_TAG_VALUE_CHARACTERS_MAX:
            raise too_long("value", INPUT_TAG_VALUE_CHARACTERS_MAX)
    if tags:
        data["tags"] = tags
    return data


def _model(item: Any, index: int) -> tuple[str, int]:
    """(model id, step)."""
    if not isinstance(item, dict):
        raise wrong_type("models", [item])
    model_id, step = item.get("model_id"), item.get("step")
    if not model_id:
        raise invalid(missing(f"models[{index}].model_id") + SEE_DOCS)
    number = 0 if step is None else as_int64(step)
    if not isinstance(model_id, str) or number is None:
        raise wrong_type("models", [item])
    return model_id, number


async def log_outputs(request: web.Request) -> web.Response:
    fields = await read_fields(request)
    run_id = fields.run_id()
    models = [_model(item, i) for i, item in enumerate(fields.array("models", is_required=True))]

    def changes(view: RunView) -> list[Change]:
        known = {(item.model_id, item.step) for item in view.model_outputs}
        return [
            (EventType.MODEL_OUTPUT_LOGGED, {"model_id": model_id, "step": step})
            for model_id, step in models
            if (model_id, step) not in known
        ]

    await change_run(request, run_id, changes)
    return json_answer({})


async def log_model(request: web.Request) -> web.Response:
    """Old clients: what they made is appended to a tag of the run."""
    fields = await read_fields(request)
    run_id = fields.run_id()
    text = fields.text("model_json", is_required=True) or ""
    try:
        model = json.loads(text)
    except (ValueError, RecursionError):
        model = None
    if not isinstance(model, dict):
        raise invalid(f"Malformed model info. \n {text[:1000]} \n is not a valid JSON.")
    absent = {name for name in _MODEL_FIELDS if name not in model}
    if absent:
        raise invalid(f"Model json is missing mandatory fields: {absent}")

    def changes(view: RunView) -> list[Change]:
        value = _with(view.tags.get(LOG_MODEL_HISTORY), _tag_of(model))
        if len(value) > TAG_VALUE_CHARACTERS_MAX:
            raise too_long("value", TAG_VALUE_CHARACTERS_MAX)
        return [(EventType.TAGS_SET, {"tags": {LOG_MODEL_HISTORY: value}})]

    await change_run(request, run_id, changes)
    return json_answer({})


def _tag_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """What the tag says of a model: no signatures, no configurations of flavors."""
    kept = ("run_id", "utc_time_created", "artifact_path", "model_uuid")
    said = {name: model[name] for name in kept if name in model}
    flavors = model["flavors"] if isinstance(model["flavors"], dict) else {}
    said["flavors"] = {
        flavor: (
            {name: value for name, value in config.items() if name != "config"}
            if isinstance(config, dict)
            else config
        )
        for flavor, config in flavors.items()
    }
    return said


def _with(history: str | None, said: Mapping[str, Any]) -> str:
    try:
        before = orjson.loads(history) if history else []
    except orjson.JSONDecodeError:
        before = []
    return json.dumps([*(before if isinstance(before, list) else []), said])
