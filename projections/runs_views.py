"""Rows of the runs projection as the views that queries answer with."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import orjson

from projections.connection import Connection, ask_together
from projections.model_rules import INPUT, OUTPUT
from projections.models_queries import SQL as MODELS_SQL
from projections.read_models import (
    ExperimentView,
    InputView,
    Liveness,
    MetricSummary,
    ModelLink,
    ParamConflict,
    Point,
    RunView,
    WriterView,
)
from projections.search.limits import PAGE_ENTRIES_MAX
from projections.sqlite import statements
from tracker.events.types import RunStatus

SQL: Final = statements("runs_queries.sql")
# Beside its params, tags and metrics.
WEIGHT_OF_A_RUN: Final = 5
# What a view is made of, but for the metrics, of which there may be very many.
_OF_RUNS: Final = (
    *(SQL[name] for name in ("params", "tags", "conflicts", "input_tags", "inputs")),
    *(MODELS_SQL["links"], SQL["keys_of_metrics"]),
)
RunRow: TypeAlias = tuple[Any, ...]
"""As the statement `runs` gives it; the run's number first."""
_TERMINAL: Final = frozenset(status.value for status in RunStatus if status.is_terminal)
_BITS: Final = struct.Struct("<q")
_FLOAT: Final = struct.Struct("<d")


def run_views(
    connection: Connection, run_nos: Sequence[int], live_run_ids: frozenset[str]
) -> list[RunView]:
    """The runs of these numbers, in their order, without their writers."""
    asked = {"run_nos": json.dumps(list(run_nos))}
    ask_together(connection, (*_OF_RUNS, SQL["runs"]), asked)
    rows = [tuple(row) for row in connection.execute(SQL["runs"], asked)]
    return alive(_views(connection, asked, rows), live_run_ids)


def views_of(connection: Connection, rows: Sequence[RunRow]) -> list[RunView]:
    """The runs of these rows, without their writers, as if nobody wrote."""
    asked = {"run_nos": json.dumps([row[0] for row in rows])}
    ask_together(connection, _OF_RUNS, asked)
    return _views(connection, asked, rows)


def alive(views: Sequence[RunView], live_run_ids: frozenset[str]) -> list[RunView]:
    """The same runs as they are while somebody writes to some of them."""
    return [
        replace(view, liveness=Liveness.LIVE)
        if view.run_id in live_run_ids and view.liveness is not Liveness.ENDED
        else view
        for view in views
    ]


def _views(
    connection: Connection, asked: Mapping[str, str], rows: Sequence[RunRow]
) -> list[RunView]:
    params = texts_of(connection, "params", asked)
    tags = texts_of(connection, "tags", asked)
    metrics = _metrics(connection, asked)
    conflicts: defaultdict[int, list[ParamConflict]] = defaultdict(list)
    for run_no, *conflict in connection.execute(SQL["conflicts"], asked):
        conflicts[run_no].append(ParamConflict(*conflict))
    inputs = inputs_of(connection, asked)
    links = model_links_of(connection, asked)
    views = []
    for run_no, run_id, name, experiment_id, user_id, status, is_deleted, *rest in rows:
        start_us, end_us, end_reason, end_detail, parent_run_id, dropped, last_position, *_ = rest
        views.append(
            RunView(
                run_id=run_id,
                name=name,
                experiment_id=experiment_id,
                user_id=user_id,
                status=status,
                liveness=Liveness.ENDED if status in _TERMINAL else Liveness.LOST,
                lifecycle_stage="deleted" if is_deleted else "active",
                start_time_us=start_us,
                end_time_us=end_us,
                end_reason=end_reason,
                end_detail=end_detail,
                parent_run_id=parent_run_id,
                dropped=dropped,
                last_position=last_position,
                params=params.get(run_no, {}),
                tags=tags.get(run_no, {}),
                metrics=metrics.get(run_no, {}),
                conflicts=tuple(conflicts.get(run_no, ())),
                inputs=tuple(inputs.get(run_no, ())),
                model_inputs=tuple(links.get((run_no, INPUT), ())),
                model_outputs=tuple(links.get((run_no, OUTPUT), ())),
            )
        )
    return views


def weights_of(connection: Connection, run_nos: Sequence[int]) -> list[int]:
    """How many entries each of the runs has."""
    asked = {"run_nos": json.dumps(list(run_nos))}
    return [WEIGHT_OF_A_RUN + n for (n,) in connection.execute(SQL["weights"], asked)]


def fitting(weights: Sequence[int]) -> int:
    """How many runs of these weights, from the first, make a page; at least one."""
    total = 0
    for count, weight in enumerate(weights):
        total += weight
        if total > PAGE_ENTRIES_MAX:
            return max(1, count)
    return len(weights)


