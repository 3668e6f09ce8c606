"""Runs with the latest point of each metric: what a page of MLflow's search shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from projections.connection import Connection, ask_together
from projections.model_rules import INPUT, OUTPUT
from projections.models_queries import SQL as MODELS_SQL
from projections.read_models import LatestPoint, LatestRun
from projections.runs_views import (
    SQL,
    RunRow,
    exact,
    inputs_of,
    keys_of_metrics,
    model_links_of,
    texts_of,
)

_OF_RUNS: Final = (
    *(SQL[name] for name in ("params", "tags", "input_tags", "inputs", "keys_of_metrics")),
    MODELS_SQL["links"],
)


def latest_runs(connection: Connection, rows: Sequence[RunRow]) -> list[LatestRun]:
    """The runs of these rows."""
    asked = {"run_nos": json.dumps([row[0] for row in rows])}
    ask_together(connection, _OF_RUNS, asked)
    params = texts_of(connection, "params", asked)
    tags = texts_of(connection, "tags", asked)
    metrics = _latest_points(connection, asked)
    inputs = inputs_of(connection, asked)
    links = model_links_of(connection, asked)
    runs = []
    for run_no, run_id, name, experiment_id, user_id, status, is_deleted, *rest in rows:
        runs.append(
            LatestRun(
                run_id,
                name,
                experiment_id,
                user_id,
                status,
                "deleted" if is_deleted else "active",
                start_time_us=rest[0],
                end_time_us=rest[1],
                parent_run_id=rest[4],
                params=params.get(run_no, {}),
                tags=tags.get(run_no, {}),
                metrics=metrics.get(run_no, ()),
                inputs=inputs.get(run_no, ()),
                model_inputs=links.get((run_no, INPUT), ()),
                model_outputs=links.get((run_no, OUTPUT), ()),
            )
        )
    return runs


def _latest_points(
    connection: Connection, asked: Mapping[str, str]
) -> dict[int, list[LatestPoint]]:
    found: dict[int, list[LatestPoint]] = {}
    new = tuple.__new__  # what LatestPoint(…) comes down to, without its arguments' detour
    keys = keys_of_metrics(connection, asked)
    rows = connection.execute(SQL["latest_points"], asked)
    for run_no, key_id, value, time_us, step, bits in rows:
        number = value if bits is None else exact(bits)
        found.setdefault(run_no, []).append(new(LatestPoint, (keys[key_id], number, time_us, step)))
    return found
