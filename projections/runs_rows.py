"""The rows of the runs projection: from the fold's state to tables and back, without loss."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from projections import metric_summaries as summaries
from projections.artifact_rules import Artifact, Folder
from projections.connection import Connection
from projections.input_rules import InputFacts, InputState, RunInputs, input_rows, input_tag_rows
from projections.metric_summaries import MetricTable
from projections.model_rules import ModelState
from projections.runs_state import (
    ExperimentState,
    Guess,
    ParamValue,
    RunDetails,
    RunEntry,
    RunState,
    Said,
    WriterState,
)
from projections.sqlite import statements
from tracker.events.limits import INT64_MAX, INT64_MIN

SQL = statements("runs_store.sql")
Row = Sequence[Any]


class SqlRunsLoader:
    """See runs_state.RunsLoader. Reads through the connection of the projection's own tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, run_id: str) -> RunState | None:
        row = self._one("run", run_id)
        return None if row is None else _run_of(row)

    def details(self, run_no: int) -> RunDetails:
        details = RunDetails()
        for key_id, *param in self._all("params", run_no):
            details.params[key_id] = ParamValue(*param)
        for key_id, *param in self._all("conflicts", run_no):
            conflict = ParamValue(*param)
            details.conflicts.setdefault(key_id, {})[conflict.value] = conflict
        for key_id, *said in self._all("tags", run_no):
            details.tags[key_id] = Said(*said)
        return details

    def metrics(self, run_no: int) -> MetricTable:
        rows = self._all("metrics", run_no)
        if not rows:
            return MetricTable()
        data = np.array([_summary_of(row) for row in rows], np.int64).T
        for field in (summaries.LAST_RANK, summaries.FIRST_RANK):
            data[field] = summaries.ranks_of(data[field].copy().view(np.float64))
        return MetricTable.of_rows([row[0] for row in rows], data)

    def writer(self, writer_id: str) -> WriterState | None:
        row = self._one("writer", writer_id)
        if row is None:
            return None
        about = None if row[6] is None else json.loads(row[6])
        return WriterState(row[0], row[1], row[2], row[3], row[4], row[5], about)

    def experiment(self, experiment_id: str) -> ExperimentState | None:
        row = self._one("experiment", experiment_id)
        if row is None:
            return None
        (experiment_id, name, stage, location, created, updated, last, name_order, order) = row
        tags = self._connection.execute(SQL["experiment_tags"], {"experiment_id": experiment_id})
        return ExperimentState(
            experiment_id=experiment_id,
            name=name,
            name_order_us=name_order,
            lifecycle_stage=stage,
            lifecycle_order_us=order,
            artifact_location=location,
            created_us=created,
            updated_us=updated,
            last_position=last,
            tags={key: Said(order_us, value) for key, order_us, value in tags},
        )

    def experiments_named(self, name: str) -> Sequence[str]:
        return [row[0] for row in self._all("experiments_named", name)]

    def key_id(self, key: str) -> int | None:
        row = self._one("key_id", key)
        return None if row is None else int(row[0])

    def inputs(self, run_no: int) -> RunInputs:
        found = RunInputs()
        for name, digest, *facts in self._all("inputs", run_no):
            found.inputs[name, digest] = InputState(InputFacts(*facts))
        for name, digest, key, order_us, value in self._all("input_tags", run_no):
            found.inputs[name, digest].tags[key] = (order_us, value)
        return found

    def artifact(self, owner: str, path: str) -> Artifact | None:
        row = self._connection.execute(SQL["artifact"], (owner, path)).fetchone()
        return None if row is None else Artifact(*row)

    def model(self, model_id: str) -> ModelState | None:
        row = self._connection.execute(SQL["model"], (model_id,)).fetchone()
        return None if row is None else ModelState.of_row(*row)

    def artifact_folder(self, owner: str, path: str) -> Folder | None:
        row = self._connection.execute(SQL["artifact_folder"], (owner, path)).fetchone()
        return None if row is None else Folder(*row)

    def _one(self, statement: str, argument: object) -> Row | None:
        row: Row | None = self._connection.execute(SQL[statement], (argument,)).fetchone()
        return row

    def _all(self, statement: str, argument: object) -> list[Row]:
        return self._connection.execute(SQL[statement], (argument,)).fetchall()


def run_row(run: RunState) -> Row:
    guess = run.shown_guess
    return (
        run.run_no,
        run.run_id,
        run.experiment_id,
        run.name,
        run.name_order_us,
        run.user_id,
        run.user_order_us,
        run.parent_run_id,
        run.lifecycle_stage,
        run.lifecycle_order_us,
        guess.status if guess else run.base_status,
        run.base_status,
        run.status_order_us,
        run.born_order_us,
        run.born_writer_id,
        run.start_us,
        guess.end_us if guess else run.base_end_us,
        run.base_end_us,
        run.end_order_us,
        guess.reason if guess else run.base_reason,
        guess.detail if guess else run.base_detail,
        json.dumps([asdict(guess) for guess in run.guesses]) if run.guesses else None,
        run.owner_writer_id,
        run.owner_order_us,
        run.dropped,
        run.first_position,
        run.last_position,
        run.updated_us,
    )


