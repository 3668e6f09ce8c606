"""Reading what MLflow's clients send: JSON as protobuf's JSON mapping has it, or a query.

Strings must be strings. 64-bit integers may be numbers or strings of digits, floats may be
strings, null is as if it were not there, unknown fields are ignored. Messages are MLflow's
own, since scripts match on them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from ingest.messages import JSON_BODY_BYTES_MAX, read_limited
from ingest.mlflow.errors import BAD_REQUEST, MlflowRefusal, invalid

SEE_DOCS: Final = " See the API docs for more information about request parameters."
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class Fields:
    """The fields of one request. Each getter refuses a value of the wrong type."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def required(self, name: str) -> Any:
        value = self.values.get(name)
        if value is None or value == "":
            raise invalid(missing(name) + SEE_DOCS)
        return value

    def text(self, name: str, *, is_required: bool = False) -> str | None:
        value = self.required(name) if is_required else self.values.get(name)
        if value is None or isinstance(value, str):
            return value
        raise wrong_type(name, value)

    def texts(self, name: str) -> list[str]:
        value = self.array(name)
        if not all(isinstance(item, str) for item in value):
            raise wrong_type(name, value)
        return value

    def array(self, name: str, *, is_required: bool = False) -> list[Any]:
        value = self.required(name) if is_required else self.values.get(name)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise wrong_type(name, value)

    def integer(self, name: str, *, is_required: bool = False) -> int | None:
        value = self.required(name) if is_required else self.values.get(name)
        if value is None:
            return None
        number = as_int64(value)
        if number is None:
            raise wrong_type(name, value)
        return number

    def number(self, name: str) -> float:
        value = self.required(name)
        found = as_float(value)
        if found is None:
            raise wrong_type(name, value)
        return found

    def run_id(self) -> str:
        """run_id, or its old name run_uuid."""
        if not self.has("run_id") and self.has("run_uuid"):
            return self.text("run_uuid", is_required=True) or ""
        return self.text("run_id", is_required=True) or ""


async def read_fields(request: web.Request) -> Fields:
    """The fields of a POST's body, or of a GET's query (a repeated key is a list)."""
    if request.method == "GET" and request.query:
        return Fields(_query(request))
    return Fields(await read_body(request))


async def read_body(request: web.Request) -> dict[str, Any]:
    if request.method != "GET" and request.content_type != "application/json":
        raise MlflowRefusal(
            "Bad Request. Content-Type must be one of ['application/json'].", BAD_REQUEST
        )
    body = await read_limited(request, bytes_max=JSON_BODY_BYTES_MAX)
    return parsed(body)


def parsed(body: bytes) -> dict[str, Any]:
    """A body as a dictionary; one that is no JSON is empty, as it is to MLflow."""
    value = _loads(body)
    if isinstance(value, str):  # old clients encode twice
        value = _loads(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid("The request's body must be a JSON object.")
    return value


def _loads(body: bytes | str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(body)  # knows NaN and Infinity without quotes
        orjson.dumps(value)  # and half characters, which nothing else takes
    except (ValueError, TypeError, RecursionError):
        return None
    return value


def _query(request: web.Request) -> dict[str, Any]:
    query = request.query
    return {name: query[name] for name in query}


def query_list(request: web.Request, name: str) -> list[str]:
    return request.query.getall(name, [])


def missing(name: str) -> str:
    return f"Missing value for required parameter '{name}'."


def shown(value: Any) -> str:
    """A value as MLflow shows it, cut to a length that a log line bears."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 500 else f"{text[:500]}…"


def wrong_value(name: str, value: Any, why: str = "") -> MlflowRefusal:
    said = f" {why}" if why else ""
    end = f":{said}" if why else "."
    return invalid(f"Invalid value {shown(value)} for parameter '{name}' supplied{end}")


def wrong_type(name: str, value: Any) -> MlflowRefusal:
    hint = f" Hint: Value was of type '{type(value).__name__}'."
    return invalid(
        f"Invalid value {shown(value)} for parameter '{name}' supplied: {hint}{SEE_DOCS}"
    )


def as_int64(value: Any) -> int | None:
    """None for what is no 64-bit integer."""
    number: int | None = None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str) and len(value) <= 24:
        try:
            number = int(value)
        except ValueError:
            return None
    return number if number is not None and INT64_MIN <= number <= INT64_MAX else None


def as_float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float | int):
        try:
            return float(value)
        except OverflowError:
            return None
    if isinstance(value, str):
        if value == "NaN":
            return math.nan
        try:
            return float(value)
        except ValueError:
            return None
    return None


def pairs(items: Sequence[Any], name: str) -> list[tuple[str, str]]:
    """The (key, value) of tags or params; a value that is not there is empty."""
    found = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise wrong_type(name, items)
        key, value = item.get("key"), item.get("value")
        if key is None or key == "":
            raise invalid(missing(f"{name}[{index}].key") + SEE_DOCS)
        if not isinstance(key, str) or not isinstance(value, str | None):
            raise wrong_type(name, items)
        found.append((key, value or ""))
    return found
