"""MLflow's own commands, one after the other in one process; says what they printed."""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import mlflow
from mlflow.cli import cli


def said(*arguments: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.main(list(arguments), standalone_mode=False)
    return printed.getvalue()


with mlflow.start_run(run_name="by hand") as run:
    mlflow.log_metric("loss", 0.25)
run_id = run.info.run_id
print(run_id, flush=True)
told = {"created": said("experiments", "create", "-n", "by command")}
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "note.txt")
    file.write_text("hello")
    logged = ("--local-file", str(file), "--run-id", run_id, "--artifact-path", "notes")
    said("artifacts", "log-artifact", *logged)
told["artifacts"] = said("artifacts", "list", "--run-id", run_id, "--artifact-path", "notes")
told["runs"] = said("runs", "list", "--experiment-id", "0")
told["run"] = json.loads(said("runs", "describe", "--run-id", run_id))["data"]["metrics"]
told["experiments"] = said("experiments", "search")
said("runs", "delete", "--run-id", run_id)
told["stage"] = mlflow.get_run(run_id).info.lifecycle_stage
said("runs", "restore", "--run-id", run_id)
told["restored"] = mlflow.get_run(run_id).info.lifecycle_stage
print(json.dumps(told), file=sys.stdout)
