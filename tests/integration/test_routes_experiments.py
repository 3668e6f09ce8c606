"""Experiments over HTTP: the whole server, its log and its projection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.http_server import Answer, TestServer, events_body, serving
from tracker.events.ids import experiment_id_for
from tracker.events.types import Event, EventType

API = "/api/v1/experiments"
NOW_US = 1_700_000_000_000_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serving(tmp_path) as server:
        yield server


async def create(server: TestServer, name: str, **more: Any) -> Answer:
    return await server.ask("POST", API, json={"name": name, **more})


async def patch(server: TestServer, experiment_id: str, **changes: Any) -> Answer:
    return await server.ask("PATCH", f"{API}/{experiment_id}", json=changes)


async def search(server: TestServer, **query: Any) -> list[str]:
    answer = await server.ask("GET", API, params=query)
    assert answer.status == 200, answer.json
    return [experiment["name"] for experiment in answer.json["experiments"]]


def started(name: str) -> Event:
    return Event(EventType.RUN_STARTED, NOW_US, {"experiment_name": name})


async def test_a_new_store_has_the_default_experiment(server: TestServer) -> None:
    answer = await server.ask("GET", f"{API}/0")

    assert (answer.json["name"], answer.json["lifecycle_stage"]) == ("Default", "active")


async def test_a_created_experiment_is_answered_and_found(server: TestServer) -> None:
    made = await create(server, "vision ü", tags={"team": "a"}, artifact_location="s3://b/x")

    read = await server.ask("GET", f"{API}/{made.json['experiment_id']}")

    assert made.status == 201
    assert made.json["experiment_id"] == experiment_id_for("vision ü")
    assert made.json["position"] >= 1
    assert read.json["tags"] == {"team": "a"}
    assert read.json["artifact_location"] == "s3://b/x"
    assert await search(server, name="vision ü") == ["vision ü"]
    assert await search(server, filter="tags.team = 'a'") == ["vision ü"]


async def test_a_name_belongs_to_one_active_experiment(server: TestServer) -> None:
    made = await create(server, "n")

    again = await create(server, "n")

    assert (again.status, again.code) == (409, "experiment_exists")
    assert again.json["error"]["details"]["experiment_id"] == made.json["experiment_id"]


async def test_of_many_who_create_one_name_at_once_one_wins(server: TestServer) -> None:
    answers = await asyncio.gather(*(create(server, "race") for _ in range(12)))

    assert sorted(answer.status for answer in answers) == [201] + [409] * 11
    assert await search(server, filter="name = 'race'", view="all") == ["race"]


async def test_creating_what_a_run_has_named_is_refused(server: TestServer) -> None:
    await server.append(events_body(1, started("n")))

    assert (await create(server, "n")).code == "experiment_exists"


async def test_a_deleted_name_is_free_and_the_old_one_waits_for_it(server: TestServer) -> None:
    old = (await create(server, "n")).json["experiment_id"]
    await server.ask("DELETE", f"{API}/{old}")

    new = await create(server, "n")
    refused = await patch(server, old, lifecycle_stage="active")
    renamed = await patch(server, old, lifecycle_stage="active", name="n (old)")

    assert (new.status, new.json["experiment_id"]) == (201, experiment_id_for("n", salt=1))
    assert (refused.status, refused.code) == (409, "experiment_exists")
    assert "rename" in refused.json["error"]["message"]
    assert renamed.json["lifecycle_stage"] == "active"
    assert await search(server, filter="name LIKE 'n%'", order_by="name") == ["n", "n (old)"]


async def test_by_name_the_active_one_comes_before_the_deleted(server: TestServer) -> None:
    old = (await create(server, "n")).json["experiment_id"]
    await server.ask("DELETE", f"{API}/{old}")

    deleted = (await server.ask("GET", API, params={"name": "n"})).json["experiments"]
    new = (await create(server, "n")).json["experiment_id"]
    active = (await server.ask("GET", API, params={"name": "n"})).json["experiments"]

    assert [e["experiment_id"] for e in deleted] == [old]
    assert [e["experiment_id"] for e in active] == [new]
    assert await search(server, name="n", view="deleted_only") == []
    assert await search(server, name="nobody") == []


async def test_renaming_and_tags_change_what_they_name(server: TestServer) -> None:
    made = (await create(server, "n", tags={"a": "1", "b": "2"})).json["experiment_id"]

    answer = await patch(server, made, name="m", tags={"a": None, "c": "3", "never": None})

    assert (answer.json["name"], answer.json["tags"]) == ("m", {"b": "2", "c": "3"})
    assert (await create(server, "m")).code == "experiment_exists"
    assert (await create(server, "n")).status == 201


async def test_a_patch_that_changes_nothing_appends_nothing(server: TestServer) -> None:
    made = (await create(server, "n", tags={"a": "1"})).json

    answer = await patch(
        server, made["experiment_id"], name="n", tags={"a": "1"}, lifecycle_stage="active"
    )

    assert answer.json["position"] == made["position"]


async def test_a_deleted_experiment_takes_its_runs_along_and_brings_them_back(
    server: TestServer,
) -> None:
    await server.append(events_body(1, started("n")))
    made = experiment_id_for("n")

    await server.ask("DELETE", f"{API}/{made}")
    gone = await server.ask("POST", "/api/v1/runs/search", json={})
    run = await server.ask("GET", "/api/v1/runs/run-1")
    tag = await patch(server, made, tags={"a": "1"})
    await patch(server, made, lifecycle_stage="active")
    back = await server.ask("POST", "/api/v1/runs/search", json={})

    assert gone.json["runs"] == []
    assert run.json["lifecycle_stage"] == "deleted"
    assert (tag.status, tag.code) == (409, "experiment_deleted")
    assert [r["run_id"] for r in back.json["runs"]] == ["run-1"]


async def test_the_default_experiment_stays(server: TestServer) -> None:
    answer = await server.ask("DELETE", f"{API}/0")

    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_an_edit_wins_over_a_clock_that_is_ahead(server: TestServer) -> None:
    ahead = Event(
        EventType.EXPERIMENT_CREATED, 4_000_000_000_000_000, {"experiment_id": "7", "name": "far"}
    )
    await server.append(events_body(1, ahead, run_id=""))

    first = await patch(server, "7", name="near", tags={"a": "1"})
    second = await patch(server, "7", name="nearer", tags={"a": None})

    assert first.json["name"] == "near"
    assert (second.json["name"], second.json["tags"]) == ("nearer", {})


async def test_pages_follow_one_another(server: TestServer) -> None:
    for name in "abcde":
        await create(server, name)
    found: list[str] = []
    query = {"filter": "name != 'Default'", "order_by": "name DESC", "max_results": "2"}
    while True:
        page = (await server.ask("GET", API, params=query)).json
        found += [experiment["name"] for experiment in page["experiments"]]
        if page["next_page_token"] is None:
            break
        query["page_token"] = page["next_page_token"]

    assert found == ["e", "d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("query", "code", "position"),
    [
        ({"filter": "name = "}, "invalid_query", 8),
        ({"filter": "metrics.a = 1"}, "invalid_query", 1),
        ({"order_by": "name UP"}, "invalid_query", 6),
        ({"page_token": "xyz"}, "invalid_query", None),
        ({"max_results": "0"}, "invalid_query", None),
        ({"max_results": "many"}, "invalid_request", None),
        ({"view": "some"}, "invalid_request", None),
        ({"min_position": "-"}, "invalid_request", None),
        ({"filter": "name = '\0'"}, "invalid_query", 9),
    ],
)
async def test_a_bad_question_is_refused_with_its_place(
    server: TestServer, query: dict[str, str], code: str, position: int | None
) -> None:
    answer = await server.ask("GET", API, params=query)

    assert (answer.status, answer.code) == (400, code)
    assert answer.json["error"]["details"].get("position") == position


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"name": ""}',
        b'{"name": 5}',
        b'{"name": "a", "surprise": 1}',
        b'{"name": "' + b"x" * 501 + b'"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "tags": {"": "x"}}',
        b'{"name": "a", "tags": {"k": "' + b"x" * 70_000 + b'"}}',
        b'{"name": "a", "artifact_location": "' + b"x" * 3_000 + b'"}',
    ],
)
async def test_a_bad_command_is_refused_and_changes_nothing(
    server: TestServer, body: bytes
) -> None:
    answer = await server.ask("POST", API, data=body, headers={"Content-Type": "application/json"})

    assert 400 <= answer.status < 500
    assert answer.code in ("invalid_request", "invalid_event")
    assert await search(server) == ["Default"]


@pytest.mark.parametrize("experiment_id", ["999", "%20", "..%2F..", "%ED%A0%80", quote("ü'; --")])
async def test_an_unknown_experiment_is_not_found(server: TestServer, experiment_id: str) -> None:
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        answer = await server.ask(method, f"{API}/{experiment_id}", json=body)

        assert answer.status == 404, (method, answer.json)
