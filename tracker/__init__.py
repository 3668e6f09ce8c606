"""tracker: experiment tracking whose log calls cost microseconds and are never lost.

    import tracker

    tracker.set_experiment("digits")
    with tracker.start_run():
        tracker.log_param("lr", 1e-3)
        tracker.log_metric("loss", 0.1, step=1)

The functions have MLflow's names and arguments. What only queries need is imported when
it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tracker.destination import get_tracking_uri, set_tracking_uri
from tracker.fluent import (
    active_run,
    delete_tag,
    end_run,
    flush,
    last_active_run,
    log_artifact,
    log_artifacts,
    log_dict,
    log_figure,
    log_image,
    log_input,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    log_table,
    log_text,
    set_tag,
    set_tags,
    start_run,
)
from tracker.run import Run
from tracker.version import VERSION as __version__  # noqa: N811 - the name Python expects

if TYPE_CHECKING:
    from tracker.artifacts.reading import download_artifacts, list_artifacts, load_artifact
    from tracker.async_client import AsyncClient
    from tracker.client import Client
    from tracker.experiments import create_experiment, set_experiment
    from tracker.queries import (
        delete_experiment,
        delete_run,
        get_experiment,
        get_experiment_by_name,
        get_metric_history,
        get_parent_run,
        get_run,
        rename_experiment,
        restore_experiment,
        restore_run,
        search_experiments,
        search_runs,
    )
    from tracker.views import ViewType

__all__ = [
    "AsyncClient",
    "Client",
    "Run",
    "ViewType",
    "__version__",
    "active_run",
    "create_experiment",
    "delete_experiment",
    "delete_run",
    "delete_tag",
    "download_artifacts",
    "end_run",
    "flush",
    "get_experiment",
    "get_experiment_by_name",
    "get_metric_history",
    "get_parent_run",
    "get_run",
    "get_tracking_uri",
    "last_active_run",
    "list_artifacts",
    "load_artifact",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_image",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "rename_experiment",
    "restore_experiment",
    "restore_run",
    "search_experiments",
    "search_runs",
    "set_experiment",
    "set_tag",
    "set_tags",
    "set_tracking_uri",
    "start_run",
]

_LATER = {
    "AsyncClient": "tracker.async_client",
    "Client": "tracker.client",
    "ViewType": "tracker.views",
    "download_artifacts": "tracker.artifacts.reading",
    "list_artifacts": "tracker.artifacts.reading",
    "load_artifact": "tracker.artifacts.reading",
    "create_experiment": "tracker.experiments",
    "set_experiment": "tracker.experiments",
    "delete_experiment": "tracker.queries",
    "delete_run": "tracker.queries",
    "get_experiment": "tracker.queries",
    "get_experiment_by_name": "tracker.queries",
    "get_metric_history": "tracker.queries",
    "get_parent_run": "tracker.queries",
    "get_run": "tracker.queries",
    "rename_experiment": "tracker.queries",
    "restore_experiment": "tracker.queries",
    "restore_run": "tracker.queries",
    "search_experiments": "tracker.queries",
    "search_runs": "tracker.queries",
}


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module 'tracker' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
