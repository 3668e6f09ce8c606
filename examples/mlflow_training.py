"""A training script that knows MLflow and nothing else.

    pip install mlflow-skinny scikit-learn 'tracker[mlflow]'
    MLFLOW_TRACKING_URI=tracker+http://127.0.0.1:5000 python examples/mlflow_training.py

Where it logs to is said by that one variable; take_the_server_away.py runs it while its
server is killed and started again.
"""

from __future__ import annotations

import sys
import time

import mlflow
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split


def train(epochs: int, pause_s: float) -> str:
    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16.0, digits, random_state=0)
    model = SGDClassifier(loss="log_loss", alpha=1e-4, random_state=0)
    mlflow.set_experiment("digits, by MLflow")
    with mlflow.start_run(run_name="sgd") as run:
        mlflow.log_params({"loss": "log_loss", "alpha": 1e-4, "epochs": epochs})
        for epoch in range(epochs):
            model.partial_fit(train_x, train_y, classes=np.unique(digits))
            mlflow.log_metrics(
                {
                    "train/loss": log_loss(train_y, model.predict_proba(train_x)),
                    "test/loss": log_loss(test_y, model.predict_proba(test_x)),
                    "test/accuracy": model.score(test_x, test_y),
                },
                step=epoch,
            )
            time.sleep(pause_s)
        mlflow.set_tag("finished", "yes")
    return run.info.run_id


if __name__ == "__main__":
    print(train(epochs=int(sys.argv[1]) if sys.argv[1:] else 50, pause_s=0.1))
