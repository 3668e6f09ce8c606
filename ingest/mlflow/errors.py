"""MLflow's errors: {"error_code", "message"} with the status that MLflow gives each code.

Handlers raise what they mean: an MlflowRefusal, or any error of ours. `answer_of` turns
whatever leaves a request under MLflow's prefixes into what MLflow's clients read: they keep
error_code, show "CODE: message", and retry 408, 429, 500, 502, 503 and 504 for minutes.
So nothing that will not get better by itself may answer with one of those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ingest.errors import ApiError, api_error_for
from tracker.events.errors import TrackerError

INVALID_PARAMETER_VALUE: Final = "INVALID_PARAMETER_VALUE"
RESOURCE_ALREADY_EXISTS: Final = "RESOURCE_ALREADY_EXISTS"
RESOURCE_DOES_NOT_EXIST: Final = "RESOURCE_DOES_NOT_EXIST"
ENDPOINT_NOT_FOUND: Final = "ENDPOINT_NOT_FOUND"
NOT_IMPLEMENTED: Final = "NOT_IMPLEMENTED"
INVALID_STATE: Final = "INVALID_STATE"
BAD_REQUEST: Final = "BAD_REQUEST"
TEMPORARILY_UNAVAILABLE: Final = "TEMPORARILY_UNAVAILABLE"
INTERNAL_ERROR: Final = "INTERNAL_ERROR"

STATUS_OF: Final[Mapping[str, int]] = {
    INTERNAL_ERROR: 500,
    INVALID_STATE: 500,
    NOT_IMPLEMENTED: 501,
    TEMPORARILY_UNAVAILABLE: 503,
    ENDPOINT_NOT_FOUND: 404,
    RESOURCE_DOES_NOT_EXIST: 404,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    BAD_REQUEST: 400,
    RESOURCE_ALREADY_EXISTS: 400,
    INVALID_PARAMETER_VALUE: 400,
}

_PATH: Final = re.compile(
    r"/(ajax-api/|api/[^/]*/mlflow|get-artifact$|graphql$|model-versions/get-artifact$)"
)


class MlflowRefusal(ApiError):
    """A refusal in MLflow's terms. `error_code` is a key of STATUS_OF."""

    def __init__(self, message: str, error_code: str = INVALID_PARAMETER_VALUE) -> None:
        super().__init__(message)
        self.error_code = error_code


def is_mlflow_path(path: str) -> bool:
    return _PATH.match(path) is not None


def invalid(message: str) -> MlflowRefusal:
    return MlflowRefusal(message, INVALID_PARAMETER_VALUE)


def no_such(message: str) -> MlflowRefusal:
    return MlflowRefusal(message, RESOURCE_DOES_NOT_EXIST)


# Our own codes that have one of MLflow's. What is missing is told by its status.
_CODES: Final[Mapping[str, str]] = {
    "experiment_exists": RESOURCE_ALREADY_EXISTS,
    "method_not_allowed": ENDPOINT_NOT_FOUND,
    "not_found": ENDPOINT_NOT_FOUND,
    "unauthorized": "UNAUTHENTICATED",
    "forbidden_host": "PERMISSION_DENIED",
    "forbidden_origin": "PERMISSION_DENIED",
    "body_stalled": INVALID_PARAMETER_VALUE,
}
_BY_STATUS: Final[Mapping[int, str]] = {
    404: RESOURCE_DOES_NOT_EXIST,
    503: TEMPORARILY_UNAVAILABLE,
}
# These keep their status: 413 and 507 say more than any code of MLflow's, and neither is
# retried by its client; 502 would be, for minutes, though only an operator can help.
_STATUS_KEPT: Final = frozenset({413, 416, 507})


def status_and_code(error: Exception) -> tuple[int, str]:
    """(HTTP status, MLflow's error code) of any error."""
    if isinstance(error, MlflowRefusal):
        return STATUS_OF[error.error_code], error.error_code
    if not isinstance(error, TrackerError):
        return 500, INTERNAL_ERROR
    status, code = api_error_for(error)
    if status in _STATUS_KEPT:
        return status, INVALID_PARAMETER_VALUE
    if code == "store_refused":
        return 501, NOT_IMPLEMENTED
    if status >= 500 and status != 503:
        return status, INTERNAL_ERROR
    name = _CODES.get(code) or _BY_STATUS.get(status, INVALID_PARAMETER_VALUE)
    return STATUS_OF[name], name


def refusal_body(error: Exception, message: str) -> tuple[int, dict[str, Any]]:
    """(status, what the body says)."""
    status, code = status_and_code(error)
    return status, {"error_code": code, "message": message}
