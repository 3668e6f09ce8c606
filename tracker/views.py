"""Which lifecycle stages a search shows, by this API's words and by MLflow's numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ViewType(StrEnum):
    ACTIVE_ONLY = "active_only"
    DELETED_ONLY = "deleted_only"
    ALL = "all"


_BY_MLFLOW_NUMBER: Final = {
    1: ViewType.ACTIVE_ONLY,
    2: ViewType.DELETED_ONLY,
    3: ViewType.ALL,
}


def view_name(view: str | int) -> str:
    """The word for a view; accepts the numbers of mlflow.entities.ViewType."""
    if isinstance(view, int):
        if view in _BY_MLFLOW_NUMBER:
            return _BY_MLFLOW_NUMBER[view].value
        raise ValueError(f"view {view} is unknown; use 1, 2, 3 or {', '.join(ViewType)}")
    word = view.lower()
    if word not in set(ViewType):
        raise ValueError(f"view {view!r} is unknown; use one of {', '.join(ViewType)}")
    return word
