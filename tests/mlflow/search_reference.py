"""Fills MLflow's own SQLite store and searches it; run by MLflow's interpreter.

Reads {"data", "run_queries", "experiment_queries", "history_queries"} from the file named
first, and prints one JSON line: for each query either its pages, or the error.
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
    Dataset,
    DatasetInput,
    ExperimentTag,
    InputTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.store.tracking import sqlalchemy_store
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from tests.mlflow.reference_answers import Page, answer

logging.disable(logging.CRITICAL)


def fill(store: SqlAlchemyStore, data: dict[str, Any]) -> None:
    for experiment in data["experiments"]:
        with mock.patch.object(
            sqlalchemy_store, "get_current_time_millis", return_value=experiment["creation_time"]
        ):
            tags = [ExperimentTag(key, value) for key, value in experiment["tags"].items()]
            assert store.create_experiment(experiment["name"], tags=tags) == experiment["id"]
    for run in data["runs"]:
        put(store, run)
    for run in data["runs"]:
        if run["is_deleted"]:
            store.delete_run(run["run_id"])
    for experiment in data["experiments"]:
        if experiment["is_deleted"]:
            store.delete_experiment(experiment["id"])


def put(store: SqlAlchemyStore, run: dict[str, Any]) -> None:
    run_id = run["run_id"]
    with mock.patch.object(
        sqlalchemy_store.uuid, "uuid4", side_effect=[SimpleNamespace(hex=run_id)]
    ):
        store.create_run(run["experiment_id"], run["user"], run["start_time"], [], run["name"])
    store.log_batch(
        run_id,
        [Metric(key, float(value), ms, step) for key, value, step, ms in run["metrics"]],
        [Param(key, value) for key, value in run["params"].items()],
        [RunTag(key, value) for key, value in run["tags"].items()],
    )
    if run["datasets"]:
        store.log_inputs(
            run_id,
            [
                DatasetInput(
                    Dataset(d["name"], d["digest"], "local", "there"),
                    [InputTag("mlflow.data.context", d["context"])] if d["context"] else [],
                )
                for d in run["datasets"]
            ],
        )
    if run["status"] != "RUNNING":
        status = RunStatus.from_string(run["status"])
        store.update_run_info(run_id, status, run["end_time"], None)


VIEWS = {
    "ACTIVE_ONLY": ViewType.ACTIVE_ONLY,
    "DELETED_ONLY": ViewType.DELETED_ONLY,
    "ALL": ViewType.ALL,
}


def run_page(store: SqlAlchemyStore, query: dict[str, Any], token: str | None) -> Page:
    page = store.search_runs(
        query["experiment_ids"],
        query["filter"],
        VIEWS[query["view"]],
        query["max_results"],
        query["order_by"],
        token,
    )
    return [run.info.run_id for run in page], page.token


def experiment_page(store: SqlAlchemyStore, query: dict[str, Any], token: str | None) -> Page:
    page = store.search_experiments(
        VIEWS[query["view"]], query["max_results"], query["filter"], query["order_by"], token
    )
    return [experiment.experiment_id for experiment in page], page.token


def history_page(store: SqlAlchemyStore, query: dict[str, Any], token: str | None) -> Page:
    page = store.get_metric_history(query["run_id"], query["key"], query["max_results"], token)
    return [[m.timestamp, m.step, repr(m.value)] for m in page], page.token


def main(asked_path: str, folder: str) -> None:
    asked = json.loads(Path(asked_path).read_text())
    # Here the experiment Default was never created, so it has no time.
    with mock.patch.object(sqlalchemy_store, "get_current_time_millis", return_value=0):
        store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts")
    fill(store, asked["data"])
    print(
        json.dumps(
            {
                "runs": [answer(run_page, store, query) for query in asked["run_queries"]],
                "experiments": [
                    answer(experiment_page, store, query) for query in asked["experiment_queries"]
                ],
                "histories": [
                    answer(history_page, store, query) for query in asked["history_queries"]
                ],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
