"""Fills a runs projection's file directly, for tests and benchmarks of its queries."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from projections import sql


@dataclass(frozen=True)
class MetricRow:
    last: float
    first: float
    min: float | None
    max: float | None
    count: int = 1
    nan_count: int = 0

    @staticmethod
    def of(*values: float) -> MetricRow:
        """The summary of a series in order of its steps."""
        numbers = [value for value in values if not math.isnan(value)]
        return MetricRow(
            last=values[-1],
            first=values[0],
            min=min(numbers, default=None),
            max=max(numbers, default=None),
            count=len(values),
            nan_count=len(values) - len(numbers),
        )


@dataclass(frozen=True)
class InputRow:
    name: str
    digest: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRow:
    run_id: str
    experiment_id: str = "0"
    name: str = ""
    user_id: str = "ada"
    status: str = "FINISHED"
    start_us: int = 0
    end_us: int | None = None
    end_reason: str | None = None
    parent_run_id: str | None = None
    lifecycle_stage: str = "active"
    dropped: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str | None] = field(default_factory=dict)
    metrics: Mapping[str, MetricRow] = field(default_factory=dict)
    inputs: Sequence[InputRow] = ()


@dataclass(frozen=True)
class ExperimentRow:
    experiment_id: str
    name: str
    lifecycle_stage: str = "active"
    created_us: int = 0
    updated_us: int = 0
    artifact_location: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class RunTables:
    """The one writing connection of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(sql.load("runs_schema.sql"))
        self._connection.execute("INSERT INTO projection VALUES ('runs', 1, 0)")
        self._key_ids: dict[str, int] = {}
        self._run_no = 0

    def put(
        self, *, experiments: Iterable[ExperimentRow] = (), runs: Iterable[RunRow] = ()
    ) -> None:
        """Add rows, in one transaction, and move the checkpoint by their number."""
        self._connection.execute("BEGIN")
        for experiment in experiments:
            self._put_experiment(experiment)
        for run in runs:
            self._put_run(run)
        self._connection.execute("UPDATE projection SET position = position + 1")
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()

    def _put_experiment(self, experiment: ExperimentRow) -> None:
        self._connection.execute(
            "INSERT INTO experiment (experiment_id, name, lifecycle_stage, artifact_location,"
            " created_us, updated_us, last_position, name_order_us, lifecycle_order_us)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, 0, 0)",
            (
                experiment.experiment_id,
                experiment.name,
                experiment.lifecycle_stage,
                experiment.artifact_location,
                experiment.created_us,
                experiment.updated_us,
            ),
        )
        self._connection.executemany(
            "INSERT INTO experiment_tag VALUES (?, ?, ?, 0)",
            [(experiment.experiment_id, key, value) for key, value in experiment.tags.items()],
        )

    def _put_run(self, run: RunRow) -> None:
        self._run_no += 1
        self._connection.execute(
            "INSERT INTO run (run_no, run_id, experiment_id, name, name_order_us, user_id,"
            " user_order_us, parent_run_id, lifecycle_stage, lifecycle_order_us, status,"
            " base_status, status_order_us, born_order_us, born_writer_id, start_us, end_us,"
            " base_end_us, end_order_us, end_reason, owner_order_us, dropped, first_position,"
            " last_position, updated_us) VALUES"
            " (?, ?, ?, ?, 0, ?, 0, ?, ?, 0, ?, ?, 0, 0, '', ?, ?, ?, 0, ?, 0, ?, 1, 1, 0)",
            (
                self._run_no,
                run.run_id,
                run.experiment_id,
                run.name,
                run.user_id,
                run.parent_run_id,
                run.lifecycle_stage,
                run.status,
                run.status,
                run.start_us,
                run.end_us,
                run.end_us,
                run.end_reason,
                run.dropped,
            ),
        )
        self._connection.executemany(
            "INSERT INTO run_param (run_no, key_id, value, order_us, writer_id)"
            " VALUES (?, ?, ?, 0, '')",
            [(self._run_no, self._key_id(key), value) for key, value in run.params.items()],
        )
        self._connection.executemany(
            "INSERT INTO run_tag (run_no, key_id, value, order_us) VALUES (?, ?, ?, 0)",
            [(self._run_no, self._key_id(key), value) for key, value in run.tags.items()],
        )
        for given in run.inputs:
            self._connection.execute(
                "INSERT OR REPLACE INTO run_input VALUES (?, ?, ?, 0, '', '', '', '')",
                (self._run_no, given.name, given.digest),
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO run_input_tag VALUES (?, ?, ?, ?, ?, 0)",
                [
                    (self._run_no, given.name, given.digest, key, value)
                    for key, value in given.tags.items()
                ],
            )
        self._connection.executemany(
            "INSERT INTO run_metric VALUES (?, ?, ?, ?, 7, 1, ?, ?, 1, 1, ?, ?, ?, ?, ?, ?)",
            [
                (
                    self._run_no,
                    self._key_id(key),
                    metric.last,
                    bits(metric.last),
                    metric.first,
                    bits(metric.first),
                    metric.min,
                    None if metric.min is None else 1,
                    metric.max,
                    None if metric.max is None else 1,
                    metric.count,
                    metric.nan_count,
                )
                for key, metric in run.metrics.items()
            ],
        )

    def _key_id(self, key: str) -> int:
        key_id = self._key_ids.get(key)
        if key_id is None:
            key_id = self._key_ids[key] = len(self._key_ids) + 1
            self._connection.execute("INSERT INTO key VALUES (?, ?)", (key_id, key))
        return key_id


def bits(value: float) -> int:
    number: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return number
