"""Metrics over HTTP: exact pages, Arrow streams and charts, from a real server."""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import numpy as np
import pyarrow
import pytest

from ingest.arrow import CONTENT_TYPE
from ingest.schemas import BucketsAnswer, HistoryAnswer, MetricsAnswer
from projections import series_queries
from projections.projection import ProjectionStoreFailed
from projections.read_models import SeriesPage
from projections.readers import QueryReaders
from projections.series_history import Sweep
from projections.series_queries import SeriesQueries
from tests.support.http_server import Answer, TestServer, events_body, frames_body, serving
from tracker.events import wire
from tracker.events.types import Event, EventType

ARROW = {"Accept": CONTENT_TYPE}
KEY = "train/loss @ü"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


async def log_points(
    server: TestServer,
    values: list[float],
    *,
    run_id: str = "run-1",
    key: str = KEY,
    steps: list[int] | None = None,
    batch: int = 20_000,
) -> int:
    """Start a run, log a metric; return the position to read at."""
    writer = f"w-{run_id}"
    started = Event(EventType.RUN_STARTED, 1, {"name": "a run"})
    await server.append(events_body(1, started, run_id=run_id, writer_id=writer))
    seq, position = 2, 0
    steps = list(range(len(values))) if steps is None else steps
    for start in range(0, len(values), batch):
        part, n = values[start : start + batch], len(values[start : start + batch])
        frame = wire.metrics_frame(
            offsets=range(n),
            keys=[key],
            steps=array("q", steps[start : start + n]),
            times=array("q", range(start, start + n)),
            values=[array("d", part)],
        )
        answer = await server.append(frames_body([frame], seq, n, run_id=run_id, writer_id=writer))
        assert answer.status == 200, answer.body
        seq, position = seq + n, answer.json["position"]
    return position


async def get(server: TestServer, key: str, run_id: str = "run-1", **params: Any) -> Answer:
    headers = params.pop("headers", {})
    path = f"/api/v1/runs/{run_id}/metrics/{quote(key, safe='')}"
    return await server.ask("GET", path, params=params, headers=headers)


async def test_a_metric_comes_back_in_pages_that_meet_exactly(server: TestServer) -> None:
    values = [float(i) for i in range(250)]
    steps = [0] * 100 + [5] * 100 + list(range(6, 56))
    position = await log_points(server, values, steps=steps)

    found: list[float] = []
    token: dict[str, str] = {}
    while True:
        answer = await get(server, KEY, limit=30, min_position=position, **token)
        page = HistoryAnswer.model_validate(answer.json)
        assert page.position >= position
        found += [float(value) for value in page.values]
        if page.next_page_token is None:
            break
        assert len(page.values) == 30
        token = {"page_token": page.next_page_token}

    assert found == values


async def test_what_json_cannot_say_travels_as_text_and_in_arrow_as_bits(
    server: TestServer,
) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324]
    position = await log_points(server, values)

    page = await get(server, KEY, min_position=position)
    chart = await get(server, KEY, buckets=10)
    stream = await get(server, KEY, headers=ARROW)

    assert page.json["values"][:3] == ["NaN", "Infinity", "-Infinity"]
    assert BucketsAnswer.model_validate(chart.json).nan_count == [1, 0, 0, 0, 0]
    table = pyarrow.ipc.open_stream(stream.body).read_all()
    assert stream.headers["Content-Type"] == CONTENT_TYPE
    assert table["value"].to_numpy().tobytes() == np.array(values).tobytes()


async def test_a_range_holds_both_of_its_ends(server: TestServer) -> None:
    position = await log_points(server, [float(i) for i in range(100)])

    page = await get(server, KEY, start_step=10, end_step=12, min_position=position)
    stream = await get(server, KEY, start_step=98, headers=ARROW)

    assert page.json["steps"] == [10, 11, 12]
    assert pyarrow.ipc.open_stream(stream.body).read_all()["step"].to_pylist() == [98, 99]


async def test_a_chart_keeps_every_spike_of_a_long_series(server: TestServer) -> None:
    values = np.zeros(300_000)
    values[[7, 123_456, 299_999]] = [1e6, -1e6, 5e5]
    position = await log_points(server, values.tolist())

    answer = await get(server, KEY, buckets=500, min_position=position)
    stream = await get(server, KEY, headers=ARROW)

    chart = BucketsAnswer.model_validate(answer.json)
    assert chart.is_reduced
    assert chart.points == sum(chart.count) == 300_000
    assert len(chart.count) <= 500
    assert chart.max[0] == 1e6
    assert chart.max[-1] == 5e5
    assert min(float(value) for value in chart.min) == -1e6
    table = pyarrow.ipc.open_stream(stream.body).read_all()
    assert table["step"].to_numpy().tolist() == list(range(300_000))
    assert table["value"].to_numpy().tobytes() == values.tobytes()


