"""The columns of a table of runs: the ones always wanted, and those asked for by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import click

from tracker.cli.formats import ago, moment, number, printable, short_id, span
from tracker.cli.grid import CELL_CHARACTERS_MAX, Column, status_word
from tracker.entities import MetricSummary, RunRecord

# What a summary of a metric can be asked for, as in metrics.loss.min.
_SUMMARIES: Final[Mapping[str, Callable[[MetricSummary], float | None]]] = {
    "last": lambda summary: summary.last,
    "first": lambda summary: summary.first,
    "min": lambda summary: summary.min,
    "max": lambda summary: summary.max,
    "count": lambda summary: summary.count,
}
_ATTRIBUTES: Final[Mapping[str, Callable[[RunRecord], str]]] = {
    "run_id": lambda run: run.info.run_id,
    "run_name": lambda run: printable(run.info.run_name, characters_max=CELL_CHARACTERS_MAX),
    "experiment_id": lambda run: run.info.experiment_id,
    "status": lambda run: status_word(run.info.status, run.info.liveness),
    "liveness": lambda run: run.info.liveness,
    "lifecycle_stage": lambda run: run.info.lifecycle_stage,
    "user_id": lambda run: printable(run.info.user_id),
    "start_time": lambda run: moment(run.info.start_time_us),
    "end_time": lambda run: moment(run.info.end_time_us),
    "duration": lambda run: span(run.info.duration_us),
    "end_reason": lambda run: printable(run.info.end_reason or ""),
    "parent_run_id": lambda run: run.info.parent_run_id or "",
    "dropped": lambda run: str(run.dropped),
}
# What goes first when the terminal is narrow: params, then metrics but for two, then times.
_PARAM, _METRIC, _TIMES, _FIRST_METRICS = 4, 3, 2, 1
_FIRST_METRICS_COUNT: Final = 2
_ALIASES: Final = {"id": "run_id", "name": "run_name", "user": "user_id"}


def default_columns(
    runs: Sequence[RunRecord], *, experiments: Mapping[str, str], now_us: int
) -> list[Column]:
    """Id, name, status and times; then metrics; then the params that differ among the runs."""
    columns = [
        Column("RUN", [short_id(run.info.run_id) for run in runs]),
        Column("NAME", [_ATTRIBUTES["run_name"](run) for run in runs]),
    ]
    if len(experiments) > 1:
        names = [experiments[run.info.experiment_id] for run in runs]
        columns.append(Column("EXPERIMENT", [_cell(name) for name in names], leave_out=_TIMES))
    columns += [
        Column("STATUS", [_ATTRIBUTES["status"](run) for run in runs]),
        Column(
            "STARTED",
            [ago(run.info.start_time_us, now_us=now_us) for run in runs],
            leave_out=_TIMES,
        ),
        Column("TOOK", [_took(run, now_us) for run in runs], is_right=True, leave_out=_TIMES),
    ]
    if any(run.info.lifecycle_stage != "active" for run in runs):
        columns.append(Column("STAGE", [run.info.lifecycle_stage for run in runs]))
    metrics = _ordered(key for run in runs for key in run.data.metrics)
    columns += [
        _metric_column(
            runs, key, key, "last",
            leave_out=_FIRST_METRICS if place < _FIRST_METRICS_COUNT else _METRIC,
        )
        for place, key in enumerate(metrics)
    ]  # fmt: skip
    params = _ordered(key for run in runs for key in run.data.params)
    values = {key: {run.data.params.get(key) for run in runs} - {None} for key in params}
    differing = [key for key in params if len(values[key]) > 1 or len(runs) == 1]
    columns += [
        _text_column(key, [run.data.params.get(key) for run in runs], leave_out=_PARAM)
        for key in differing
    ]
    return columns


def chosen_columns(runs: Sequence[RunRecord], names: str) -> list[Column]:
    """The columns of a list such as 'name,metrics.loss.min,params.lr'. Raises BadParameter."""
    return [_column(runs, name.strip()) for name in names.split(",") if name.strip()]


def _column(runs: Sequence[RunRecord], name: str) -> Column:
    prefix, dot, key = name.partition(".")
    if dot and prefix in ("metrics", "metric"):
        head, _, summary = key.rpartition(".")
        is_key = any(key in run.data.metrics for run in runs)
        if head and summary in _SUMMARIES and not is_key:
            return _metric_column(runs, key, head, summary)
        return _metric_column(runs, key, key, "last")
    if dot and prefix in ("params", "param"):
        return _text_column(key, [run.data.params.get(key) for run in runs])
    if dot and prefix in ("tags", "tag"):
        return _text_column(key, [run.data.tags.get(key) for run in runs])
    attribute = _ALIASES.get(name, name)
    if attribute not in _ATTRIBUTES:
        near = difflib.get_close_matches(name, [*_ATTRIBUTES, *_ALIASES], n=1)
        instead = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_ATTRIBUTES)}"
        raise click.BadParameter(
            f"{name!r} is no column; {instead} Metrics, params and tags are written "
            "metrics.KEY, metrics.KEY.min, params.KEY, tags.KEY.",
            param_hint="--columns",
        )
    return Column(attribute.upper(), [_ATTRIBUTES[attribute](run) for run in runs])


def _metric_column(
    runs: Sequence[RunRecord], title: str, key: str, summary: str, *, leave_out: int = 0
) -> Column:
    found = [run.data.summaries.get(key) for run in runs]
    cells = ["" if one is None else number(_SUMMARIES[summary](one)) for one in found]
    return Column(_cell(title), cells, is_right=True, leave_out=leave_out)


def _text_column(title: str, values: Iterable[str | None], *, leave_out: int = 0) -> Column:
    return Column(_cell(title), [_cell(value or "") for value in values], leave_out=leave_out)


def _cell(text: str) -> str:
    return printable(text, characters_max=CELL_CHARACTERS_MAX)


def _took(run: RunRecord, now_us: int) -> str:
    if run.info.status == "RUNNING" and run.info.liveness == "live":
        return span(now_us - run.info.start_time_us)
    return span(run.info.duration_us)


def _ordered(keys: Iterable[str]) -> list[str]:
    """Each key once, the ones that most runs have first, then by name."""
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: (-counts[key], key))
