"""Files, a fitted model and autologging, by a program that knows MLflow only."""

import json
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

is_online = sys.argv[1] == "online"
mlflow.set_experiment("models")
x, y = np.arange(20.0).reshape(-1, 1), np.arange(20) > 9
with mlflow.start_run() as run:
    print(run.info.run_id, flush=True)
    mlflow.log_text("hello", "notes/a.txt")
    mlflow.log_dict({"a": 1}, "d.json")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "b.bin").write_bytes(bytes(range(256)) * 8000)
        mlflow.log_artifacts(folder, "folder")
    model = LogisticRegression().fit(x, y)
    # Named, so that MLflow need not find them out in a process of its own.
    needs = ["scikit-learn"]
    info = mlflow.sklearn.log_model(model, name="clf", input_example=x[:2], pip_requirements=needs)
    mlflow.log_metric("score", 1.0)
told = {"model_id": getattr(info, "model_id", None), "model_uri": info.model_uri}
client = MlflowClient()
told["model"] = [
    mlflow.get_logged_model(info.model_id).name,
    str(mlflow.get_logged_model(info.model_id).status),
]
told["outputs"] = [out.model_id for out in client.get_run(run.info.run_id).outputs.model_outputs]
mlflow.sklearn.autolog(log_datasets=False, log_models=False)
with mlflow.start_run() as auto:
    LogisticRegression(C=0.5).fit(x, y)
told["auto"] = client.get_run(auto.info.run_id).data.params.get("C")
if is_online:
    told["listed"] = sorted(f.path for f in client.list_artifacts(run.info.run_id))
    told["text"] = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/a.txt")
    place = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="folder")
    told["size"] = Path(place, "b.bin").stat().st_size
    again = mlflow.sklearn.load_model(info.model_uri)
    told["same"] = bool((again.predict(x) == model.predict(x)).all())
print(json.dumps(told))
