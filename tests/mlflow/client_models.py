"""Models as scripts make them: autologging, log_model, load_model. See client_tour."""

from __future__ import annotations

import mlflow
import numpy
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def autologged(client: MlflowClient) -> None:
    features, labels = load_iris(return_X_y=True)
    mlflow.sklearn.autolog(log_datasets=True)
    with mlflow.start_run() as run:
        model = LogisticRegression(max_iter=50).fit(features, labels)
        model.score(features, labels)
    mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["max_iter"] == "50"
    assert found.data.metrics["training_accuracy_score"] > 0.9
    assert found.inputs.dataset_inputs
    assert found.data.tags["estimator_name"] == "LogisticRegression"
    paths = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert "training_confusion_matrix.png" in paths or "estimator.html" in paths
    (output,) = found.outputs.model_outputs
    loaded = mlflow.sklearn.load_model(f"models:/{output.model_id}")
    assert (loaded.predict(features) == model.predict(features)).all()


def logged_and_loaded(client: MlflowClient) -> None:
    features, labels = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=200).fit(features, labels)
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(model, name="iris", input_example=features[:2])
    by_model = mlflow.pyfunc.load_model(info.model_uri)
    by_run = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/iris")
    assert (by_model.predict(features) == by_run.predict(features)).all()
    assert isinstance(by_model.predict(features), numpy.ndarray)
    logged = client.get_logged_model(info.model_id)
    assert (logged.name, logged.status, logged.source_run_id) == ("iris", "READY", run.info.run_id)
    copied = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="iris")
    assert mlflow.models.Model.load(copied).signature is not None


def main() -> None:
    mlflow.set_experiment("models")
    client = MlflowClient()
    autologged(client)
    logged_and_loaded(client)
    print("modelled with", mlflow.__version__)


if __name__ == "__main__":
    main()