def run_view(connection: Connection, run_id: str, live_run_ids: frozenset[str]) -> RunView | None:
    """One run with its writers and its latest clock."""
    found = connection.execute(SQL["run_no"], {"run_id": run_id}).fetchone()
    if found is None:
        return None
    run_no, owner_writer_id = found
    (view,) = run_views(connection, [run_no], live_run_ids)
    rows = connection.execute(SQL["writers"], {"run_no": run_no}).fetchall()
    writers = tuple(_writer_view(row) for row in rows)
    latest_us = max((row[5] for row in rows), default=0)
    return replace(view, writers=writers, owner_writer_id=owner_writer_id, order_us=latest_us)


def experiment_views(connection: Connection, experiment_ids: Sequence[str]) -> list[ExperimentView]:
    """The experiments of these ids, in their order; unknown ids are left out."""
    asked = {"experiment_ids": json.dumps(list(experiment_ids), ensure_ascii=False)}
    tags: defaultdict[str, dict[str, str]] = defaultdict(dict)
    latest_us: defaultdict[str, int] = defaultdict(int)
    for experiment_id, key, value, order_us in connection.execute(SQL["experiment_tags"], asked):
        tags[experiment_id][key] = value
        latest_us[experiment_id] = max(latest_us[experiment_id], order_us)
    for experiment_id, order_us in connection.execute(SQL["experiment_tags_deleted"], asked):
        latest_us[experiment_id] = max(latest_us[experiment_id], order_us)
    views = []
    for row in connection.execute(SQL["experiments"], asked):
        (experiment_id, name, stage, location, created, updated, count, last_run, order_us) = row
        views.append(
            ExperimentView(
                experiment_id=experiment_id,
                name=name,
                lifecycle_stage=stage,
                artifact_location=location,
                created_time_us=created,
                updated_time_us=updated,
                tags=dict(sorted(tags.get(experiment_id, {}).items())),
                run_count=count,
                last_run_time_us=last_run,
                order_us=max(order_us, latest_us[experiment_id]),
            )
        )
    return views


def texts_of(
    connection: Connection, statement: str, asked: Mapping[str, str]
) -> dict[int, dict[str, str]]:
    return {
        run_no: orjson.loads(texts) for run_no, texts in connection.execute(SQL[statement], asked)
    }


def model_links_of(
    connection: Connection, asked: Mapping[str, str]
) -> dict[tuple[int, str], list[ModelLink]]:
    links: defaultdict[tuple[int, str], list[ModelLink]] = defaultdict(list)
    for run_no, kind, model_id, step in connection.execute(MODELS_SQL["links"], asked):
        links[run_no, kind].append(ModelLink(model_id, step))
    return links


def inputs_of(connection: Connection, asked: Mapping[str, str]) -> dict[int, list[InputView]]:
    tags: defaultdict[tuple[int, str, str], dict[str, str]] = defaultdict(dict)
    for run_no, name, digest, key, value in connection.execute(SQL["input_tags"], asked):
        tags[run_no, name, digest][key] = value
    inputs: defaultdict[int, list[InputView]] = defaultdict(list)
    for row in connection.execute(SQL["inputs"], asked):
        run_no, name, digest, source_type, source, schema, profile = row
        said = tags.get((run_no, name, digest), {})
        inputs[run_no].append(InputView(name, digest, source_type, source, schema, profile, said))
    return inputs


def _metrics(
    connection: Connection, asked: Mapping[str, str]
) -> dict[int, dict[str, MetricSummary]]:
    metrics: dict[int, dict[str, MetricSummary]] = {}
    keys = keys_of_metrics(connection, asked)
    last_run_no, of_run = None, dict[str, MetricSummary]()
    new = tuple.__new__  # what Point(…) comes down to, without its arguments' detour
    for row in connection.execute(SQL["metrics"], asked):  # run by run
        if row[0] != last_run_no:
            last_run_no = row[0]
            of_run = metrics[last_run_no] = {}
        last, first = row[2:5], row[5:8]
        last_bits, first_bits = row[14:] or (last[0], first[0])
        if type(last_bits) is int:
            last = (exact(last_bits), *last[1:])
        if type(first_bits) is int:
            first = (exact(first_bits), *first[1:])
        of_run[keys[row[1]]] = new(MetricSummary, (new(Point, last), new(Point, first), *row[8:14]))
    return metrics


def keys_of_metrics(connection: Connection, asked: Mapping[str, str]) -> dict[int, str]:
    """The keys of the runs' metrics by their ids: the same few, again and again."""
    return dict(connection.execute(SQL["keys_of_metrics"], asked).fetchall())


def exact(bits: int) -> float:
    number: float = _FLOAT.unpack(_BITS.pack(bits))[0]
    return number


def _writer_view(row: Sequence[Any]) -> WriterView:
    writer_id, epoch, next_seq, last_position, about, _ = row
    return WriterView(
        writer_id, epoch, next_seq, last_position, {} if about is None else json.loads(about)
    )
