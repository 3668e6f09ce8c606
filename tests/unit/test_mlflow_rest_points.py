"""MLflow's metrics become records and come back: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import math
import random
import sqlite3
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mlflow.errors import MlflowRefusal
from ingest.mlflow.history_columns import History, by_time, sampled
from ingest.mlflow.history_json import points_json
from ingest.mlflow.metric_points import MetricBatch, metric_batch
from ingest.mlflow.names import known_keys

FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, math.nan, math.inf, 1e300]))
METRIC = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["loss", "acc", "a/b"]),
        "value": FLOATS,
        "timestamp": st.integers(0, 3),
        "step": st.integers(-2, 2),
    }
)


def as_point(key: str, value: float, time_ms: int, step: int) -> tuple[Any, ...]:
    return (key, "nan" if math.isnan(value) else value, time_ms, step)


def points_of(batch: MetricBatch) -> list[tuple[Any, ...]]:
    return [
        as_point(key, value, time_us // 1000, step)
        for rows in batch.rows
        for key, column in zip(rows.keys, rows.values, strict=True)
        for value, time_us, step in zip(column, rows.times_us, rows.steps, strict=True)
    ]


@given(st.lists(METRIC, max_size=30), st.booleans())
def test_every_point_is_recorded_once(metrics: list[dict[str, Any]], is_known: bool) -> None:
    if not is_known:
        known_keys.clear()

    recorded = points_of(metric_batch(metrics, "run"))

    sent = {as_point(m["key"], m["value"], m["timestamp"], m["step"]) for m in metrics}
    assert len(recorded) == len(set(recorded)) == len(sent)
    assert set(recorded) == sent


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_table_of_steps_and_keys_is_one_frame_of_one_record_a_step(steps: int, keys: int) -> None:
    metrics = [
        {"key": f"m{k}", "value": s + k / 10, "timestamp": 1000 + s, "step": s}
        for s in range(steps)
        for k in range(keys)
    ]
    metric_batch(metrics, "run")  # its keys are known from now on

    batch = metric_batch(metrics, "run")

    assert (len(batch.rows), batch.records, batch.points) == (1, steps, steps * keys)


def test_what_is_said_of_a_model_is_an_event_beside_the_runs_own_points() -> None:
    said = {"model_id": "m-1", "dataset_name": "d", "dataset_digest": "x"}
    plain = {"key": "acc", "value": 1, "timestamp": 2, "step": 3}

    batch = metric_batch([plain | said, plain | {"key": "loss", "value": "NaN"}], "run-1")

    (event,) = batch.events
    assert points_of(batch) == [("acc", 1.0, 2, 3), ("loss", "nan", 2, 3)]
    assert event.data == {
        "model_id": "m-1",
        "run_id": "run-1",
        "metrics": [["acc", 1.0, 3, 2000, "d", "x"]],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": None}, "Missing value for required parameter 'metrics[1].key'"),
        ({"key": ""}, "Missing value for required parameter 'metrics[1].key'"),
        ({"value": None}, "Missing value for required parameter 'metrics[1].value'"),
        ({"timestamp": None}, "Missing value for required parameter 'metrics[1].timestamp'"),
        ({"value": "abc"}, "Please specify value as a valid double"),
        ({"value": True}, "Please specify value as a valid double"),
        ({"timestamp": -1}, "Timestamp must be a nonnegative long"),
        ({"timestamp": 2**62}, "Timestamp must be a nonnegative long"),
        ({"timestamp": 1.5}, "Timestamp must be a nonnegative long"),
        ({"step": "x"}, "Step must be a valid long"),
        ({"step": 2**63}, "Step must be a valid long"),
        ({"key": "a\n"}, "Names may only contain alphanumerics"),
        ({"key": "../a"}, "must not resolve to other names"),
        ({"key": "/a"}, "must not resolve to other names"),
        ({"key": "k" * 251}, "'Metric name' exceeds the maximum length of 250 characters"),
        ({"key": 5}, "Invalid value 5 for parameter 'metrics[1].key' supplied"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_and_named(change: dict[str, Any], message: str) -> None:
    good = {"key": "loss", "value": 1.0, "timestamp": 1, "step": 0}

    with pytest.raises(MlflowRefusal) as refused:
        metric_batch([good, good | change], "run")

    assert message in refused.value.message


def history(values: list[tuple[int, int, float]]) -> History:
    """Of (step, timestamp, value) in their order."""
    steps, times, numbers = zip(*values, strict=True)
    return History(np.array(times), np.array(steps), np.array(numbers, np.float64))


@given(st.integers(1, 200), st.integers(1, 30))
def test_a_chart_holds_the_rows_that_sql_would_pick(n: int, most: int) -> None:
    rows = [(i, 1000 + i, float(i)) for i in range(n)]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE m (step, value)")
    connection.executemany("INSERT INTO m VALUES (?, ?)", [(r[0], r[2]) for r in rows])
    picked = connection.execute(
        "SELECT min(step) FROM (SELECT step, ntile(?) OVER (ORDER BY step) AS part FROM m)"
        " GROUP BY part ORDER BY 1",
        (most,),
    )
    expected = [step for (step,) in picked]
    connection.close()
    if expected[-1] != n - 1:
        expected = [*expected[: most - 1], n - 1]

    assert sampled(history(rows), most).steps.tolist() == expected


def test_a_history_by_time_puts_equal_times_in_order_of_step_and_value() -> None:
    rows = [(i, random.Random(i).randint(0, 5), float(i % 3)) for i in range(100)]

    ordered = by_time(history(rows))

    found = list(zip(ordered.times_ms, ordered.steps, ordered.values, strict=True))
    assert found == sorted((time, step, value) for step, time, value in rows)


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_points_are_printed_as_they_are(values: list[float]) -> None:
    columns = np.arange(len(values)) - 3
    printed = points_json('k"ey', History(columns * 7, columns, np.array(values)), run_id="r")

    if any(math.isinf(value) for value in values):
        return  # a history's infinities are finite: see history_columns
    found = orjson.loads(b"[%b]" % printed)
    assert [p["step"] for p in found] == columns.tolist()
    assert [p["timestamp"] for p in found] == (columns * 7).tolist()
    assert [float(p["value"]) for p in found] == pytest.approx(values, abs=0, rel=0, nan_ok=True)
    assert {p["key"] for p in found} == {'k"ey'}
    assert json.dumps(found)
