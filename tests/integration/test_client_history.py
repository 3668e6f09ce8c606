"""Metric history as Arrow and as JSON pages: the same points, bit for bit."""

from __future__ import annotations

import io
import math

import polars as pl
import pytest
from aiohttp import web

from ingest.schemas import HistoryAnswer, JsonFloat
from tests.support.fake_tracker import Fault, fake_tracker, saying
from tracker.arrow import CONTENT_TYPE
from tracker.async_client import AsyncClient
from tracker.client import Client
from tracker.refusals import NotATracker, ServerUnreachable

VALUES = [0.5, math.inf, -0.0, 5e-324]


def arrow_of(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_ipc_stream(out)
    return out.getvalue()


def arrow(data: bytes) -> Fault:
    return lambda request: web.Response(body=data, content_type=CONTENT_TYPE)


def json_page(values: list[JsonFloat], *, first_step: int, token: str | None) -> Fault:
    steps = list(range(first_step, first_step + len(values)))
    page = HistoryAnswer(
        run_id="r", key="loss", steps=steps, times_us=steps, values=values,
        next_page_token=token, position=1,
    )  # fmt: skip
    return lambda request: web.json_response(text=page.model_dump_json())


HISTORY = pl.DataFrame({"step": range(4), "time_us": range(4), "value": VALUES})


async def test_arrow_is_asked_for_and_read() -> None:
    with fake_tracker(faults=[arrow(arrow_of(HISTORY))]) as fake:
        async with AsyncClient(fake.uri) as client:
            history = await client.metric_history("r", "loss", start_step=0, end_step=3)

    assert fake.headers[0]["Accept"].startswith(CONTENT_TYPE)
    assert fake.queries[0] == {"start_step": "0", "end_step": "3"}
    assert history.steps.tolist() == [0, 1, 2, 3]
    assert list(map(repr, history.values)) == list(map(repr, VALUES))


async def test_json_pages_are_read_from_a_server_without_arrow() -> None:
    pages = [
        json_page([0.5, "Infinity"], first_step=0, token="2"),
        json_page([-0.0, 5e-324], first_step=2, token=None),
    ]
    with fake_tracker(faults=pages) as fake:
        async with AsyncClient(fake.uri) as client:
            history = await client.metric_history("r", "loss")

    assert list(map(repr, history.values)) == list(map(repr, VALUES))
    assert fake.queries[1] == {"page_token": "2"}


async def test_points_have_the_shape_of_mlflow() -> None:
    with fake_tracker(faults=[arrow(arrow_of(HISTORY))]) as fake:
        async with AsyncClient(fake.uri) as client:
            points = await client.get_metric_history("r", "loss")

    assert (points[1].key, points[1].value, points[1].step) == ("loss", math.inf, 1)
    assert points[1].timestamp_us == 1


async def test_a_stream_that_is_cut_is_an_error_and_not_a_short_series() -> None:
    data = arrow_of(HISTORY)
    with fake_tracker(faults=[arrow(data[:-200])]) as fake:
        async with AsyncClient(fake.uri) as client:
            with pytest.raises((NotATracker, ServerUnreachable)):
                await client.metric_history("r", "loss")


async def test_a_column_of_another_type_is_an_error() -> None:
    frame = HISTORY.with_columns(pl.col("value").cast(pl.Float32))
    with fake_tracker(faults=[arrow(arrow_of(frame))]) as fake:
        async with AsyncClient(fake.uri) as client:
            with pytest.raises(NotATracker, match="'value'"):
                await client.metric_history("r", "loss")


def test_the_sync_client_gives_pages_one_by_one() -> None:
    with fake_tracker(faults=[arrow(arrow_of(HISTORY))]) as fake, Client(fake.uri) as client:
        pages = list(client.iter_metric_history("r", "loss"))

    assert sum(map(len, pages)) == 4


async def test_events_that_are_no_events_are_told() -> None:
    with fake_tracker(faults=[saying("{", content_type="application/x-ndjson")]) as fake:
        async with AsyncClient(fake.uri) as client:
            with pytest.raises(NotATracker):
                [event async for event in client.events()]