def _run_of(row: Row) -> RunState:
    run = RunState(run_no=row[0], run_id=row[1], first_position=row[23])
    (run.experiment_id, run.name, run.name_order_us, run.user_id, run.user_order_us) = row[2:7]
    (run.parent_run_id, run.lifecycle_stage, run.lifecycle_order_us) = row[7:10]
    (run.base_status, run.status_order_us, run.born_order_us, run.born_writer_id) = row[10:14]
    (run.start_us, run.base_end_us, run.end_order_us) = row[14:17]
    run.guesses = tuple(Guess(**guess) for guess in json.loads(row[19] or "[]"))
    if run.shown_guess is None:  # else they are the guess's: only an ended run has its own
        run.base_reason, run.base_detail = row[17:19]
    (run.owner_writer_id, run.owner_order_us, run.dropped) = row[20:23]
    (run.last_position, run.updated_us) = row[24:26]
    return run


def writer_row(writer: WriterState) -> Row:
    about = None if writer.about is None else json.dumps(writer.about, sort_keys=True)
    return (
        writer.writer_id,
        writer.run_no,
        writer.epoch,
        writer.next_seq,
        writer.clock_us,
        writer.last_position,
        about,
    )


def experiment_row(experiment: ExperimentState) -> Row:
    return (
        experiment.experiment_id,
        experiment.name,
        experiment.lifecycle_stage,
        experiment.artifact_location,
        experiment.created_us,
        experiment.updated_us,
        experiment.last_position,
        experiment.name_order_us,
        experiment.lifecycle_order_us,
    )


def param_rows(entry: RunEntry) -> Iterator[Row]:
    for key_id in sorted(entry.changed_params):
        order_us, value, writer_id = _details(entry).params[key_id]
        yield (entry.run.run_no, key_id, value, order_us, writer_id)


def touched_conflicts(entry: RunEntry) -> Iterator[Row]:
    for key_id in sorted(entry.changed_conflicts):
        yield (entry.run.run_no, key_id)


def conflict_rows(entry: RunEntry) -> Iterator[Row]:
    """All conflicts of every param whose conflicts changed."""
    for key_id in sorted(entry.changed_conflicts):
        for order_us, value, writer_id in _details(entry).conflicts[key_id].values():
            yield (entry.run.run_no, key_id, value, order_us, writer_id)


def tag_rows(entry: RunEntry) -> Iterator[Row]:
    for key_id in sorted(entry.changed_tags):
        order_us, value = _details(entry).tags[key_id]
        yield (entry.run.run_no, key_id, value, order_us)


def run_input_rows(entry: RunEntry) -> Iterator[Row]:
    return iter(()) if entry.inputs is None else input_rows(entry.run.run_no, entry.inputs)


def run_input_tag_rows(entry: RunEntry) -> Iterator[Row]:
    return iter(()) if entry.inputs is None else input_tag_rows(entry.run.run_no, entry.inputs)


def metric_rows(entry: RunEntry) -> Iterator[Row]:
    table = entry.metrics
    if table is None or not table.changed:
        return iter(())
    slots = sorted(table.changed)
    data = table.data[:, slots]
    bits = summaries.bits_of(data)
    values = bits.view(np.float64)
    # A NaN is bound as NULL; so is the extreme of a metric that has only NaN.
    has_extremes = (data[summaries.COUNT] > data[summaries.NAN_COUNT]).tolist()
    extremes = [
        [x if has else None for x, has in zip(column.tolist(), has_extremes, strict=True)]
        for column in (
            values[summaries.MIN_RANK],
            data[summaries.MIN_STEP],
            values[summaries.MAX_RANK],
            data[summaries.MAX_STEP],
        )
    ]
    return zip(
        [entry.run.run_no] * len(slots),
        [table.key_ids[slot] for slot in slots],
        values[summaries.LAST_RANK].tolist(),
        bits[summaries.LAST_RANK].tolist(),
        data[summaries.LAST_STEP].tolist(),
        data[summaries.LAST_US].tolist(),
        values[summaries.FIRST_RANK].tolist(),
        bits[summaries.FIRST_RANK].tolist(),
        data[summaries.FIRST_STEP].tolist(),
        data[summaries.FIRST_US].tolist(),
        *extremes,
        data[summaries.COUNT].tolist(),
        data[summaries.NAN_COUNT].tolist(),
        strict=True,
    )


def _details(entry: RunEntry) -> RunDetails:
    assert entry.details is not None, "what changed was loaded"
    return entry.details


def _summary_of(row: Row) -> list[int]:
    """A stored row in order of the summary's fields; first and last still as bits."""
    (_, *ends, least, least_step, most, most_step, count, nan_count) = row
    if least is None:
        extremes = [INT64_MAX, INT64_MAX, INT64_MIN, INT64_MAX]
    else:
        ranks = summaries.ranks_of(np.array([least, most], np.float64)).tolist()
        extremes = [ranks[0], least_step, ranks[1], most_step]
    return [*ends, *extremes, count, nan_count]
