"""What MLflow's own store answers to a search, page by page, as JSON has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

Page = tuple[list[Any], str | None]
"""What was found, and the token of the next page."""


Search = Callable[[SqlAlchemyStore, dict[str, Any], str | None], Page]


def answer(search: Search, store: SqlAlchemyStore, query: dict[str, Any]) -> dict[str, Any]:
    """The first `query["pages"]` pages that `search(store, query, token)` finds, or its error."""
    pages: list[list[Any]] = []
    token = None
    try:
        while len(pages) < query["pages"]:
            page, token = search(store, query, token)
            pages.append(page)
            if not token:
                break
    except MlflowException as error:
        return {"error_code": error.error_code, "message": error.message}
    except Exception as error:  # noqa: BLE001  # its server answers 500 to whatever it is
        return {"error_code": "INTERNAL_ERROR", "message": repr(error)}
    return {"pages": pages}
