"""Fills MLflow's own SQLite store with models and searches them; run by its interpreter.

Reads {"data", "queries"} from the file named first, and prints one JSON line: for each query
either its pages of model ids, or the error.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from mlflow.entities import (
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
)
from mlflow.store.tracking import sqlalchemy_store
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from tests.mlflow.reference_answers import Page, answer

logging.disable(logging.CRITICAL)


def fill(store: SqlAlchemyStore, data: dict[str, Any]) -> None:
    for number in data["experiments"]:
        assert store.create_experiment(f"exp {number}") == number
    for run_id in data["runs"]:
        with mock.patch.object(
            sqlalchemy_store.uuid, "uuid4", side_effect=[SimpleNamespace(hex=run_id)]
        ):
            store.create_run("0", "ann", 0, [], "measuring")
    for model in data["models"]:
        put(store, model)


def at(time_ms: int) -> Any:
    return mock.patch.object(sqlalchemy_store, "get_current_time_millis", return_value=time_ms)


def put(store: SqlAlchemyStore, model: dict[str, Any]) -> None:
    model_id = model["model_id"]
    with (
        at(model["created"]),
        mock.patch.object(sqlalchemy_store.uuid, "uuid4", return_value=model_id.removeprefix("m-")),
    ):
        store.create_logged_model(
            model["experiment_id"],
            model["name"],
            model["source_run_id"],
            [LoggedModelTag(key, value) for key, value in model["tags"].items()],
            [LoggedModelParameter(key, value) for key, value in model["params"].items()],
            model["model_type"],
        )
    for run_id in sorted({point[0] for point in model["points"]}):
        points = [
            Metric(
                key, float(value), time_ms, step,
                model_id=model_id, dataset_name=dataset, dataset_digest=digest,
            )
            for of, key, value, step, time_ms, dataset, digest in model["points"]
            if of == run_id
        ]  # fmt: skip
        store.log_batch(run_id, points, [], [])
    if model["finalized"] is not None:
        with at(model["finalized"]):
            store.finalize_logged_model(model_id, LoggedModelStatus.READY)
    if model["is_deleted"]:
        store.delete_logged_model(model_id)


def search(store: SqlAlchemyStore, query: dict[str, Any], token: str | None) -> Page:
    page = store.search_logged_models(
        query["experiment_ids"],
        query["filter"] or None,  # what is empty is None to its server, and in its tokens
        query["datasets"] or None,
        query["max_results"],
        query["order_by"] or None,
        token,
    )
    return [model.model_id for model in page], page.token


def main(asked_path: str, folder: str) -> None:
    asked = json.loads(Path(asked_path).read_text())
    store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts")
    fill(store, asked["data"])
    print(json.dumps([answer(search, store, query) for query in asked["queries"]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
