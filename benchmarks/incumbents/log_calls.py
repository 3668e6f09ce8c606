"""One target's log calls, timed. Runs in the environment that has the target installed.

`python log_calls.py TARGET CALLS METRICS FOLDER` prints one JSON line with nanoseconds per
call. Only the standard library is imported here besides the target itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

LogMetrics = Callable[[dict[str, float], int], None]


def open_tracker(folder: Path) -> tuple[LogMetrics, Callable[[], None]]:
    os.environ.update(
        TRACKER_HOME=str(folder), TRACKER_SPOOL_DIR=str(folder / "spool"), TRACKER_QUIET="1"
    )
    import tracker

    tracker.start_run(mode="offline")

    def log(metrics: dict[str, float], step: int) -> None:
        if len(metrics) == 1:
            for key, value in metrics.items():
                tracker.log_metric(key, value, step=step)
        else:
            tracker.log_metrics(metrics, step=step)

    return log, tracker.end_run


def open_mlflow(folder: Path) -> tuple[LogMetrics, Callable[[], None]]:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    import mlflow

    mlflow.start_run()

    def log(metrics: dict[str, float], step: int) -> None:
        if len(metrics) == 1:
            for key, value in metrics.items():
                mlflow.log_metric(key, value, step=step)
        else:
            mlflow.log_metrics(metrics, step=step)

    return log, mlflow.end_run


def open_wandb(folder: Path) -> tuple[LogMetrics, Callable[[], None]]:
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=str(folder))
    import wandb

    run = wandb.init(project="bench")

    def log(metrics: dict[str, float], step: int) -> None:
        run.log(metrics, step=step)

    return log, run.finish


TARGETS = {"tracker": open_tracker, "mlflow-sqlite": open_mlflow, "wandb-offline": open_wandb}


def main() -> None:
    target, calls, width, folder = sys.argv[1:5]
    log, finish = TARGETS[target](Path(folder))
    metrics = {f"metric_{index}": 0.5 for index in range(int(width))}
    times = []
    for step in range(int(calls)):
        for key in metrics:
            metrics[key] = 1.0 / (step + 1)
        began = time.perf_counter_ns()
        log(metrics, step)
        times.append(time.perf_counter_ns() - began)
    finish()
    print(json.dumps(times))


if __name__ == "__main__":
    main()
