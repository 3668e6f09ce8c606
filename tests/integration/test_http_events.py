"""The event log over HTTP: pages, long polls, a stream that resumes."""

from __future__ import annotations

import asyncio
import json
import math
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingest.components import COUNTERS
from tests.support.http_server import (
    Answer,
    TestServer,
    batch_body,
    events_body,
    frames_body,
    serving,
)
from tracker.events import wire
from tracker.events.types import Event


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path, heartbeat_s=0.2) as server:
        yield server


def lines_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.body.splitlines()]


async def test_a_page_of_a_store_that_is_slow_to_answer_is_not_empty(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.append(batch_body(1, 3))
    monkeypatch.setattr("ingest.event_feed.PAGE_SCAN_S_MAX", -1.0)

    page = lines_of(await server.ask("GET", "/api/v1/events?after=1"))

    assert [line["position"] for line in page] == [2, 3]


async def test_records_come_back_one_a_line_in_the_order_of_their_sequence(
    server: TestServer,
) -> None:
    frames = [
        wire.dropped_frame(offset=3, width=10, time_us=9, reason="disk full"),
        wire.metrics_frame(
            offsets=[0, 2],
            keys=["a", "b"],
            steps=array("q", [5, 6]),
            times=array("q", [7, 8]),
            values=[array("d", [1.5, math.nan]), array("d", [-0.0, math.inf])],
        ),
        wire.events_frame(offsets=[1], events=[Event("mine.own", 4, {"x": [1, None]}, 2)]),
    ]
    await server.append(frames_body(frames, 1, 13))

    lines = lines_of(await server.ask("GET", "/api/v1/events"))

    common = {"run_id": "run-1", "writer_id": "w1", "epoch": 1}
    received_at_us = lines[0]["received_at_us"]
    assert [{k: v for k, v in line.items() if k not in common} for line in lines] == [
        {"position": position, "seq": position, "received_at_us": received_at_us} | rest
        for position, rest in (
            (1, {"type": "metrics.logged", "version": 1, "time_us": 7,
                 "data": {"metrics": {"a": 1.5, "b": -0.0}, "step": 5}}),
            (2, {"type": "mine.own", "version": 2, "time_us": 4, "data": {"x": [1, None]}}),
            (3, {"type": "metrics.logged", "version": 1, "time_us": 8,
                 "data": {"metrics": {"a": "NaN", "b": "Infinity"}, "step": 6}}),
            (4, {"type": "events.dropped", "version": 1, "time_us": 9,
                 "data": {"reason": "disk full", "count": 10}}),
        )
    ]  # fmt: skip
    assert all(line | common == line for line in lines)


async def test_pages_follow_each_other_without_a_gap(server: TestServer) -> None:
    await server.append(batch_body(1, 7))
    await server.append(batch_body(8, 5))

    seen, after = [], 0
    while True:
        answer = await server.ask("GET", f"/api/v1/events?after={after}&limit=5")
        if not lines_of(answer):
            break
        seen.append([line["position"] for line in lines_of(answer)])
        after = int(answer.headers["X-Tracker-Position"])

    assert seen == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12]]


async def test_events_of_one_run_and_of_one_type(server: TestServer) -> None:
    await server.append(batch_body(1, 2))
    await server.append(events_body(3, Event("run.resumed", 1, {})))
    await server.append(batch_body(1, 2, writer_id="w2", run_id="run-2"))

    of_run = await server.ask("GET", "/api/v1/events?run_id=run-2")
    of_type = await server.ask("GET", "/api/v1/events?type=run.resumed")
    of_none = await server.ask("GET", "/api/v1/events?type=mine.own")

    assert [line["position"] for line in lines_of(of_run)] == [4, 5]
    assert [line["position"] for line in lines_of(of_type)] == [3]
    assert lines_of(of_none) == []
    assert of_none.headers["X-Tracker-Position"] == "5"


async def test_a_long_poll_answers_when_something_comes(server: TestServer) -> None:
    polling = asyncio.create_task(server.ask("GET", "/api/v1/events?run_id=run-1&wait=60"))
    await asyncio.sleep(0.1)
    await server.append(batch_body(1, 1, writer_id="w2", run_id="run-2"))
    assert not polling.done()

    await server.append(batch_body(1, 1))

    assert [line["position"] for line in lines_of(await polling)] == [2]


async def test_a_long_poll_answers_nothing_when_time_is_up(server: TestServer) -> None:
    answer = await server.ask("GET", "/api/v1/events?wait=0.1")

    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=10001", "limit=x", "after=-1", "after=x", "after=99999999999999999999",
     "wait=-1", "wait=nan", "wait=inf", "wait=x", "run_id=../x"],
)  # fmt: skip
async def test_a_query_that_makes_no_sense_is_refused(server: TestServer, query: str) -> None:
    answer = await server.ask("GET", f"/api/v1/events?{query}")

    assert (answer.status, answer.code) == (400, "invalid_request")


async def read_events(response: aiohttp.ClientResponse, count: int) -> list[tuple[str, Any]]:
    """The next `count` events of an SSE stream that carry data."""
    events: list[tuple[str, Any]] = []
    fields: dict[str, str] = {}
    async with asyncio.timeout(60):
        while len(events) < count:
            line = (await response.content.readline()).decode().rstrip("\n")
            if line:
                name, _, text = line.partition(": ")
                fields[name] = text
            else:
                if "data" in fields:
                    events.append((fields["id"], json.loads(fields["data"])))
                fields = {}
    return events


async def test_a_stream_carries_on_after_the_last_event_seen(server: TestServer) -> None:
    await server.append(batch_body(1, 3))
    url = f"{server.url}/api/v1/events/stream"
    async with server.session.get(url) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        first = await read_events(response, 2)
    await server.append(batch_body(4, 1))

    headers = {"Last-Event-ID": first[-1][0]}
    async with server.session.get(url, headers=headers) as response:
        rest = await read_events(response, 2)
        await server.append(batch_body(5, 1))
        live = await read_events(response, 1)

    assert [number for number, _ in first + rest + live] == ["1", "2", "3", "4", "5"]
    assert live[0][1]["data"] == {"metrics": {"loss": 0.5}, "step": 5}


async def test_a_quiet_stream_sends_heartbeats_with_its_position(server: TestServer) -> None:
    await server.append(batch_body(1, 3))

    url = f"{server.url}/api/v1/events/stream?type=mine.own"
    async with server.session.get(url) as response, asyncio.timeout(60):
        heard = b""
        while b": heartbeat\nid: 3\n\n" not in heard:
            heard += await response.content.readany()


async def test_a_stop_ends_streams_and_long_polls_at_once(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        # What does not end by itself is waited for by far longer than this test.
        async with serving(tmp_path, drain_s=600) as server:
            response = await session.get(f"{server.url}/api/v1/events/stream")
            poll = asyncio.create_task(session.get(f"{server.url}/api/v1/events?wait=60"))
            while server.app[COUNTERS].open_streams < 2:
                await asyncio.sleep(0.01)

        assert (await poll).status == 200
        assert await response.read() == b"retry: 1000\n\n"
