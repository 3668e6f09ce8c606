"""What scripts do with MLflow's client, against the server in MLFLOW_TRACKING_URI.

Run by tests/e2e/test_mlflow_rest_clients.py in an environment that has MLflow and nothing of
ours. Every section is a function; the last line says that all of them went through.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException, RestException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository


def refused(call: Callable[[], object]) -> MlflowException:
    try:
        call()
    except MlflowException as error:
        return error
    raise AssertionError("it was not refused")


def fluent_api(client: MlflowClient) -> None:
    experiment = mlflow.set_experiment("tour")
    with mlflow.start_run(run_name="first", tags={"team": "a"}, description="notes") as run:
        mlflow.log_params({"lr": 0.1, "layers": [1, 2], "empty": ""})
        for step in range(50):
            mlflow.log_metrics({"loss": 1 / (step + 1), "acc": step / 50}, step=step)
        mlflow.log_metric("nan", math.nan)
        mlflow.log_metric("inf", math.inf)
        mlflow.set_tags({"a": "1", "b": "2"})
        mlflow.delete_tag("b")
        mlflow.log_input(
            mlflow.data.from_pandas(pandas.DataFrame({"x": [1, 2]}), name="frame"), context="train"
        )
        with mlflow.start_run(nested=True, run_name="child") as child:
            mlflow.log_metric("loss", 3)

    found = client.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.end_time >= found.info.start_time > 0
    assert found.info.experiment_id == experiment.experiment_id
    assert found.data.params == {"lr": "0.1", "layers": "[1, 2]", "empty": ""}
    assert found.data.metrics["loss"] == 1 / 50
    assert math.isnan(found.data.metrics["nan"])
    assert found.data.metrics["inf"] == 1.7976931348623157e308
    tags = found.data.tags
    assert (tags["team"], tags["a"], tags["mlflow.runName"]) == ("a", "1", "first")
    assert tags["mlflow.note.content"] == "notes"
    assert "b" not in tags
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.tags[0].value) == ("frame", "train")
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(i, 1 / (i + 1)) for i in range(50)]

    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("loss", 0, step=50)
    resumed = client.get_run(run.info.run_id)
    assert (resumed.info.status, resumed.data.metrics["loss"]) == ("FINISHED", 0)

    runs = mlflow.search_runs(
        experiment_names=["tour"], filter_string="metrics.loss < 2 and params.lr = '0.1'"
    )
    assert list(runs["run_id"]) == [run.info.run_id]


def a_run_that_fails(client: MlflowClient) -> None:
    try:
        with mlflow.start_run() as run:
            raise KeyError("training broke")
    except KeyError:
        pass
    assert client.get_run(run.info.run_id).info.status == "FAILED"


def client_api(client: MlflowClient) -> None:
    experiment_id = client.create_experiment("by client", tags={"k": "v"})
    experiment = client.get_experiment(experiment_id)
    assert experiment.artifact_location == f"mlflow-artifacts:/{experiment_id}"
    assert experiment.tags == {"k": "v"}
    client.set_experiment_tag(experiment_id, "k2", "v2")
    client.rename_experiment(experiment_id, "renamed")
    assert client.get_experiment_by_name("renamed").tags == {"k": "v", "k2": "v2"}
    assert client.get_experiment_by_name("by client") is None

    run = client.create_run(experiment_id, start_time=123, tags={"mlflow.user": "me"})
    run_id = run.info.run_id
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric("m", i, now, i) for i in range(1000)],
        params=[],
        tags=[],
    )
    client.log_batch(run_id, params=[Param("p", "1")], tags=[RunTag("t", "1")])
    client.log_metric(run_id, "m", -1, timestamp=now, step=2000)
    client.update_run(run_id, name="other name")
    client.set_terminated(run_id, status="KILLED", end_time=456)
    found = client.get_run(run_id)
    assert (found.info.run_name, found.info.status) == ("other name", "KILLED")
    assert (found.info.start_time, found.info.end_time) == (123, 456)
    assert (found.data.metrics, found.data.params) == ({"m": -1}, {"p": "1"})
    assert len(client.get_metric_history(run_id, "m")) == 1001

    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert not client.search_runs([experiment_id])
    (gone,) = client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert gone.info.run_id == run_id
    client.restore_run(run_id)
    client.delete_experiment(experiment_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    client.restore_experiment(experiment_id)
    assert client.get_run(run_id).info.lifecycle_stage == "active"


def refusals(client: MlflowClient) -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("fixed", 1)
        changed = refused(lambda: mlflow.log_param("fixed", 2))
    assert changed.error_code == "INVALID_PARAMETER_VALUE"
    assert "Changing param values is not allowed" in str(changed)
    for call, code in (
        (lambda: client.get_run("nothing"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: client.get_experiment("987654"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: client.create_experiment("Default"), "RESOURCE_ALREADY_EXISTS"),
        (lambda: client.delete_tag(run.info.run_id, "no such"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: client.search_runs(["0"], "nonsense !!"), "INVALID_PARAMETER_VALUE"),
        (lambda: client.create_registered_model("m"), "NOT_IMPLEMENTED"),
    ):
        # At once, which means without a retry; the best of several on a machine that stalls.
        times: list[float] = []
        while not any(took < 5 for took in times) and len(times) < 5:
            began = time.monotonic()
            error = refused(call)
            times.append(time.monotonic() - began)
            assert isinstance(error, RestException), error
            assert error.error_code == code, error
        assert min(times) < 5, times


def threads(client: MlflowClient) -> None:
    """Forty threads log into one run; nothing is lost, nothing is doubled."""
    with mlflow.start_run() as run:
        run_id = run.info.run_id

    def work(thread: int) -> None:
        for step in range(25):
            client.log_metric(run_id, f"m{thread % 4}", thread, step=thread * 100 + step)
        client.log_param(run_id, f"p{thread}", thread)
        client.set_tag(run_id, f"t{thread}", thread)

    working = [threading.Thread(target=work, args=(i,)) for i in range(40)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    found = client.get_run(run_id)
    assert len(found.data.params) == 40
    assert {f"t{i}" for i in range(40)} <= found.data.tags.keys()
    for i in range(4):
        assert len(client.get_metric_history(run_id, f"m{i}")) == 250


def async_logging(client: MlflowClient) -> None:
    with mlflow.start_run() as run:
        futures = [
            mlflow.log_metric("loss", step, step=step, synchronous=False) for step in range(200)
        ]
        futures += [mlflow.log_params({"later": 1}, synchronous=False)]
        for future in futures:
            future.wait()
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 200
    assert client.get_run(run.info.run_id).data.params == {"later": "1"}


def artifacts(client: MlflowClient, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "numbers.bin").write_bytes(os.urandom(300_000))
    (folder / "grüße.txt").write_text("hallo")
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "tree")
        mlflow.log_text("some text", "notes/a b.txt")
        mlflow.log_dict({"x": [1, 2]}, "notes/d.json")
    root = get_artifact_repository(run.info.artifact_uri)
    assert [f.path for f in root.list_artifacts()] == ["notes", "tree"]
    assert {(f.path, f.is_dir) for f in root.list_artifacts("tree")} == {
        ("tree/grüße.txt", False),
        ("tree/sub", True),
    }
    copied = Path(root.download_artifacts("tree"))
    assert (copied / "grüße.txt").read_text() == "hallo"
    numbers = (folder / "sub" / "numbers.bin").read_bytes()
    assert (copied / "sub" / "numbers.bin").read_bytes() == numbers
    assert Path(root.download_artifacts("notes/a b.txt")).read_text() == "some text"

    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
    os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = "1000"
    os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = str(5 * 1024 * 1024)
    large = folder / "large.bin"
    large.write_bytes(os.urandom(11 * 1024 * 1024))
    client.log_artifact(run.info.run_id, str(large), "parts")
    del os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"]
    assert Path(root.download_artifacts("parts/large.bin")).read_bytes() == large.read_bytes()

    root.delete_artifacts("tree")
    assert [f.path for f in root.list_artifacts()] == ["notes", "parts"]


def command_line(client: MlflowClient) -> None:
    import mlflow.experiments
    import mlflow.runs

    def run(group: Any, *arguments: str) -> str:
        result = CliRunner().invoke(group, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    experiments, runs = mlflow.experiments.commands, mlflow.runs.commands
    run(experiments, "create", "--experiment-name", "cli")
    experiment_id = client.get_experiment_by_name("cli").experiment_id
    assert "cli" in run(experiments, "search")
    run(experiments, "rename", "--experiment-id", experiment_id, "--new-name", "cli2")
    run_id = client.create_run(experiment_id, run_name="listed").info.run_id
    assert run_id in run(runs, "list", "--experiment-id", experiment_id)
    run(runs, "delete", "--run-id", run_id)
    run(runs, "restore", "--run-id", run_id)
    assert "listed" in run(runs, "describe", "--run-id", run_id)
    run(experiments, "delete", "--experiment-id", experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    run(experiments, "restore", "--experiment-id", experiment_id)


def main() -> None:
    client = MlflowClient()
    fluent_api(client)
    a_run_that_fails(client)
    client_api(client)
    refusals(client)
    threads(client)
    async_logging(client)
    with tempfile.TemporaryDirectory() as folder:
        artifacts(client, Path(folder))
    command_line(client)
    print("toured with", mlflow.__version__)


if __name__ == "__main__":
    main()