async def test_the_keys_of_a_run_come_with_their_summaries(server: TestServer) -> None:
    position = await log_points(server, [3.0, 1.0, 2.0])

    answer = await server.ask(
        "GET", "/api/v1/runs/run-1/metrics", params={"min_position": position}
    )

    summary = MetricsAnswer.model_validate(answer.json).metrics[KEY]
    assert (summary.last.value, summary.min, summary.max, summary.count) == (2.0, 1.0, 3.0, 3)


async def test_many_series_are_charted_at_once_and_missing_ones_are_empty(
    server: TestServer,
) -> None:
    await log_points(server, [1.0, 2.0], run_id="r1")
    position = await log_points(server, [3.0], run_id="r2")

    answer = await server.ask(
        "POST",
        "/api/v1/metrics/query",
        json={"run_ids": ["r1", "r2", "r3"], "keys": [KEY, "no"], "min_position": position},
    )

    series = [BucketsAnswer.model_validate(item) for item in answer.json["series"]]
    assert [(s.run_id, s.key, s.last) for s in series] == [
        ("r1", KEY, [1.0, 2.0]),
        ("r1", "no", []),
        ("r2", KEY, [3.0]),
        ("r2", "no", []),
        ("r3", KEY, []),
        ("r3", "no", []),
    ]


@pytest.mark.parametrize("params", [{}, {"buckets": 10}, {"headers": ARROW}])
async def test_what_does_not_exist_is_said_by_name(
    server: TestServer, params: dict[str, Any]
) -> None:
    position = await log_points(server, [1.0])

    unknown_run = await get(server, KEY, run_id="run-2", min_position=position, **params)
    unknown_key = await get(server, "train/los", **params)
    empty_range = await get(server, KEY, start_step=50, **params)

    assert (unknown_run.status, unknown_run.code) == (404, "run_not_found")
    assert (unknown_key.status, unknown_key.code) == (404, "metric_not_found")
    assert unknown_key.json["error"]["details"]["near"] == [KEY]
    assert empty_range.status == 200


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"buckets": 0}, "invalid_request"),
        ({"buckets": 20_001}, "invalid_request"),
        ({"buckets": "x"}, "invalid_request"),
        ({"limit": 0}, "invalid_request"),
        ({"limit": 100_001}, "invalid_request"),
        ({"start_step": 2**63}, "invalid_request"),
        ({"page_token": "??"}, "invalid_query"),
        ({"page_token": "MTphOmI="}, "invalid_query"),
        ({"page_token": "MTo5OTk5OTk5OTk5OTk5OTk5OTk5OjE="}, "invalid_query"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    server: TestServer, params: dict[str, Any], code: str
) -> None:
    await log_points(server, [1.0])

    answer = await get(server, KEY, **params)

    assert (answer.status, answer.code) == (400, code)


async def test_a_query_of_too_many_series_names_its_limit(server: TestServer) -> None:
    query = {"run_ids": [f"r{i}" for i in range(200)], "keys": [f"k{i}" for i in range(51)]}

    answer = await server.ask("POST", "/api/v1/metrics/query", json=query)
    wide = await server.ask(
        "POST", "/api/v1/metrics/query", json={**query, "keys": ["k"], "buckets": 20_000}
    )

    assert answer.status == wide.status == 400
    assert "series_per_query_max" in answer.json["error"]["message"]
    assert "buckets_per_query_max" in wide.json["error"]["message"]


async def test_an_open_range_from_least_to_greatest_step_is_answered(server: TestServer) -> None:
    steps = [-(2**63), 2**63 - 1, 0, 0, 1]
    position = await log_points(server, [1.0, 2.0, 3.0, 4.0, 5.0], steps=steps)

    page = await get(server, KEY, min_position=position)
    chart = await get(server, KEY, buckets=2)

    assert page.json["values"] == [1.0, 3.0, 4.0, 5.0, 2.0]
    assert chart.json["count"] == [1, 4]
    assert chart.json["last"] == [1.0, 2.0]


async def test_a_file_that_cannot_be_read_is_no_fault_of_the_caller(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ProjectionStoreFailed("the disk is gone")

    monkeypatch.setattr(SeriesQueries, "buckets", fail)
    query = {"run_ids": ["r1", "r2"], "keys": [KEY]}

    many = await server.ask("POST", "/api/v1/metrics/query", json=query)
    one = await get(server, KEY, buckets=10)

    assert (many.status, many.code) == (one.status, one.code) == (503, "store_unavailable")


async def test_a_stream_that_breaks_off_is_not_taken_for_a_whole_one(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = await log_points(server, [float(i) for i in range(1000)])

    async def break_off(readers: QueryReaders, sweep: Sweep) -> AsyncIterator[SeriesPage]:
        yield SeriesPage(np.arange(3), np.arange(3), np.arange(3.0))
        raise ProjectionStoreFailed("the disk is gone")

    monkeypatch.setattr(series_queries, "_pages", break_off)

    with pytest.raises(aiohttp.ClientError):
        await get(server, KEY, headers=ARROW, min_position=position)
