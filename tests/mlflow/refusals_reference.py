"""Asks MLflow's own server, without a network, what a file of requests asks; prints its answers.

Run by MLflow's interpreter; the file's names are what it creates first.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

logging.disable(logging.CRITICAL)
API = "/api/2.0/mlflow"


def main(asked_path: str, folder: str) -> None:
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
    os.environ["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] = f"{folder}/artifacts"
    os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
    from mlflow.server import app  # reads the environment when it is imported

    asked = json.loads(Path(asked_path).read_text())
    client = app.test_client()

    def ask(method: str, path: str, said: dict[str, Any]) -> Any:
        if method == "GET":
            return client.get(f"{API}/{path}", query_string=said)
        return client.open(f"{API}/{path}", method=method, json=said)

    names: dict[str, str] = {}

    def filled(text: str) -> str:
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    for name, method, path, said, where in asked["first"]:
        answer = ask(method, filled(path), json.loads(filled(json.dumps(said))))
        assert answer.status_code == 200, (path, answer.get_data())
        found = answer.get_json()
        for key in where:
            found = found[key]
        if name:
            names[name] = found
    answers = []
    for method, path, said in asked["requests"]:
        answer = ask(method, filled(path), json.loads(filled(json.dumps(said))))
        answers.append([answer.status_code, answer.get_json(silent=True), names])
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
