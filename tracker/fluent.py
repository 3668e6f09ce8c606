"""The fluent functions about runs and what they log, with MLflow's names and arguments.

Each one finds the run it means and calls that run's method, where the argument's meaning
is described. The run is the one of this thread or asyncio task, else the run of the
process; without any, the first log call starts one. `run_id=` logs to that run as a
further writer, from any process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from tracker.active import context_run
from tracker.exits import Outcome
from tracker.notices import notices
from tracker.run import Run, status_of
from tracker.session import Session
from tracker.starting import Asked

session: Final = Session()
_active: Final = session.active
_context_run: Final = context_run.get


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
    *,
    mode: str | None = None,
    user: str | None = None,
    snapshot: str | None = None,
) -> Run:
    """Start a run, or go on with one, and make it the one that log calls belong to.

    `run_id` resumes that run, as TRACKER_RUN_ID does for the first run of a script. A
    process that a run's own process has started joins that run instead: it adds to it and
    never ends it (nested=True starts a run of its own below it). `mode` is "online",
    "offline" (kept in the spool until `tracker sync`) or "disabled"; TRACKER_MODE is the
    default. `snapshot` is "all", "environment" or "none": what a new run keeps of the packages,
    Python and code it was made with; TRACKER_SNAPSHOT is the default. Raises RunAlreadyActive
    inside another run unless `nested`.
    """
    if log_system_metrics:
        notices.warn_once("system_metrics", "log_system_metrics is not supported; it is ignored")
    return session.start_run(
        Asked(
            run_id=run_id,
            experiment_id=experiment_id,
            run_name=run_name,
            is_nested=nested,
            parent_run_id=parent_run_id,
            tags=tags,
            description=description,
            mode=mode,
            user=user,
            snapshot=snapshot,
        )
    )


def end_run(status: str = "FINISHED") -> None:
    """End the innermost run of this thread or task; without one nothing happens.

    A thread never ends a run that another thread has started.
    """
    session.end_current(Outcome(status_of(status)))


def active_run() -> Run | None:
    """The run that log calls made here belong to, if there is one."""
    return _active.current()


def last_active_run() -> Run | None:
    """The run of this process that is active, else the one that was started last."""
    return _active.current() or _active.last


def log_metric(
    key: str,
    value: Any,
    step: int | None = None,
    synchronous: bool | None = None,
    timestamp: float | None = None,
    run_id: str | None = None,
) -> None:
    """Record one point of one metric; see Run.log_metric."""
    run = _context_run() or _active.shared
    if run is None or run.is_ended or run_id is not None:
        run = session.run_for_log(run_id)
    run.log_metric(key, value, step, synchronous, timestamp)


def log_metrics(
    metrics: Mapping[str, Any],
    step: int | None = None,
    synchronous: bool | None = None,
    run_id: str | None = None,
    timestamp: float | None = None,
) -> None:
    """Record one point of each metric; see Run.log_metrics."""
    run = _context_run() or _active.shared
    if run is None or run.is_ended or run_id is not None:
        run = session.run_for_log(run_id)
    run.log_metrics(metrics, step, synchronous, timestamp)


def log_param(
    key: str, value: Any, synchronous: bool | None = None, *, run_id: str | None = None
) -> Any:
    """Record one param and return `value`; see Run.log_param."""
    return session.run_for_log(run_id).log_param(key, value)


def log_params(
    params: Mapping[str, Any], synchronous: bool | None = None, run_id: str | None = None
) -> None:
    """Record several params; see Run.log_params."""
    session.run_for_log(run_id).log_params(params)


def set_tag(
    key: str, value: Any, synchronous: bool | None = None, *, run_id: str | None = None
) -> None:
    """Set one tag; see Run.set_tag."""
    session.run_for_log(run_id).set_tag(key, value)


def set_tags(
    tags: Mapping[str, Any], synchronous: bool | None = None, *, run_id: str | None = None
) -> None:
    """Set several tags; see Run.set_tags."""
    session.run_for_log(run_id).set_tags(tags)


def delete_tag(key: str, *, run_id: str | None = None) -> None:
    """Take a tag away; see Run.delete_tag."""
    session.run_for_log(run_id).delete_tag(key)


def log_artifact(
    local_path: str | os.PathLike[str],
    artifact_path: str | None = None,
    run_id: str | None = None,
    *,
    reference: bool = False,
) -> None:
    """Log a file or folder; see Run.log_artifact."""
    session.run_for_log(run_id).log_artifact(local_path, artifact_path, reference=reference)


def log_artifacts(
    local_dir: str | os.PathLike[str],
    artifact_path: str | None = None,
    run_id: str | None = None,
) -> None:
    """Log every file of a folder; see Run.log_artifacts."""
    session.run_for_log(run_id).log_artifacts(local_dir, artifact_path)


def log_text(text: str, artifact_file: str, run_id: str | None = None) -> None:
    """Log text as a file; see Run.log_text."""
    session.run_for_log(run_id).log_text(text, artifact_file)


def log_dict(
    dictionary: Mapping[str, Any] | list[Any], artifact_file: str, run_id: str | None = None
) -> None:
    """Log a dictionary as JSON or YAML; see Run.log_dict."""
    session.run_for_log(run_id).log_dict(dictionary, artifact_file)


def log_image(
    image: Any,
    artifact_file: str | None = None,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
    synchronous: bool | None = None,
    *,
    run_id: str | None = None,
) -> None:
    """Log an image; see Run.log_image."""
    session.run_for_log(run_id).log_image(image, artifact_file, key, step, timestamp)


def log_figure(
    figure: Any,
    artifact_file: str,
    *,
    save_kwargs: Mapping[str, Any] | None = None,
    run_id: str | None = None,
) -> None:
    """Log a figure of matplotlib or plotly; see Run.log_figure."""
    session.run_for_log(run_id).log_figure(figure, artifact_file, save_kwargs=save_kwargs)


def log_table(data: Any, artifact_file: str, run_id: str | None = None) -> None:
    """Add rows to a table; see Run.log_table."""
    session.run_for_log(run_id).log_table(data, artifact_file)


def log_input(
    dataset: Any = None,
    context: str | None = None,
    tags: Mapping[str, Any] | None = None,
    model: Any = None,
    *,
    run_id: str | None = None,
) -> None:
    """Record which data, or which logged model, the run reads; see Run.log_input."""
    session.run_for_log(run_id).log_input(dataset, context, tags, model)


def flush(timeout: float | None = None) -> bool:
    """Put everything on disk and wait until it is delivered; whether it was, in time.

    `timeout` is in seconds, TRACKER_EXIT_WAIT_S if None. Nothing is lost when it passes.
    """
    return session.flush(None, timeout)
