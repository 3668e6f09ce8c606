"""What else programs do that know MLflow only: threads, forks, asynchronous logging, searches.

Prints, as every program of the plugin's tests, the outer run's id first and one line of JSON
last.
"""

import json
import multiprocessing
import os
import threading
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

THREADS, STEPS = 8, 50


def log_many(run_id: str, number: int) -> None:
    client = MlflowClient()
    for step in range(STEPS):
        client.log_metric(run_id, f"thread_{number}", step, step=step)
        mlflow.log_metric("shared", number, step=step, run_id=run_id)


def log_in_child(run_id: str) -> None:
    MlflowClient().log_metric(run_id, "from_child", 1.5, step=3)


def in_threads(run_id: str) -> list[str]:
    """All log at once, while this one reads; what was raised anywhere."""
    failures = []
    threads = [
        threading.Thread(target=log_many, args=(run_id, number)) for number in range(THREADS)
    ]
    threading.excepthook = lambda raised: failures.append(repr(raised.exc_value))
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        MlflowClient().get_run(run_id)
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    return failures


def asynchronously(run_id: str) -> None:
    for step in range(STEPS):
        mlflow.log_metric("later", step, step=step, synchronous=False)
    mlflow.log_params({"p": 1, "q": 2}, synchronous=False).wait()
    client = MlflowClient()
    at = int(time.time() * 1000)
    client.log_batch(
        run_id,
        [Metric("many", n, at, n // 2) for n in range(10)]
        + [Metric("twice", n, at, 0) for n in (1, 2)],
        [Param("batch", "yes")],
        [RunTag("batched", "yes")],
        synchronous=False,
    ).wait()
    mlflow.flush_async_logging()


def main() -> None:
    mlflow.set_experiment("tour")
    mlflow.set_experiment_tag("purpose", "a tour")
    with mlflow.start_run(run_name="outer") as run:
        run_id = run.info.run_id
        print(run_id, flush=True)
        failures = in_threads(run_id)
        asynchronously(run_id)
        child = multiprocessing.get_context("fork").Process(target=log_in_child, args=(run_id,))
        child.start()
        child.join()
        for number in range(3):
            with mlflow.start_run(run_name=f"inner {number}", nested=True):
                mlflow.log_param("number", number)
                mlflow.log_metric("score", number / 2)
    found = mlflow.search_runs(
        experiment_names=["tour"],
        filter_string="metrics.score >= 0.5 and params.number != '7'",
        order_by=["metrics.score DESC"],
        output_format="list",
    )
    client = MlflowClient()
    got = client.get_run(run_id)
    history = client.get_metric_history(run_id, "later")
    with mlflow.start_run(run_id=run_id):
        mlflow.set_tag("again", os.environ.get("AGAIN", "yes"))
    told = {
        "failures": failures,
        "child": child.exitcode,
        "found": [each.info.run_name for each in found],
        "params": got.data.params,
        "later": [point.value for point in history],
        "shared": got.data.metrics["shared"],
        "twice": got.data.metrics["twice"],
        "purpose": mlflow.get_experiment_by_name("tour").tags["purpose"],
        "status": client.get_run(run_id).info.status,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
