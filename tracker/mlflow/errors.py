"""What goes wrong, as the errors that MLflow's users catch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)

from tracker.errors import ParamChanged
from tracker.events.errors import TrackerError

_NOT_FOUND = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


class Unreachable(MlflowException):  # type: ignore[misc]  # mlflow has no types
    """No server answers now. What was logged is safe in the spool."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(
            f"no tracker server answers at {address} ({why}). What is logged waits in the spool "
            f"of this machine and is delivered when the server is back, or by `tracker sync`",
            error_code=TEMPORARILY_UNAVAILABLE,
        )


def is_not_found(error: MlflowException) -> bool:
    return bool(error.error_code == _NOT_FOUND)


@contextmanager
def refusals() -> Iterator[None]:
    """What tracker refuses, as MLflow's own refusals."""
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
