"""Logs until it is killed; says each step when the call that logged it has returned."""

import itertools

import mlflow

with mlflow.start_run() as run:
    print(run.info.run_id, flush=True)
    for step in itertools.count():
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        print(step, flush=True)
