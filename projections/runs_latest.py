"""Runs with the latest point of each metric: what a page of MLflow's search shows.

A search that is asked again finds mostly runs that have not changed, and to read and to
make a run takes ten times as long as to find it. So what was made is kept. It stays right
as long as the run's row is the same one: whatever changes anything of a run is a batch of
that run, and each batch of a run changes `last_position` in its row.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, TypeAlias

from projections.connection import Connection, ask_together
from projections.model_rules import INPUT, OUTPUT
from projections.models_queries import SQL as MODELS_SQL
from projections.read_models import LatestPoint, LatestRun
from projections.runs_views import (
    SQL,
    exact,
    fitting,
    inputs_of,
    keys_of_metrics,
    model_links_of,
    texts_of,
    weights_of,
)

# As runs_queries.sql counts them; with what is made of them some 30 MB.
KEPT_ENTRIES_MAX: Final = 100_000
_OF_RUNS: Final = (
    *(SQL[name] for name in ("params", "tags", "input_tags", "inputs", "keys_of_metrics")),
    *(MODELS_SQL["links"], SQL["position"]),
)
_Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    row: _Row
    run: LatestRun
    weight: int


class LatestRuns:
    """Answers from several threads; keeps the runs that were asked for last."""

    def __init__(self, *, entries_max: int = KEPT_ENTRIES_MAX) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # by run number
        self._entries, self._entries_max = 0, entries_max

    def of(self, connection: Connection, run_nos: Sequence[int]) -> list[LatestRun]:
        """The first of the runs of these numbers, in their order: as many as a page holds.

        A run that has not changed is the same object as before.
        """
        asked = {"run_nos": json.dumps(list(run_nos))}
        rows: list[_Row] = [tuple(row) for row in connection.execute(SQL["runs"], asked)]
        found = self._known(rows)
        missing = [row for row in rows if row[0] not in found]
        weights = {run_no: kept.weight for run_no, kept in found.items()}
        if missing:
            numbers = [row[0] for row in missing]
            weights.update(zip(numbers, weights_of(connection, numbers), strict=True))
        rows = rows[: fitting([weights[row[0]] for row in rows])]
        missing = [row for row in rows if row[0] not in found]
        if missing:
            made = [
                _Kept(row, run, weights[row[0]])
                for row, run in zip(missing, _made(connection, missing), strict=True)
            ]
            self._keep(made)
            found.update((kept.row[0], kept) for kept in made)
        return [found[row[0]].run for row in rows]

    def _known(self, rows: Sequence[_Row]) -> dict[int, _Kept]:
        found = {}
        with self._lock:
            for row in rows:
                kept = self._kept.get(row[0])
                if kept is not None and kept.row == row:
                    found[row[0]] = kept
                    self._kept.move_to_end(row[0])
        return found

    def _keep(self, made: Sequence[_Kept]) -> None:
        with self._lock:
            for kept in made:
                before = self._kept.pop(kept.row[0], None)
                self._entries += kept.weight - (before.weight if before else 0)
                self._kept[kept.row[0]] = kept
            while self._entries > self._entries_max:
                _, oldest = self._kept.popitem(last=False)
                self._entries -= oldest.weight


def _made(connection: Connection, rows: Sequence[_Row]) -> list[LatestRun]:
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
