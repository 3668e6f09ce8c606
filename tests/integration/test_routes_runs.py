"""Runs over HTTP: the whole server, its log and its projection."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.schemas import RunAnswer, RunsAnswer
from tests.support.http_server import (
    Answer,
    TestServer,
    batch_body,
    events_body,
    frames_body,
    serving,
)
from tracker.events import wire
from tracker.events.types import Event, EventType

API = "/api/v1/runs"
NOW_US = 1_700_000_000_000_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


async def add_run(
    server: TestServer,
    run_id: str,
    *,
    params: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    metrics: dict[str, float] | None = None,
    at_us: int = NOW_US,
    **started: Any,
) -> int:
    """Append a run of a writer of its own; return the position of its last event."""
    events = [Event(EventType.RUN_STARTED, at_us, {"tags": tags or {}, **started})]
    if params:
        events.append(Event(EventType.PARAMS_LOGGED, at_us + 1, {"params": params}))
    frames = [wire.events_frame(offsets=range(len(events)), events=events)]
    n = len(events)
    if metrics:
        frames.append(
            wire.metrics_frame(
                offsets=[n],
                keys=list(metrics),
                steps=array("q", [0]),
                times=array("q", [at_us]),
                values=[array("d", [value]) for value in metrics.values()],
            )
        )
        n += 1
    answer = await server.append(frames_body(frames, 1, n, writer_id=f"w-{run_id}", run_id=run_id))
    assert answer.status == 200, answer.json
    return int(answer.json["position"])


async def search(server: TestServer, **body: Any) -> list[str]:
    answer = await server.ask("POST", f"{API}/search", json=body)
    assert answer.status == 200, answer.json
    RunsAnswer.model_validate(answer.json)
    return [run["run_id"] for run in answer.json["runs"]]


async def patch(server: TestServer, run_id: str, **changes: Any) -> Answer:
    return await server.ask("PATCH", f"{API}/{run_id}", json=changes)


async def test_a_run_is_read_with_all_that_was_logged(server: TestServer) -> None:
    position = await add_run(
        server, "a", params={"lr": "0.1"}, tags={"k": "ü"}, metrics={"loss": 0.25, "bad": math.nan}
    )

    answer = await server.ask("GET", f"{API}/a", params={"min_position": position})

    run = RunAnswer.model_validate(answer.json)
    assert (run.params, run.tags, run.status, run.liveness) == (
        {"lr": "0.1"},
        {"k": "ü"},
        "RUNNING",
        "live",
    )
    assert run.metrics["loss"].last.value == 0.25
    assert run.metrics["bad"].last.value == "NaN"
    assert run.metrics["bad"].min is None
    assert [writer.writer_id for writer in run.writers] == ["w-a"]
    assert run.writers[0].lease_expires_us is not None
    assert run.position >= position


async def test_a_run_is_read_as_it_was_at_every_position(server: TestServer) -> None:
    """One batch: start, param, metrics at steps 0 to 2 interleaved with a tag and the end."""
    events = [
        Event(EventType.RUN_STARTED, NOW_US, {"experiment_name": "n"}),
        Event(EventType.PARAMS_LOGGED, NOW_US, {"params": {"lr": "0.1"}}),
        Event(EventType.TAGS_SET, NOW_US, {"tags": {"k": "1"}}),
        Event(EventType.RUN_ENDED, NOW_US + 9, {"status": "FINISHED"}),
    ]
    frames = [
        wire.events_frame(offsets=[0, 1, 4, 6], events=events),
        wire.metrics_frame(
            offsets=[2, 3, 5],
            keys=["loss"],
            steps=array("q", [0, 1, 2]),
            times=array("q", [NOW_US] * 3),
            values=[array("d", [3.0, 2.0, 1.0])],
        ),
    ]
    answer = await server.append(frames_body(frames, 1, 7, run_id="a"))
    await patch(server, "a", tags={"k": "2"})

    async def at(position: int) -> dict[str, Any]:
        answer = await server.ask("GET", f"{API}/a", params={"as_of_position": position})
        RunAnswer.model_validate(answer.json)
        return dict(answer.json)

    assert answer.json["position"] == 7
    past = [await at(position) for position in range(1, 9)]
    assert [run["position"] for run in past] == list(range(1, 9))
    assert [bool(run["params"]) for run in past] == [False] + [True] * 7
    losses = [run["metrics"].get("loss", {}).get("last", {}).get("value") for run in past]
    assert losses == [None, None, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert [run["tags"].get("k") for run in past] == [None] * 4 + ["1"] * 3 + ["2"]
    assert [run["status"] for run in past] == ["RUNNING"] * 6 + ["FINISHED"] * 2
    now = (await server.ask("GET", f"{API}/a")).json
    assert {**past[-1], "liveness": now["liveness"]} == now


async def test_a_run_is_read_as_it_was_known_at_a_time(server: TestServer) -> None:
    await add_run(server, "a")
    before_us = time.time_ns() // 1000
    await asyncio.sleep(0.01)
    await patch(server, "a", tags={"k": "1"})

    async def at(time_us: int) -> Answer:
        return await server.ask("GET", f"{API}/a", params={"as_of_time": time_us})

    assert (await at(before_us)).json["tags"] == {}
    assert (await at(time.time_ns() // 1000)).json["tags"] == {"k": "1"}
    assert (await at(before_us + 10**9)).code == "invalid_request"
    assert (await at(5)).code == "run_not_found"
    both = await server.ask("GET", f"{API}/a", params={"as_of_time": 5, "as_of_position": 5})
    assert both.code == "invalid_request"


async def test_a_search_at_a_position_sees_what_was_acknowledged_there(
    server: TestServer,
) -> None:
    for n in range(20):
        position = await add_run(server, f"run{n}")

        assert f"run{n}" in await search(server, min_position=position)


async def test_a_search_filters_orders_and_pages(server: TestServer) -> None:
    for n in range(7):
        await add_run(
            server,
            f"run{n}",
            params={"lr": f"1e-{n}"},
            metrics={"acc": n / 10} if n else None,
            at_us=NOW_US + n,
        )
    position = await add_run(server, "other", experiment_name="else")
    query = {"min_position": position, "experiment_ids": ["0"]}

    assert await search(server, **query, filter="params.lr < 0.01") == [
        "run6", "run5", "run4", "run3",
    ]  # fmt: skip
    found: list[str] = []
    body: dict[str, Any] = {**query, "order_by": ["metrics.acc ASC"], "max_results": 3}
    while True:
        page = (await server.ask("POST", f"{API}/search", json=body)).json
        found += [run["run_id"] for run in page["runs"]]
        if page["next_page_token"] is None:
            break
        body["page_token"] = page["next_page_token"]
    assert found == ["run1", "run2", "run3", "run4", "run5", "run6", "run0"]


async def test_experiments_may_be_named(server: TestServer) -> None:
    await add_run(server, "a", experiment_name="one")
    position = await add_run(server, "b", experiment_name="two")

    assert await search(server, experiment_names=["two"], min_position=position) == ["b"]
    assert await search(server, experiment_names=["nobody"]) == []
    assert await search(server, filter="experiment_name = 'one'") == ["a"]


async def test_conflicting_params_are_shown(server: TestServer) -> None:
    await add_run(server, "a", params={"lr": "0.1"})
    other = Event(EventType.PARAMS_LOGGED, NOW_US + 10, {"params": {"lr": "0.2"}})
    answer = await server.append(events_body(1, other, writer_id="w2", run_id="a"))

    run = await server.ask("GET", f"{API}/a", params={"min_position": answer.json["position"]})

    assert run.json["params"] == {"lr": "0.1"}
    assert run.json["conflicts"] == [{"key": "lr", "value": "0.2", "writer_id": "w2"}]


async def test_a_patch_changes_what_it_names_and_answers_with_it(server: TestServer) -> None:
    await add_run(server, "a", tags={"old": "1", "kept": "1"})

    answer = await patch(
        server,
        "a",
        name="best",
        status="FINISHED",
        end_time_us=NOW_US + 5,
        tags={"old": None, "new": "2"},
        params={"lr": "0.1"},
    )

    run = answer.json
    assert (run["name"], run["status"], run["end_time_us"]) == ("best", "FINISHED", NOW_US + 5)
    assert run["tags"] == {"kept": "1", "new": "2"}
    assert run["params"] == {"lr": "0.1"}
    assert (await patch(server, "a", status="RUNNING")).json["status"] == "RUNNING"


async def test_an_edit_wins_over_a_training_clock_that_is_ahead(server: TestServer) -> None:
    await add_run(server, "a", tags={"k": "1"}, name="far", at_us=4_000_000_000_000_000)

    answer = await patch(server, "a", name="near", tags={"k": "2"}, status="KILLED")

    run = answer.json
    assert (run["name"], run["tags"], run["status"]) == ("near", {"k": "2"}, "KILLED")


async def test_a_param_never_changes(server: TestServer) -> None:
    await add_run(server, "a", params={"lr": "0.1"})

    same = await patch(server, "a", params={"lr": "0.1", "depth": "3"})
    other = await patch(server, "a", params={"lr": "0.2", "width": "9"})

    assert same.json["params"] == {"lr": "0.1", "depth": "3"}
    assert (other.status, other.code) == (409, "param_changed")
    run = await server.ask("GET", f"{API}/a")
    assert run.json["params"] == {"lr": "0.1", "depth": "3"}
    assert run.json["conflicts"] == []


async def test_of_many_who_log_one_param_at_once_one_wins(server: TestServer) -> None:
    await add_run(server, "a")

    answers = await asyncio.gather(*(patch(server, "a", params={"k": str(n)}) for n in range(8)))

    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert (await server.ask("GET", f"{API}/a")).json["conflicts"] == []


async def test_a_decision_goes_through_while_the_run_is_logging(server: TestServer) -> None:
    await add_run(server, "a")
    done = asyncio.Event()

    async def log() -> None:
        seq = 1
        while not done.is_set():
            await server.append(batch_body(seq, 5, writer_id="w2", run_id="a"))
            seq += 5

    logging = asyncio.create_task(log())
    answers = [await patch(server, "a", tags={f"t{n}": "x"}) for n in range(5)]
    done.set()
    await logging

    assert [answer.status for answer in answers] == [200] * 5


async def test_a_deleted_run_is_hidden_refuses_edits_and_comes_back(server: TestServer) -> None:
    await add_run(server, "a")

    deleted = await server.ask("DELETE", f"{API}/a")
    again = await server.ask("DELETE", f"{API}/a")
    hidden = await search(server)
    shown = await search(server, view="deleted_only")
    refused = await patch(server, "a", tags={"k": "1"})
    await patch(server, "a", lifecycle_stage="active", tags={"k": "2"})

    assert deleted.json["lifecycle_stage"] == "deleted"
    assert (again.status, again.json["position"]) == (200, deleted.json["position"])
    assert (hidden, shown) == ([], ["a"])
    assert (refused.status, refused.code) == (409, "run_deleted")
    assert (await server.ask("GET", f"{API}/a")).json["tags"] == {"k": "2"}
    assert await search(server) == ["a"]


async def test_a_run_of_a_deleted_experiment_is_restored_with_it_only(
    server: TestServer,
) -> None:
    position = await add_run(server, "a", experiment_name="n")
    run = await server.ask("GET", f"{API}/a", params={"min_position": position})
    experiment_id = run.json["experiment_id"]
    await server.ask("DELETE", f"/api/v1/experiments/{experiment_id}")

    answer = await patch(server, "a", lifecycle_stage="active")

    assert (answer.status, answer.code) == (409, "experiment_deleted")


async def test_liveness_follows_the_leases(server: TestServer) -> None:
    await add_run(server, "a")
    position = await add_run(server, "b")
    lease = {"writer_id": "w-b", "run_id": "b", "state": "closed"}
    await server.ask("POST", "/api/v1/leases", json={"leases": [lease]})

    assert await search(server, filter="liveness = 'live'", min_position=position) == ["a"]
    assert await search(server, filter="liveness = 'lost'") == ["b"]


async def test_keys_complete_a_prefix(server: TestServer) -> None:
    await add_run(server, "a", params={"lr": "1", "depth": "2"}, metrics={"loss": 1.0})
    position = await add_run(server, "b", params={"lr2": "1"}, experiment_name="n")

    async def keys(**query: str) -> Any:
        return (await server.ask("GET", "/api/v1/keys", params=query)).json

    everywhere = await keys(kind="params", prefix="lr", min_position=str(position))
    assert (everywhere["keys"], everywhere["is_reduced"]) == (["lr", "lr2"], False)
    assert (await keys(kind="params", experiment_ids="0"))["keys"] == ["depth", "lr"]
    assert (await keys(kind="metrics"))["keys"] == ["loss"]
    assert (await keys(kind="params", max_results="1"))["is_reduced"] is True
    for bad in ({"kind": "colours"}, {}, {"kind": "tags", "max_results": "0"}):
        assert (await keys(**bad))["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("body", "code", "position"),
    [
        ({"filter": "metrics.loss < 'a'"}, "invalid_query", 16),
        ({"filter": "status = FINISHED"}, "invalid_query", 10),
        ({"filter": "("}, "invalid_query", 2),
        ({"filter": "params.a RLIKE '['"}, "invalid_query", 16),
        ({"order_by": ["metrics.a SIDEWAYS"]}, "invalid_query", 11),
        ({"page_token": "AAAA"}, "invalid_query", None),
        ({"page_token": "x" * 100_000}, "invalid_query", None),
        ({"max_results": 0}, "invalid_request", None),
        ({"max_results": "5"}, "invalid_request", None),
        ({"view": "some"}, "invalid_request", None),
        ({"filter": "x" * 70_000}, "invalid_request", None),
        ({"surprise": 1}, "invalid_request", None),
        ({"order_by": ["start_time"] * 33}, "invalid_request", None),
    ],
)
async def test_a_bad_search_is_refused_with_its_place(
    server: TestServer, body: dict[str, Any], code: str, position: int | None
) -> None:
    answer = await server.ask("POST", f"{API}/search", json=body)

    assert (answer.status, answer.code) == (400, code)
    assert answer.json["error"]["details"].get("position") == position


@pytest.mark.parametrize(
    "body",
    [
        b'{"experiment_ids": ["\\ud800"]}',
        b'{"experiment_names": ["\\ud800"]}',
        b'{"filter": "tags.a = \'\\ud800\'"}',
        b'{"order_by": ["tags.`\\ud800`"]}',
        b'{"page_token": "\\ud800"}',
    ],
)
async def test_lone_surrogates_are_refused(server: TestServer, body: bytes) -> None:
    answer = await server.ask(
        "POST", f"{API}/search", data=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status == 400


@pytest.mark.parametrize("run_id", ["nobody", "..%2F..%2Fetc", "%00", "%ED%A0%80", "a" * 3_000])
async def test_an_unknown_run_is_not_found(server: TestServer, run_id: str) -> None:
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        answer = await server.ask(method, f"{API}/{run_id}", json=body)

        assert (answer.status, answer.code) == (404, "run_not_found")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "DONE"},
        {"end_time_us": 2**70},
        {"tags": {"": "x"}},
        {"tags": {"k": 5}},
        {"params": {"k": None}},
        {"params": {"k": "x" * 70_000}},
        {"name": "x" * 600},
    ],
)
async def test_a_bad_patch_is_refused_and_changes_nothing(
    server: TestServer, changes: dict[str, Any]
) -> None:
    position = await add_run(server, "a")

    answer = await patch(server, "a", **changes)

    assert answer.status in (400, 422)
    head = (await server.ask("GET", "/ready")).json["head"]
    assert head == position
