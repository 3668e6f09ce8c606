"""A program that knows MLflow only: trains a little and prints what MLflow tells it of that.

Arguments: the number of steps, and the seconds between two of them.
"""

import json
import math
import sys
import time

import mlflow
from mlflow import MlflowClient

steps, pause_s = int(sys.argv[1]), float(sys.argv[2])
mlflow.set_experiment("from mlflow")
calls_s = []
with mlflow.start_run(run_name="outer", tags={"team": "vision"}) as run:
    print(run.info.run_id, flush=True)
    mlflow.log_params({"lr": 0.1, "layers": 3})
    for step in range(steps):
        began = time.perf_counter()
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"acc": step / steps, "odd": math.nan}, step=step)
        calls_s.append(time.perf_counter() - began)
        time.sleep(pause_s)
    mlflow.set_tag("phase", "done")
    mlflow.set_tag("gone", "soon")
    mlflow.delete_tag("gone")
    dataset = mlflow.data.from_numpy(__import__("numpy").arange(12.0), name="twelve")
    mlflow.log_input(dataset, context="training")
    with mlflow.start_run(nested=True, run_name="inner"):
        mlflow.log_metric("loss", 7)
    client = MlflowClient()
    during = client.get_run(run.info.run_id)
    history = client.get_metric_history(run.info.run_id, "loss")
try:
    client.log_param(run.info.run_id, "lr", 5)
    refusal = None
except mlflow.MlflowException as error:
    refusal = [error.error_code, str(error)]
after = client.get_run(run.info.run_id)
print(
    json.dumps(
        {
            "calls_s": calls_s,
            "during": [during.info.status, during.data.params, during.data.metrics["loss"]],
            "tags": {k: v for k, v in during.data.tags.items() if not k.startswith("mlflow.")},
            "history": [[point.step, point.value] for point in history],
            "refusal": refusal,
            "after": [after.info.status, after.info.run_name, after.info.end_time is not None],
            "experiment": mlflow.get_experiment_by_name("from mlflow").experiment_id
            == run.info.experiment_id,
        }
    )
)
