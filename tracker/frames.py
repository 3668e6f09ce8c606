"""Query results as pandas, polars or Arrow tables, or as plain rows.

Runs get the columns of mlflow.search_runs: run_id, experiment_id, status, artifact_uri,
start_time, end_time (UTC), then metrics.*, params.*, tags.* in order of name. A metric's
exact history gets step, time (UTC, microseconds) and value. The library that a frame
belongs to is imported when it is asked for, and never otherwise.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from tracker.entities import RunRecord
from tracker.events.errors import TrackerError
from tracker.history import MetricHistory

FrameKind: TypeAlias = Literal["pandas", "polars", "arrow", "list"]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

_TEXT, _TIME, _NUMBER = "text", "time", "number"
_ATTRIBUTES: Final = {
    "run_id": _TEXT,
    "experiment_id": _TEXT,
    "status": _TEXT,
    "artifact_uri": _TEXT,
    "start_time": _TIME,
    "end_time": _TIME,
}


class MissingLibrary(TrackerError, ImportError):
    """A frame was asked for whose library is not installed; says how to install it."""


def runs_frame(runs: Iterable[RunRecord], kind: FrameKind = "pandas") -> Any:
    """One row per run. "list" gives dicts without the keys a run does not have."""
    rows = [_row(run) for run in runs]
    if kind == "list":
        return rows
    columns = dict(_ATTRIBUTES)
    for prefix, what in (("metrics.", _NUMBER), ("params.", _TEXT), ("tags.", _TEXT)):
        names = {name for row in rows for name in row if name.startswith(prefix)}
        columns |= dict.fromkeys(sorted(names), what)
    data = {name: [row.get(name) for row in rows] for name in columns}
    match kind:
        case "pandas":
            return _pandas_runs(data, columns)
        case "polars":
            return _polars_runs(data, columns)
        case "arrow":
            return _library("pyarrow").table(
                {name: _arrow_array(data[name], what) for name, what in columns.items()}
            )


def history_frame(history: MetricHistory, kind: FrameKind = "pandas") -> Any:
    """One row per point: step, time, value. Columns are taken over without being unpacked."""
    steps, times, values = history.steps, history.times_us, history.values
    match kind:
        case "list":
            return [
                {"step": step, "time": instant(time_us), "value": value}
                for step, time_us, value in zip(steps, times, values, strict=True)
            ]
        case "pandas":
            pd, np = _library("pandas"), _library("numpy")
            when = np.frombuffer(times, dtype="datetime64[us]")
            return pd.DataFrame(
                {
                    "step": np.frombuffer(steps, dtype=np.int64),
                    "time": pd.DatetimeIndex(when).tz_localize("UTC"),
                    "value": np.frombuffer(values, dtype=np.float64),
                }
            )
        case "polars":
            pl, np = _library("polars"), _library("numpy")
            frame = pl.DataFrame(
                {
                    "step": np.frombuffer(steps, dtype=np.int64),
                    "time": np.frombuffer(times, dtype=np.int64),
                    "value": np.frombuffer(values, dtype=np.float64),
                }
            )
            return frame.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
        case "arrow":
            pa = _library("pyarrow")
            when = pa.timestamp("us", tz="UTC")
            count = len(history)
            return pa.table(
                {
                    "step": pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(steps)]),
                    "time": pa.Array.from_buffers(when, count, [None, pa.py_buffer(times)]),
                    "value": pa.Array.from_buffers(
                        pa.float64(), count, [None, pa.py_buffer(values)]
                    ),
                }
            )


def instant(time_us: int | None) -> datetime | None:
    """UTC time of microseconds since 1970; beyond what datetime holds, its first or last."""
    if time_us is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return _EARLIEST if time_us < 0 else _LATEST


def _row(run: RunRecord) -> dict[str, Any]:
    return {
        "run_id": run.info.run_id,
        "experiment_id": run.info.experiment_id,
        "status": run.info.status,
        "artifact_uri": run.info.artifact_uri,
        "start_time": instant(run.info.start_time_us),
        "end_time": instant(run.info.end_time_us),
        **{f"metrics.{key}": value for key, value in run.data.metrics.items()},
        **{f"params.{key}": value for key, value in run.data.params.items()},
        **{f"tags.{key}": value for key, value in run.data.tags.items()},
    }


def _pandas_runs(data: dict[str, list[Any]], columns: dict[str, str]) -> Any:
    pd = _library("pandas")
    dtypes = {_TEXT: object, _TIME: "datetime64[us, UTC]", _NUMBER: "float64"}
    return pd.DataFrame(
        {name: pd.Series(data[name], dtype=dtypes[what]) for name, what in columns.items()}
    )


def _polars_runs(data: dict[str, list[Any]], columns: dict[str, str]) -> Any:
    pl = _library("polars")
    types = {_TEXT: pl.String, _TIME: pl.Datetime("us", "UTC"), _NUMBER: pl.Float64}
    return pl.DataFrame(data, schema={name: types[what] for name, what in columns.items()})


def _arrow_array(values: Sequence[Any], what: str) -> Any:
    pa = _library("pyarrow")
    types = {_TEXT: pa.string(), _TIME: pa.timestamp("us", tz="UTC"), _NUMBER: pa.float64()}
    return pa.array(values, type=types[what])


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingLibrary(
            f"{name} is not installed; run `pip install {name}`, or ask for another kind of "
            "frame: pandas, polars, arrow or list"
        ) from None
