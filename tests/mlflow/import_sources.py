"""Fills stores of MLflow's own, and says what a client reads; run by MLflow's interpreter.

    import_sources.py fill URI FOLDER [say URI …]

Prints one JSON line: for each URI the experiments, runs with their histories, and models.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelTag,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.tracking._tracking_service.utils import _get_store

logging.disable(logging.CRITICAL)


# Later than any experiment of a test is made.
START = 1_900_000_000_000


def fill(uri: str, folder: str) -> None:
    mlflow.set_tracking_uri(uri)
    client, store = MlflowClient(uri), _get_store(uri)
    location = f"file://{folder}/files"
    tags = {"team": "a b", "mlflow.note": "é"}
    first = client.create_experiment("vision", location, tags=tags)
    gone = client.create_experiment("gone", location)
    parent = ""
    for number in range(5):
        experiment = first if number < 4 else gone
        start = START + number
        tags = {"t": str(number)} | ({"mlflow.parentRunId": parent} if number == 1 else {})
        run = client.create_run(experiment, start, tags, f"r{number}")
        parent = run.info.run_id
        fill_run(client, store, run.info.run_id, number)
    client.delete_experiment(gone)
    client.create_registered_model("of no interest here")


def fill_run(client: MlflowClient, store: Any, run_id: str, number: int) -> None:
    values = [0.5, math.nan, math.inf, -math.inf, -0.0, 1e-300]
    points = [
        Metric(key, values[step % 6] + (step if step % 6 == 0 else 0), START + step, step)
        for key in ("loss", "val/acc", "a b")
        for step in range(-2, 100)
    ]
    for start in range(0, len(points), 900):
        client.log_batch(run_id, points[start : start + 900])
    client.log_batch(
        run_id,
        params=[Param("lr", "0.1"), Param("weird key", "é" * 20), Param("empty", "")],
        tags=[RunTag("mlflow.user", "ann"), RunTag("a/b", "x\ny")],
    )
    dataset = Dataset("train", f"d{number}", "local", "there", "{}", "{}")
    store.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "out.txt"
        path.write_text(f"of run {number}")
        client.log_artifact(run_id, str(path))
        client.log_artifact(run_id, str(path), "deep/er")
    run = client.get_run(run_id)
    model = store.create_logged_model(
        run.info.experiment_id, f"m{number}", run_id, params=[LoggedModelParameter("depth", "3")]
    )
    store.log_outputs(run_id, [LoggedModelOutput(model.model_id, 7)])
    if number:
        store.log_inputs(run_id, None, [LoggedModelInput(model.model_id)])
    scores = {"auc": 0.9, "odd": math.nan, "far": -math.inf}
    store.log_batch(
        run_id,
        [
            Metric(key, value, START + 500, 3, model.model_id, "train", f"d{number}")
            for key, value in scores.items()
        ],
        [],
        [],
    )
    if number == 1:
        store.finalize_logged_model(model.model_id, mlflow.entities.LoggedModelStatus.READY)
        store.set_logged_model_tags(model.model_id, [LoggedModelTag("stage", "x")])
    if number == 2:
        client.delete_run(run_id)
    if number == 3:
        client.set_terminated(run_id, "FAILED", START + 999_000)


def said(uri: str) -> dict[str, Any]:
    """What a client reads at `uri`, of either side."""
    client = MlflowClient(uri)
    experiments = client.search_experiments(ViewType.ALL)
    ids = [experiment.experiment_id for experiment in experiments]
    runs = client.search_runs(ids, "", ViewType.ALL, 1000)
    models = client.search_logged_models(ids)
    return {
        "experiments": sorted(
            [
                e.experiment_id, e.name, e.lifecycle_stage, e.creation_time,
                {k: v for k, v in e.tags.items() if not k.startswith("mlflow.experiment")},
            ]
            for e in experiments
        ),
        "runs": {run.info.run_id: run_said(client, run) for run in runs},
        "models": {model.model_id: model_said(model) for model in models},
    }  # fmt: skip


def run_said(client: MlflowClient, run: Any) -> dict[str, Any]:
    info = run.info
    return {
        "info": [
            info.experiment_id, info.run_name, info.user_id, info.status, info.start_time,
            info.end_time, info.lifecycle_stage,
        ],
        "params": run.data.params,
        "tags": run.data.tags,
        "latest": {m.key: [repr(m.value), m.timestamp, m.step] for m in run.data._metric_objs},
        "histories": {
            key: sorted(
                [m.timestamp, m.step, repr(m.value)]
                for m in client.get_metric_history(info.run_id, key)
            )
            for key in run.data.metrics
        },
        "datasets": [
            [i.dataset.name, i.dataset.digest, i.dataset.source, {t.key: t.value for t in i.tags}]
            for i in run.inputs.dataset_inputs
        ],
        "outputs": [[o.model_id, o.step] for o in run.outputs.model_outputs],
    }  # fmt: skip


def model_said(model: Any) -> list[Any]:
    return [
        model.experiment_id, model.name, model.source_run_id, str(model.status), model.params,
        model.tags, model.creation_timestamp,
        sorted([m.key, repr(m.value), m.step, m.dataset_name] for m in model.metrics or []),
    ]  # fmt: skip


def main(arguments: list[str]) -> None:
    answers = {}
    while arguments:
        verb, uri, *arguments = arguments
        if verb == "fill":
            folder, *arguments = arguments
            fill(uri, folder)
        answers[uri] = said(uri)
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
