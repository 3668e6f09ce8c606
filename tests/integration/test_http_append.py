"""POST /api/v1/append over real HTTP: exactly once, in both forms, and what it answers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.event_stores.sqlite import SqliteEventStore
from ingest.state import EVENT_STORE
from projections.columns import decode_payload
from projections.log import StoredBatch
from tests.support.http_server import TestServer, batch_body, serving


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


async def stored(server: TestServer) -> list[StoredBatch]:
    store = server.app[EVENT_STORE]
    return list(await store.read(after=0, batches_max=1000, bytes_max=10**9))


def json_batch(*events: dict[str, Any], first_seq: int = 1) -> dict[str, Any]:
    times = {"time_us": 1_700_000_000_000_000}
    return {
        "run_id": "run-1",
        "writer_id": "w1",
        "first_seq": first_seq,
        "events": [times | event for event in events],
    }


async def test_a_batch_is_stored_as_it_came_and_acknowledged(server: TestServer) -> None:
    answer = await server.append(batch_body(1, 3))

    assert answer.status == 200
    assert answer.json == {"outcome": "appended", "next_seq": 4, "position": 3}
    (row,) = await stored(server)
    assert (row.run_id, row.writer_id, row.first_seq, row.n) == ("run-1", "w1", 1, 3)


async def test_a_lost_reply_is_repaired_by_sending_again(server: TestServer) -> None:
    await server.append(batch_body(1, 3))

    again = await server.append(batch_body(1, 3))
    overlapping = await server.append(batch_body(2, 4))

    assert again.json == {"outcome": "duplicate", "next_seq": 4, "position": 3}
    assert overlapping.json == {"outcome": "trimmed", "next_seq": 6, "position": 5}


async def test_a_gap_says_where_to_go_on(server: TestServer) -> None:
    await server.append(batch_body(1, 3))

    answer = await server.append(batch_body(9, 1))

    assert (answer.status, answer.code) == (409, "sequence_gap")
    assert answer.json["error"]["details"] == {"next_seq": 4}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (batch_body(4, 1, epoch=1), 409, "writer_fenced"),
        (batch_body(1, 3, epoch=2, value=0.75), 422, "sequence_reused"),
        (batch_body(4, 1, epoch=2, run_id="run-2"), 409, "writer_moved"),
    ],
)
async def test_what_contradicts_the_writers_past_is_refused(
    server: TestServer, body: bytes, status: int, code: str
) -> None:
    await server.append(batch_body(1, 3, epoch=2))

    answer = await server.append(body)

    assert (answer.status, answer.code) == (status, code)
    assert len(await stored(server)) == 1


async def test_plain_json_becomes_the_same_records(server: TestServer) -> None:
    batch = json_batch(
        {"type": "run.started", "data": {"name": "by curl"}},
        {"type": "metrics.logged", "data": {"metrics": {"a": 1, "b": "NaN"}, "step": -7}},
        {"type": "metrics.logged", "data": {"metrics": {"a": -0.0, "b": "-Infinity"}}},
        {"type": "mine.own", "data": {"deep": [{"x": None}]}},
    )

    answer = await server.ask("POST", "/api/v1/append", json=batch)

    assert answer.json == {"outcome": "appended", "next_seq": 5, "position": 4}
    (row,) = await stored(server)
    columns = decode_payload(row.payload, n=4)
    (frame,) = columns.metrics
    assert (frame.keys, frame.offsets.tolist()) == (("a", "b"), [1, 2])
    assert frame.steps.tolist() == [-7, 0]
    a, b = (column.tolist() for column in frame.values)
    assert (a, math.copysign(1, a[1])) == ([1.0, 0.0], -1.0)
    assert math.isnan(b[0])
    assert b[1] == -math.inf
    assert [item.event.type for item in columns.events] == ["run.started", "mine.own"]


async def test_the_same_json_sent_twice_is_a_duplicate(server: TestServer) -> None:
    batch = json_batch({"type": "run.started", "data": {}})

    await server.ask("POST", "/api/v1/append", json=batch)
    again = await server.ask("POST", "/api/v1/append", json=batch)

    assert again.json["outcome"] == "duplicate"


async def test_an_append_renews_the_writers_lease(server: TestServer) -> None:
    await server.append(batch_body(1, 1))

    answer = await server.ask("GET", "/api/v1/writers/w1")

    assert answer.json["next_seq"] == 2
    assert answer.json["lease_expires_us"] > answer.json["received_at_us"]


async def test_an_unknown_writer_begins_at_one(server: TestServer) -> None:
    answer = await server.ask("GET", "/api/v1/writers/nobody")

    assert (answer.status, answer.code) == (404, "writer_not_found")


async def test_another_workspace_is_refused(server: TestServer) -> None:
    answer = await server.ask(
        "POST",
        "/api/v1/append",
        data=batch_body(),
        headers={
            "Content-Type": "application/vnd.tracker.batch",
            "X-Tracker-Workspace": "elsewhere",
        },
    )

    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_restart_remembers_every_watermark(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.append(batch_body(1, 3))

    async with serving(tmp_path) as server:
        again = await server.append(batch_body(1, 3))
        more = await server.append(batch_body(4, 2))

    assert again.json["outcome"] == "duplicate"
    assert more.json == {"outcome": "appended", "next_seq": 6, "position": 5}


async def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    from ingest.event_stores.file_lock import StoreInUse

    async with serving(tmp_path):
        with pytest.raises(StoreInUse, match="in use by another server"):
            await SqliteEventStore.open(tmp_path / "server" / "log.db")
