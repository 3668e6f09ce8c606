"""Points of metrics as Arrow tables, from the log's columns without touching a single point.

A metric frame's columns stay numpy arrays; they are put behind each other, sorted by run and
key as whole columns, and become a table: run_id, key, step, time, value, one row a point,
within a series in order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from projections.arrow_arrays import numbers, texts
from projections.columns import Columns, Float64s, Int64s
from projections.projection import DecodedBatch
from tracker.events.ids import DEFAULT_EXPERIMENT_ID

# One file of a partition: some 30 MB compressed, and 100 MB in memory while it is made.
POINTS_A_FILE: Final = 2_000_000

_Column = tuple[int, int, Int64s, Int64s, Float64s]  # run, key, steps, times, values


@dataclass(slots=True)
class _Gathered:
    columns: list[_Column] = field(default_factory=list)
    points: int = 0


class PointsGatherer:
    """Gathers the points of consecutive batches, by experiment, until they fill files."""

    def __init__(self, experiment_of: Mapping[str, str]) -> None:
        self._experiment_of = experiment_of
        self._runs: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._by_experiment: dict[str, _Gathered] = {}
        self.points = 0
        self.position = 0

    def take(self, items: Iterable[DecodedBatch]) -> None:
        for batch, columns in items:
            self.position = batch.last_position
            if columns.metrics:
                self._take(batch.run_id, columns)

    def _take(self, run_id: str, columns: Columns) -> None:
        run = self._runs.setdefault(run_id, len(self._runs))
        experiment = self._experiment_of.get(run_id, DEFAULT_EXPERIMENT_ID)
        gathered = self._by_experiment.get(experiment)
        if gathered is None:
            gathered = self._by_experiment[experiment] = _Gathered()
        keys = self._keys
        for frame in columns.metrics:
            for key, values in zip(frame.keys, frame.values, strict=True):
                number = keys.setdefault(key, len(keys))
                gathered.columns.append((run, number, frame.steps, frame.times_us, values))
        gathered.points += columns.points
        self.points += columns.points

    def tables(self) -> dict[str, Any]:
        """What was gathered, as a pyarrow.Table per experiment; blocks."""
        runs, keys = list(self._runs), list(self._keys)
        return {
            experiment: _table_of(gathered.columns, runs, keys)
            for experiment, gathered in sorted(self._by_experiment.items())
        }


def points_schema() -> Any:
    import pyarrow as pa

    names = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("run_id", names, nullable=False),
            pa.field("key", names, nullable=False),
            pa.field("step", pa.int64(), nullable=False),
            pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
        ]
    )


def _table_of(columns: list[_Column], runs: list[str], keys: list[str]) -> Any:
    import pyarrow as pa

    columns.sort(key=lambda column: column[:2])  # stable: a series stays in order of arrival
    lengths = [len(column[2]) for column in columns]
    run_numbers = np.repeat(np.array([c[0] for c in columns], np.int32), lengths)
    key_numbers = np.repeat(np.array([c[1] for c in columns], np.int32), lengths)
    schema = points_schema()
    from_arrays = pa.DictionaryArray.from_arrays
    return pa.Table.from_arrays(
        [
            from_arrays(numbers(run_numbers, pa.int32()), texts(runs)),
            from_arrays(numbers(key_numbers, pa.int32()), texts(keys)),
            *(
                numbers(np.concatenate([c[at] for c in columns]), schema.field(at).type)
                for at in (2, 3, 4)
            ),
        ],
        schema=schema,
    )
