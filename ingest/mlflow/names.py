"""MLflow's rules for keys, values and ids, with its limits and its messages.

A key that was right once is right for ever: the last ones seen are remembered, as a batch
of a thousand metrics asks a thousand times.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final

from ingest.mlflow.bodies import SEE_DOCS, missing, wrong_value
from ingest.mlflow.errors import invalid
from tracker.events.ids import is_run_id

KEY_CHARACTERS_MAX: Final = 250
PARAM_VALUE_CHARACTERS_MAX: Final = 6000
TAG_VALUE_CHARACTERS_MAX: Final = 8000
EXPERIMENT_NAME_CHARACTERS_MAX: Final = 500
EXPERIMENT_TAG_VALUE_CHARACTERS_MAX: Final = 20_000
METRICS_PER_BATCH_MAX: Final = 1000
PARAMS_OR_TAGS_PER_BATCH_MAX: Final = 100
ENTITIES_PER_BATCH_MAX: Final = 1000

_KEY: Final = re.compile(r"[/\w.\- :]*")
_KNOWN_MAX: Final = 20_000
_BAD_CHARACTERS: Final = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.),"
    " spaces ( ), colon(:) and slashes (/)."
)

known_keys: Final[set[str]] = set()


def check_key(key: str, *, path: str, what: str) -> None:
    """Raise unless `key` may name a metric, a param or a tag; `path` is where it was sent."""
    if key in known_keys:
        return
    if not _KEY.fullmatch(key):
        raise wrong_value(path, key, _BAD_CHARACTERS)
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        raise wrong_value(
            path,
            key,
            "Names may be treated as files in certain cases, and must not resolve to other names "
            f"when treated as such. This name would resolve to {normal!r}",
        )
    if len(key) > KEY_CHARACTERS_MAX:
        raise too_long(what, KEY_CHARACTERS_MAX)
    if len(known_keys) >= _KNOWN_MAX:
        known_keys.clear()
    known_keys.add(key)


def too_long(what: str, limit: int) -> Exception:
    return invalid(f"'{what}' exceeds the maximum length of {limit} characters")


def check_run_id(run_id: str) -> None:
    if not is_run_id(run_id):
        raise wrong_value("run_id", run_id)


def check_experiment_name(name: str) -> None:
    if len(name) > EXPERIMENT_NAME_CHARACTERS_MAX:
        raise too_long("name", EXPERIMENT_NAME_CHARACTERS_MAX)


def check_experiment_tag(key: str, value: str) -> None:
    check_key(key, path="key", what="key")
    if len(value) > EXPERIMENT_TAG_VALUE_CHARACTERS_MAX:
        raise too_long("value", EXPERIMENT_TAG_VALUE_CHARACTERS_MAX)


def param(key: str, value: str, *, path: str = "") -> tuple[str, str]:
    """A param as it is kept: a value beyond the limit is cut, as MLflow cuts it."""
    check_key(key, path=f"{path}key", what="Param key")
    return key, value[:PARAM_VALUE_CHARACTERS_MAX]


def tag(key: str, value: str, *, path: str = "") -> tuple[str, str]:
    check_key(key, path=f"{path}key", what=f"{path}key")
    return key, value[:TAG_VALUE_CHARACTERS_MAX]


def experiment_id_of(text: str | None) -> str:
    """The id, normalised; raises for what is no integer."""
    if not text:
        return "0"
    try:
        return str(int(text))
    except ValueError:
        raise invalid(
            f"Invalid experiment ID '{text[:64]}'. Experiment ID must be a valid integer."
        ) from None


def check_batch_limits(metrics: int, params: int, tags: int) -> None:
    for what, limit, length in (
        ("metrics", METRICS_PER_BATCH_MAX, metrics),
        ("params", PARAMS_OR_TAGS_PER_BATCH_MAX, params),
        ("tags", PARAMS_OR_TAGS_PER_BATCH_MAX, tags),
        ("metrics, params, and tags", ENTITIES_PER_BATCH_MAX, metrics + params + tags),
    ):
        if length > limit:
            raise invalid(
                f"A batch logging request can contain at most {limit} {what}. "
                f"Got {length} {what}. Please split up {what} across multiple"
                " requests and try again."
            )


def check_unique(keys: list[str]) -> None:
    if len(set(keys)) == len(keys):
        return
    seen: set[str] = set()
    twice = []
    for key in keys:
        if key in seen:
            twice.append(key)
        seen.add(key)
    raise invalid(
        f"Duplicate parameter keys have been submitted: {twice}. Please ensure "
        "the request contains only one param value per param key."
    )


def missing_field(path: str) -> Exception:
    return invalid(missing(path) + SEE_DOCS)
