"""What a user would write: a small sweep on scikit-learn's handwritten digits, tracked.

Runs as `python -m tracker.demo.train [--offline]`. Prints one JSON line at the end with
what it logged and what each log call cost, for the demo's final table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tracker

BATCH_SIZE = 64
SWEEP = tuple(itertools.product((0.001, 0.01, 0.1), (16, 64)))  # learning rate x hidden units


@dataclass
class CallCosts:
    """The duration of every log call and the number of points it carried."""

    nanoseconds: list[int] = field(default_factory=list)
    points: int = 0

    def log_metrics(self, metrics: dict[str, float], *, step: int) -> None:
        began = time.perf_counter_ns()
        tracker.log_metrics(metrics, step=step)
        self.nanoseconds.append(time.perf_counter_ns() - began)
        self.points += len(metrics)


@dataclass(frozen=True)
class Digits:
    train_x: NDArray[np.float64]
    test_x: NDArray[np.float64]
    train_y: NDArray[np.int64]
    test_y: NDArray[np.int64]

    @staticmethod
    def load() -> Digits:
        pixels, labels = load_digits(return_X_y=True)
        parts = train_test_split(pixels / 16.0, labels, test_size=0.25, random_state=0)
        return Digits(*parts)

    def batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        order = rng.permutation(len(self.train_y))
        for start in range(0, len(order), BATCH_SIZE):
            yield order[start : start + BATCH_SIZE]


def train(
    digits: Digits, *, learning_rate: float, hidden: int, epochs: int, costs: CallCosts
) -> float:
    """Train one network inside the active run; return its accuracy on held-out digits."""
    tracker.log_params(
        {"learning_rate": learning_rate, "hidden": hidden, "epochs": epochs, "batch": BATCH_SIZE}
    )
    model = MLPClassifier(
        hidden_layer_sizes=(hidden,), learning_rate_init=learning_rate, random_state=0
    )
    rng = np.random.default_rng(0)
    classes = np.arange(10)
    accuracy = 0.0
    step = 0
    for epoch in range(epochs):
        for batch in digits.batches(rng):
            x, y = digits.train_x[batch], digits.train_y[batch]
            model.partial_fit(x, y, classes=classes)
            probabilities = model.predict_proba(x)
            costs.log_metrics(
                {
                    "train/loss": log_loss(y, probabilities, labels=classes),
                    "train/accuracy": accuracy_score(y, probabilities.argmax(axis=1)),
                },
                step=step,
            )
            step += 1
        accuracy = accuracy_score(digits.test_y, model.predict(digits.test_x))
        costs.log_metrics({"test/accuracy": accuracy, "epoch": epoch}, step=step)
    keep(model, digits)
    return float(accuracy)


def keep(model: MLPClassifier, digits: Digits) -> None:
    """Log what was learnt: the confusion matrix as a figure, and the fitted model's file."""
    tracker.log_input(digits.train_x, context="training")
    figure, axes = plt.subplots(figsize=(5, 5))
    shown = ConfusionMatrixDisplay.from_predictions(
        digits.test_y, model.predict(digits.test_x), ax=axes, colorbar=False
    )
    shown.ax_.set_title("Digits held out")
    tracker.log_figure(figure, "confusion_matrix.png")
    plt.close(figure)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.joblib"
        joblib.dump(model, path)
        tracker.log_artifact(path, "model")


def sweep(epochs: int, costs: CallCosts) -> None:
    digits = Digits.load()
    best = 0.0
    with tracker.start_run(run_name="sweep", description="Learning rate and width on digits"):
        tracker.log_params({"learning_rates": [0.001, 0.01, 0.1], "hidden_units": [16, 64]})
        for number, (learning_rate, hidden) in enumerate(SWEEP):
            with tracker.start_run(run_name=f"lr={learning_rate} hidden={hidden}", nested=True):
                tracker.set_tag("model", "MLPClassifier")
                accuracy = train(
                    digits, learning_rate=learning_rate, hidden=hidden, epochs=epochs, costs=costs
                )
            best = max(best, accuracy)
            costs.log_metrics({"best_accuracy": best}, step=number)


def offline(epochs: int, costs: CallCosts) -> None:
    with tracker.start_run(run_name="offline lr=0.003 hidden=32", mode="offline"):
        tracker.set_tags({"model": "MLPClassifier", "trained": "without a network"})
        train(Digits.load(), learning_rate=0.003, hidden=32, epochs=epochs, costs=costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    matplotlib.use("Agg")
    costs = CallCosts()
    tracker.set_experiment("digits")
    (offline if arguments.offline else sweep)(arguments.epochs, costs)
    print(json.dumps({"points": costs.points, "nanoseconds": costs.nanoseconds}))  # noqa: T201  # the demo reads this line


if __name__ == "__main__":
    main()
