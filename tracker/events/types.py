"""The event vocabulary: facts in the past tense, and the fields each one carries.

An event is (type, version, time, data). `data` holds only JSON's own types. The table
`FIELDS` is the whole schema of version 1; `validate` holds an event against it at the
door (in the SDK before it is spooled, in the server before it is appended), so a fold
never meets a field of the wrong type. Unknown types pass: they are stored and skipped.

Times are integers: microseconds since 1970-01-01 UTC. Schema changes are additive; a
change of meaning gets a new version and an upcast in `tracker.events.upcast`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tracker.events import ids, limits
from tracker.events.artifact_paths import check_artifact_path
from tracker.events.errors import InvalidEvent


class EventType(StrEnum):
    EXPERIMENT_CREATED = "experiment.created"
    EXPERIMENT_RENAMED = "experiment.renamed"
    EXPERIMENT_TAGS_SET = "experiment.tags_set"
    EXPERIMENT_TAG_DELETED = "experiment.tag_deleted"
    EXPERIMENT_DELETED = "experiment.deleted"
    EXPERIMENT_RESTORED = "experiment.restored"
    RUN_STARTED = "run.started"
    RUN_RESUMED = "run.resumed"
    RUN_JOINED = "run.joined"
    RUN_UPDATED = "run.updated"
    RUN_ENDED = "run.ended"
    RUN_DELETED = "run.deleted"
    RUN_RESTORED = "run.restored"
    PARAMS_LOGGED = "params.logged"
    METRICS_LOGGED = "metrics.logged"  # travels as a columnar frame, never as a plain event
    TAGS_SET = "tags.set"
    TAG_DELETED = "tag.deleted"
    ARTIFACT_LOGGED = "artifact.logged"
    ARTIFACT_DELETED = "artifact.deleted"
    INPUT_LOGGED = "input.logged"
    MODEL_CREATED = "model.created"
    MODEL_FINALIZED = "model.finalized"
    MODEL_DELETED = "model.deleted"
    MODEL_PARAMS_LOGGED = "model.params_logged"
    MODEL_TAGS_SET = "model.tags_set"
    MODEL_TAG_DELETED = "model.tag_deleted"
    MODEL_METRICS_LOGGED = "model.metrics_logged"
    MODEL_INPUT_LOGGED = "model_input.logged"
    MODEL_OUTPUT_LOGGED = "model_output.logged"
    EVENTS_DROPPED = "events.dropped"


class RunStatus(StrEnum):
    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    @property
    def is_terminal(self) -> bool:
        return self in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


class Event(NamedTuple):
    """One recorded fact. `time_us` is the clock of whoever recorded it."""

    type: str
    time_us: int
    data: Mapping[str, Any]
    version: int = 1


class _Kind(StrEnum):
    TEXT = "a string"
    NAME = "a non-empty string"
    TIME = "an integer number of microseconds"
    COUNT = "a non-negative integer"
    FLAG = "true or false"
    STATUS = "one of RUNNING, SCHEDULED, FINISHED, FAILED, KILLED"
    RUN_ID = "a run id (letters, digits, - and _, at most 256)"
    WRITER_ID = "a writer id (letters, digits, - and _, at most 64)"
    PARAMS = "an object of string values (params)"
    TAGS = "an object of string values (tags)"
    KEY = "a key"
    STEP = "an integer of 64 bits"
    ARTIFACT_PATH = "a relative path"
    DIGEST = "a SHA-256 in 64 lower-case hex digits"
    MODEL_STATUS = "one of PENDING, READY, FAILED"
    MODEL_METRICS = "an array of metrics"


class _Field(NamedTuple):
    kind: _Kind
    is_required: bool = False
    characters_max: int = limits.TEXT_BYTES_MAX


_EXPERIMENT_ID: Final = _Field(_Kind.NAME, is_required=True, characters_max=64)
_EXPERIMENT_NAME: Final = _Field(
    _Kind.NAME, is_required=True, characters_max=limits.EXPERIMENT_NAME_CHARACTERS_MAX
)
_MODEL_ID: Final = _Field(_Kind.RUN_ID, is_required=True)
_DATASET_TEXT: Final = _Field(_Kind.TEXT, characters_max=limits.DATASET_TEXT_BYTES_MAX)
_RUN_NAME: Final = _Field(_Kind.TEXT, characters_max=limits.RUN_NAME_CHARACTERS_MAX)

FIELDS: Final[Mapping[str, Mapping[str, _Field]]] = {
    EventType.EXPERIMENT_CREATED: {
        "experiment_id": _EXPERIMENT_ID,
        "name": _EXPERIMENT_NAME,
        "artifact_location": _Field(_Kind.TEXT, characters_max=2048),
        "tags": _Field(_Kind.TAGS),
    },
    EventType.EXPERIMENT_RENAMED: {"experiment_id": _EXPERIMENT_ID, "name": _EXPERIMENT_NAME},
    EventType.EXPERIMENT_TAGS_SET: {
        "experiment_id": _EXPERIMENT_ID,
        "tags": _Field(_Kind.TAGS, is_required=True),
    },
    EventType.EXPERIMENT_TAG_DELETED: {
        "experiment_id": _EXPERIMENT_ID,
        "key": _Field(_Kind.KEY, is_required=True),
    },
    EventType.EXPERIMENT_DELETED: {"experiment_id": _EXPERIMENT_ID},
    EventType.EXPERIMENT_RESTORED: {"experiment_id": _EXPERIMENT_ID},
    # The experiment is bound by name, by id, or by neither (then it is Default). A name
    # nobody has created yet creates the experiment, in the fold, without a race.
    EventType.RUN_STARTED: {
        "experiment_name": _Field(_Kind.NAME, characters_max=limits.EXPERIMENT_NAME_CHARACTERS_MAX),
        "experiment_id": _Field(_Kind.NAME, characters_max=64),
        "name": _RUN_NAME,
        "parent_run_id": _Field(_Kind.RUN_ID),
        "user": _Field(_Kind.TEXT, characters_max=256),
        "start_time_us": _Field(_Kind.TIME),
        "status": _Field(_Kind.STATUS),
        "tags": _Field(_Kind.TAGS),
    },
    # The writer that starts or resumes a run owns it: when it dies, the run has failed.
    EventType.RUN_RESUMED: {},
    # A further writer of a run that somebody else owns (a fork, a rank, a worker).
    EventType.RUN_JOINED: {
        "host": _Field(_Kind.TEXT, characters_max=256),
        "pid": _Field(_Kind.COUNT),
        "rank": _Field(_Kind.COUNT),
    },
    EventType.RUN_UPDATED: {
        "name": _RUN_NAME,
        "status": _Field(_Kind.STATUS),
        "end_time_us": _Field(_Kind.TIME),
        "user": _Field(_Kind.TEXT, characters_max=256),
    },
    # With guessed_writer_id this is somebody else's conclusion about a silent writer: it
    # holds until an event of that writer at or beyond guessed_seq arrives.
    EventType.RUN_ENDED: {
        "status": _Field(_Kind.STATUS, is_required=True),
        "end_time_us": _Field(_Kind.TIME),
        "reason": _Field(_Kind.TEXT, characters_max=256),
        "detail": _Field(_Kind.TEXT, characters_max=2048),
        "guessed_writer_id": _Field(_Kind.WRITER_ID),
        "guessed_seq": _Field(_Kind.COUNT),
    },
    EventType.RUN_DELETED: {},
    EventType.RUN_RESTORED: {},
    EventType.PARAMS_LOGGED: {"params": _Field(_Kind.PARAMS, is_required=True)},
    EventType.TAGS_SET: {"tags": _Field(_Kind.TAGS, is_required=True)},
    EventType.TAG_DELETED: {"key": _Field(_Kind.KEY, is_required=True)},
    # A file of the run (or, with model_id, of that logged model): bytes that the artifact
    # store holds under `digest`, or a reference, whose bytes stay where `uri` says.
    EventType.ARTIFACT_LOGGED: {
        "path": _Field(_Kind.ARTIFACT_PATH, is_required=True),
        "digest": _Field(_Kind.DIGEST),
        "size": _Field(_Kind.COUNT),
        "media_type": _Field(_Kind.TEXT, characters_max=256),
        "uri": _Field(_Kind.NAME, characters_max=2048),
        "etag": _Field(_Kind.TEXT, characters_max=1024),
        "model_id": _Field(_Kind.RUN_ID),
    },
    EventType.ARTIFACT_DELETED: {
        "path": _Field(_Kind.ARTIFACT_PATH, is_required=True),
        "model_id": _Field(_Kind.RUN_ID),
    },
    # A dataset the run read: what it is, never its bytes. Its context (training, validation)
    # is the tag mlflow.data.context.
    EventType.INPUT_LOGGED: {
        "name": _Field(
            _Kind.NAME, is_required=True, characters_max=limits.DATASET_NAME_CHARACTERS_MAX
        ),
        "digest": _Field(
            _Kind.NAME, is_required=True, characters_max=limits.DATASET_DIGEST_CHARACTERS_MAX
        ),
        "source_type": _Field(_Kind.TEXT, characters_max=256),
        "source": _DATASET_TEXT,
        "schema": _DATASET_TEXT,
        "profile": _DATASET_TEXT,
        "tags": _Field(_Kind.TAGS),
    },
    # Logged models. An event about one names it; it travels in its run's stream or in the
    # workspace's own.
    EventType.MODEL_CREATED: {
        "model_id": _MODEL_ID,
        "experiment_id": _EXPERIMENT_ID,
        "name": _Field(_Kind.TEXT, characters_max=500),
        "source_run_id": _Field(_Kind.RUN_ID),
        "model_type": _Field(_Kind.TEXT, characters_max=500),
        "params": _Field(_Kind.PARAMS),
        "tags": _Field(_Kind.TAGS),
    },
    EventType.MODEL_FINALIZED: {
        "model_id": _MODEL_ID,
        "status": _Field(_Kind.MODEL_STATUS, is_required=True),
        "message": _Field(_Kind.TEXT),
    },
    EventType.MODEL_DELETED: {"model_id": _MODEL_ID},
    EventType.MODEL_PARAMS_LOGGED: {
        "model_id": _MODEL_ID,
        "params": _Field(_Kind.PARAMS, is_required=True),
    },
    EventType.MODEL_TAGS_SET: {
        "model_id": _MODEL_ID,
        "tags": _Field(_Kind.TAGS, is_required=True),
    },
    EventType.MODEL_TAG_DELETED: {
        "model_id": _MODEL_ID,
        "key": _Field(_Kind.KEY, is_required=True),
    },
    # Each metric is [key, value, step, time_us, dataset_name or null, dataset_digest or null];
    # a value that JSON has no number for is "NaN", "Infinity" or "-Infinity".
    EventType.MODEL_METRICS_LOGGED: {
        "model_id": _MODEL_ID,
        "run_id": _Field(_Kind.RUN_ID),
        "metrics": _Field(_Kind.MODEL_METRICS, is_required=True),
    },
    # That the run in whose stream it lies read, or made, this model.
    EventType.MODEL_INPUT_LOGGED: {"model_id": _MODEL_ID},
    EventType.MODEL_OUTPUT_LOGGED: {
        "model_id": _MODEL_ID,
        "step": _Field(_Kind.STEP),
    },
    # Stands for `width` sequence numbers whose records no longer exist.
    EventType.EVENTS_DROPPED: {
        "reason": _Field(_Kind.NAME, is_required=True, characters_max=2048),
        "count": _Field(_Kind.COUNT, is_required=True),
    },
}


_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def validate(event: Event) -> None:
    """Hold `event` against the vocabulary; raise InvalidEvent naming field, value and limit.

    Unknown types and unknown fields pass: a newer client may send them, and what was
    recorded is never thrown away.
    """
    if not isinstance(event.type, str) or not 0 < len(event.type) <= 64:
        raise InvalidEvent("an event's type must be a string of 1 to 64 characters")
    _check_int(event.time_us, "time", event.type)
    if not isinstance(event.data, Mapping):
        raise InvalidEvent(f"{event.type}: data must be an object")
    fields = FIELDS.get(event.type)
    if fields is None:
        return
    for name, field in fields.items():
        value = event.data.get(name)
        if value is None:
            if field.is_required:
                raise InvalidEvent(f"{event.type}: field {name!r} is missing")
        else:
            _check(value, field, name, event.type)
    if event.type == EventType.ARTIFACT_LOGGED and (
        (event.data.get("digest") is None) == (event.data.get("uri") is None)
    ):
        raise InvalidEvent("artifact.logged has either a digest (with its size) or a uri")


def check_key(key: str, *, what: str) -> None:
    """Raise InvalidEvent unless `key` may name a metric, a param or a tag."""
    if not isinstance(key, str):
        raise InvalidEvent(f"{what} key {key!r} must be a string, not {type(key).__name__}")
    if not 0 < len(key) <= limits.KEY_CHARACTERS_MAX:
        raise InvalidEvent(
            f"{what} key {key[:40]!r}… has {len(key)} characters; "
            f"1 to {limits.KEY_CHARACTERS_MAX} are allowed (key_characters_max)"
        )
    if not key.isprintable() and any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in key):
        raise InvalidEvent(f"{what} key {key!r} has a control character; use printable text")


def check_text(value: str, *, what: str, bytes_max: int, limit_name: str) -> None:
    """Raise InvalidEvent unless `value` is text that encodes to at most `bytes_max` bytes."""
    if not isinstance(value, str):
        raise InvalidEvent(f"{what} must be a string, not {type(value).__name__}")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidEvent(f"{what} is not valid Unicode (it has a lone surrogate)") from None
    if size > bytes_max:
        raise InvalidEvent(
            f"{what} is {size} bytes; at most {bytes_max} are allowed ({limit_name}). "
            "Log longer text as an artifact."
        )


def _check(value: Any, field: _Field, name: str, event_type: str) -> None:
    where = f"{event_type}: field {name!r}"
    match field.kind:
        case _Kind.TEXT | _Kind.NAME:
            if field.kind is _Kind.NAME and value == "":
                raise InvalidEvent(f"{where} must be {field.kind}")
            limit = f"{name}_characters_max"
            check_text(value, what=where, bytes_max=4 * field.characters_max, limit_name=limit)
            if len(value) > field.characters_max:
                raise InvalidEvent(
                    f"{where} has {len(value)} characters; "
                    f"at most {field.characters_max} are allowed ({limit})"
                )
        case _Kind.TIME | _Kind.STEP:
            _check_int(value, name, event_type)
        case _Kind.COUNT:
            _check_int(value, name, event_type)
            if value < 0:
                raise InvalidEvent(f"{where} must be {field.kind}")
        case _Kind.FLAG:
            if not isinstance(value, bool):
                raise InvalidEvent(f"{where} must be {field.kind}")
        case _Kind.STATUS:
            if not isinstance(value, str) or value not in RunStatus.__members__:
                raise InvalidEvent(f"{where} must be {field.kind}")
        case _Kind.RUN_ID:
            if not isinstance(value, str) or not ids.is_run_id(value):
                raise InvalidEvent(f"{where} must be {field.kind}")
        case _Kind.WRITER_ID:
            if not isinstance(value, str) or not ids.is_writer_id(value):
                raise InvalidEvent(f"{where} must be {field.kind}")
        case _Kind.KEY:
            check_key(value, what=f"{event_type}:")
        case _Kind.ARTIFACT_PATH:
            check_artifact_path(value)
        case _Kind.DIGEST:
            if not isinstance(value, str) or not _DIGEST.fullmatch(value):
                raise InvalidEvent(f"{where} must be {field.kind}")
        case _Kind.MODEL_STATUS:
            if value not in ("PENDING", "READY", "FAILED"):
                raise InvalidEvent(f"{where} must be {field.kind}")
        case _Kind.MODEL_METRICS:
            _check_model_metrics(value, where)
        case _Kind.PARAMS | _Kind.TAGS:
            _check_entries(value, field.kind, where)


def _check_entries(value: Any, kind: _Kind, where: str) -> None:
    what = "param" if kind is _Kind.PARAMS else "tag"
    if not isinstance(value, Mapping):
        raise InvalidEvent(f"{where} must be {kind}")
    if len(value) > limits.ENTRIES_PER_EVENT_MAX:
        raise InvalidEvent(
            f"{where} has {len(value)} entries; at most {limits.ENTRIES_PER_EVENT_MAX} "
            "are allowed (entries_per_event_max)"
        )
    bytes_max = limits.PARAM_VALUE_BYTES_MAX if what == "param" else limits.TAG_VALUE_BYTES_MAX
    for key, text in value.items():
        check_key(key, what=what)
        check_text(
            text,
            what=f"{what} {key!r}",
            bytes_max=bytes_max,
            limit_name=f"{what}_value_bytes_max",
        )


def _check_model_metrics(value: Any, where: str) -> None:
    if not isinstance(value, (list, tuple)):
        raise InvalidEvent(f"{where} must be {_Kind.MODEL_METRICS}")
    if len(value) > limits.MODEL_METRICS_PER_EVENT_MAX:
        raise InvalidEvent(
            f"{where} has {len(value)} metrics; at most {limits.MODEL_METRICS_PER_EVENT_MAX} "
            "are allowed (model_metrics_per_event_max)"
        )
    for metric in value:
        if not isinstance(metric, (list, tuple)) or len(metric) != 6:
            raise InvalidEvent(
                f"{where}: each is [key, value, step, time_us, dataset_name, dataset_digest]"
            )
        key, number, step, time_us, *dataset = metric
        check_key(key, what="metric")
        if type(number) not in (int, float) and number not in ("NaN", "Infinity", "-Infinity"):
            raise InvalidEvent(f"{where}: the value of {key!r} must be a number")
        _check_int(step, "step", where)
        _check_int(time_us, "time_us", where)
        for text in dataset:
            if text is not None:
                check_text(text, what=where, bytes_max=2048, limit_name="dataset_characters_max")


def _check_int(value: Any, name: str, event_type: str) -> None:
    if type(value) is not int or not limits.INT64_MIN <= value <= limits.INT64_MAX:
        raise InvalidEvent(f"{event_type}: {name!r} must be an integer of 64 bits")
