"""The SDK's public names and arguments, and what importing it costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tracker
from tests.support.mlflow_programs import NEWEST
from tests.support.processes import environment

ROOT = Path(__file__).parents[2]

# Arguments of MLflow's functions (and of MlflowClient's methods where there is no function).
# Ours may go on after them.
MLFLOW = {
    "set_tracking_uri": ["uri"],
    "get_tracking_uri": [],
    "set_experiment": ["experiment_name", "experiment_id"],
    "create_experiment": ["name", "artifact_location", "tags"],
    "get_experiment": ["experiment_id"],
    "get_experiment_by_name": ["name"],
    "search_experiments": ["view_type", "max_results", "filter_string", "order_by"],
    "rename_experiment": ["experiment_id", "new_name"],
    "delete_experiment": ["experiment_id"],
    "restore_experiment": ["experiment_id"],
    "start_run": ["run_id", "experiment_id", "run_name", "nested", "parent_run_id", "tags",
                  "description", "log_system_metrics"],
    "end_run": ["status"],
    "active_run": [],
    "last_active_run": [],
    "get_run": ["run_id"],
    "get_parent_run": ["run_id"],
    "search_runs": ["experiment_ids", "filter_string", "run_view_type", "max_results", "order_by",
                    "output_format", "search_all_experiments", "experiment_names"],
    "delete_run": ["run_id"],
    "restore_run": ["run_id"],
    "get_metric_history": ["run_id", "key"],
    "log_param": ["key", "value", "synchronous"],
    "log_params": ["params", "synchronous", "run_id"],
    "log_metric": ["key", "value", "step", "synchronous", "timestamp", "run_id"],
    "log_metrics": ["metrics", "step", "synchronous", "run_id", "timestamp"],
    "set_tag": ["key", "value", "synchronous"],
    "set_tags": ["tags", "synchronous"],
    "delete_tag": ["key"],
    "log_artifact": ["local_path", "artifact_path", "run_id"],
    "log_artifacts": ["local_dir", "artifact_path", "run_id"],
    "log_text": ["text", "artifact_file", "run_id"],
    "log_dict": ["dictionary", "artifact_file", "run_id"],
    "log_image": ["image", "artifact_file", "key", "step", "timestamp", "synchronous"],
    "log_figure": ["figure", "artifact_file", "save_kwargs"],
    "log_table": ["data", "artifact_file", "run_id"],
    "log_input": ["dataset", "context", "tags", "model"],
    "list_artifacts": ["artifact_uri", "run_id", "artifact_path", "tracking_uri"],
    "download_artifacts": ["artifact_uri", "run_id", "artifact_path", "dst_path", "tracking_uri",
                           "registry_uri"],
    "flush": ["timeout"],
}  # fmt: skip
# Functions that MLflow lacks, and what of its arguments ours do without: tracing is another
# product's, and a metric is of a run.
OURS_ALONE = {"flush"}
LEFT_OUT = {
    "set_experiment": {"trace_location"},
    "create_experiment": {"trace_location"},
    "log_metric": {"model_id", "dataset"},
    "log_metrics": {"model_id", "dataset"},
}
TELL_ARGUMENTS = """
import inspect, json, sys
import mlflow, mlflow.artifacts
told = {}
for name in sys.argv[1:]:
    of = next(place for place in (mlflow, mlflow.artifacts, mlflow.MlflowClient)
              if hasattr(place, name))
    told[name] = [each for each in inspect.signature(getattr(of, name)).parameters
                  if each != "self"]
print(json.dumps(told))
"""
RUN_METHODS = [
    "log_metric", "log_metrics", "log_param", "log_params", "set_tag", "set_tags", "delete_tag",
    "end_run", "flush", "get_metric_history", "log_artifact", "log_artifacts", "log_text",
    "log_dict", "log_image", "log_figure", "log_table", "log_input", "load_artifact",
    "list_artifacts", "download_artifacts",
]  # fmt: skip


@pytest.mark.parametrize("name", MLFLOW)
def test_a_function_takes_mlflows_arguments_in_mlflows_order(name: str) -> None:
    parameters = list(inspect.signature(getattr(tracker, name)).parameters)

    assert name in tracker.__all__
    assert parameters[: len(MLFLOW[name])] == MLFLOW[name]


def test_the_list_above_is_what_the_newest_mlflow_takes(tmp_path: Path) -> None:
    names = [name for name in MLFLOW if name not in OURS_ALONE]

    done = subprocess.run(
        [NEWEST, "-W", "ignore", "-c", TELL_ARGUMENTS, *names],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )

    told = json.loads(done.stdout)
    for name in names:
        theirs = [each for each in told[name] if each not in LEFT_OUT.get(name, ())]
        assert (name, theirs) == (name, MLFLOW[name])


@pytest.mark.parametrize("name", RUN_METHODS)
def test_a_run_has_the_functions_as_methods(name: str) -> None:
    assert callable(getattr(tracker.Run, name))


def test_mode_is_keyword_only() -> None:
    assert inspect.signature(tracker.start_run).parameters["mode"].kind.name == "KEYWORD_ONLY"


def test_every_public_name_exists() -> None:
    for name in tracker.__all__:
        assert getattr(tracker, name) is not None
    assert set(tracker.__all__) <= set(dir(tracker))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tracker.nonsense  # noqa: B018 - looking it up is the test


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert tracker.__version__ == project["project"]["version"]


def test_importing_the_sdk_imports_nothing_heavy() -> None:
    command = "import sys, tracker; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "pydantic", "aiohttp", "asyncio", "msgpack", "click", "rich", "pandas",
             "subprocess", "logging", "hashlib", "sqlite3", "tomllib", "ssl", "datetime",
             "dataclasses", "inspect",
             "tracker.client", "tracker.entities", "tracker.context"}  # fmt: skip

    assert not heavy & set(done.stdout.split())
