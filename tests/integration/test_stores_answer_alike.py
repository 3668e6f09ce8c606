"""Two servers with the same log, one on SQLite and one on PostgreSQL: the same answers.

Both are told the same story, which has something of everything: then every question that HTTP
offers is put to both, and whatever comes back (status, body, the page's token) must be equal.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.event_stores.base import EventStore
from ingest.state import EVENT_STORE
from tests.support.histories import START_US, fill
from tests.support.http_server import Answer, TestServer, serving
from tests.support.logs import Metrics, Record, batch_to_append, event

Servers = tuple[TestServer, TestServer]
Question = tuple[str, str, dict[str, Any] | None]
# What PostgreSQL does not take as it is, and what it might sort or fold in another way.
ODD_TEXTS = (
    "a\0b",
    "\1\2\1",
    "é",
    "É",
    "\U0001f980",
    "a b",
    "A",
    "zz" * 300,
    '"\\u0001',
    "0x1",
    " 7 ",
)
# Tokens of pages hold the clock of the search.
OF_THE_SERVER = re.compile(
    r'"server-[0-9a-f]{32}"|"next_page_token":"[^"]+"|"received_at_us":[0-9]+'
)
BITS = (0.0, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf, 0.1)
LONG = 9_000


@pytest.fixture
async def servers(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Servers]:
    async with (
        serving(tmp_path / "sqlite") as one,
        serving(tmp_path / "postgres", backend_store_uri=postgres_dsn) as other,
    ):
        for server in (one, other):
            await tell(server.app[EVENT_STORE])
            head = (await server.app[EVENT_STORE].head()).next_position - 1
            seen = await server.ask("GET", f"/api/v1/runs/odd?min_position={head}")
            assert seen.status == 200, seen.json
        yield one, other


async def tell(store: EventStore) -> None:
    await fill(store)
    for run_id, records in chapters().items():
        for at in range(0, len(records), 3_000):
            batch = batch_to_append(run_id, f"w-{run_id}", at + 1, records[at : at + 3_000])
            await store.append(batch)


def chapters() -> dict[str, list[Record]]:
    rng = random.Random(11)
    odd: list[Record] = [
        event("run.started", START_US, experiment_name="odd", name="ODD\0é", parent_run_id="run-0"),
        event("params.logged", START_US, params={f"p{i}": t for i, t in enumerate(ODD_TEXTS)}),
        event("params.logged", START_US + 1, params={"p0": "another"}),
        event("tags.set", START_US, tags={f"t é{i}": t for i, t in enumerate(ODD_TEXTS)}),
        event("tag.deleted", START_US + 1, key="t é2"),
        event(
            "input.logged", START_US, name="set\1", digest="d1", source_type="local", source="s",
            schema="{}", profile="\0", tags={"mlflow.data.context": "training"},
        ),
        event("model.created", START_US, model_id="m1", experiment_id="42", name="net\0",
              source_run_id="odd", params={"depth": "3"}, tags={"a": "\1"}),
        event("model.finalized", START_US + 1, model_id="m1", status="READY"),
        event("model.metrics_logged", START_US + 2, model_id="m1",
              metrics=[["acc", 0.5, 1, START_US, "set\1", "d1"], ["bad", "NaN", 1, 2, None, None]]),
        event("model_output.logged", START_US, model_id="m1", step=3),
        event("artifact.logged", START_US, path="a/b é/c.txt", digest="ab" * 32, size=3),
        event("artifact.logged", START_US, path="a/ref", uri="s3://elsewhere/x", etag="e"),
        event("artifact.logged", START_US, path="gone", digest="cd" * 32, size=1),
        event("artifact.deleted", START_US + 1, path="gone"),
        event("a.type.nobody.knows", START_US, what="ever"),
    ]  # fmt: skip
    odd += [
        Metrics({f"bits{i}": value}, s, START_US) for s in (1, 2) for i, value in enumerate(BITS)
    ]
    long: list[Record] = [event("run.started", START_US + 5, experiment_name="odd")]
    long += [
        Metrics({"loss": rng.gauss(0, 1)}, rng.randrange(LONG), START_US + i) for i in range(LONG)
    ]
    deleted: list[Record] = [
        event("run.started", START_US + 6, experiment_id="42"),
        event("run.ended", START_US + 7, status="FAILED", reason="lost", detail="gone"),
        event("run.deleted", START_US + 8),
    ]
    return {"odd": odd, "long": long, "deleted": deleted}


GETS = (
    *(f"/api/v1/runs/{run}" for run in ("run-0", "run-5", "odd", "long", "deleted", "nobody")),
    *(f"/api/v1/runs/run-0?as_of_position={position}" for position in (3, 140, 668)),
    "/api/v1/runs/run-0/metrics",
    "/api/v1/runs/odd/metrics",
    *(f"/api/v1/runs/odd/metrics/bits{i}" for i in range(len(BITS))),
    "/api/v1/runs/run-0/metrics/loss",
    "/api/v1/runs/run-0/metrics/loss?as_of_position=90",
    "/api/v1/runs/run-1/metrics/loss?buckets=7",
    "/api/v1/runs/long/metrics/loss?buckets=100",
    "/api/v1/runs/long/metrics/loss?start_step=100&end_step=4000&buckets=50",
    "/api/v1/runs/long/metrics/loss?limit=5000",
    "/api/v1/runs/long/metrics/nothing",
    "/api/v1/experiments",
    "/api/v1/experiments?view=all&max_results=2",
    "/api/v1/experiments?filter=name%20LIKE%20'%25o%25'&order_by=name%20DESC",
    "/api/v1/experiments/42",
    "/api/v1/experiments/0",
    "/api/v1/experiments/none",
    *(f"/api/v1/keys?kind={kind}" for kind in ("params", "metrics", "tags")),
    "/api/v1/keys?kind=metrics&prefix=bits&max_results=3",
    "/api/v1/runs/run-0/artifacts",
    "/api/v1/runs/odd/artifacts?recursive=true",
    "/api/v1/runs/odd/artifacts?path=a",
    "/api/v1/models/m1/artifacts",
    "/api/v1/writers/w0",
    "/api/v1/writers/nobody",
    "/api/2.0/mlflow/runs/get?run_id=odd",
    "/api/2.0/mlflow/metrics/get-history?run_id=long&metric_key=loss&max_results=3000",
    "/api/2.0/mlflow/experiments/get-by-name?experiment_name=odd",
    "/api/2.0/mlflow/logged-models/m1",
    "/api/2.0/mlflow/artifacts/list?run_id=odd&path=a",
)
FILTERS = (
    "",
    "metrics.loss < 2",
    "metrics.loss.min < -3 OR metrics.acc = 0",
    "params.lr > 0.15 AND params.lr < 0.35",
    "params.p4 = '\U0001f980'",
    "params.p2 ILIKE 'É'",
    "params.p0 LIKE 'a%'",
    "params.p5 RLIKE '^a.b$'",
    r"params.p6 RLIKE '(?i)a\b'",
    "NOT tags.team = 'é'",
    "tags.reviewed IS NULL AND liveness = 'lost'",
    "attributes.run_name LIKE 'run%' AND attributes.status IN ('FINISHED', 'RUNNING')",
    "metrics.bits4 IS NAN",
    "metrics.bits5 > 1e300",
    "dataset.name = 'set\1'",
    "parent_run_id = 'run-0'",
    "metrics.loss.count >= 9000.5",
    "params.p9 IS NOT NULL AND params.p10 = 7",
    "metrics.loss <",
)
ORDERS: tuple[list[str], ...] = (
    [],
    ["metrics.loss DESC"],
    ["params.p1", "start_time DESC"],
    ["tags.team", "metrics.bits4"],
)
POSTS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(
        ("/api/v1/runs/search", {"filter": text, "order_by": order, "view": "all"})
        for text in FILTERS
        for order in (ORDERS if text in FILTERS[:3] else ORDERS[1:2])
    ),
    ("/api/v1/runs/search", {"filter": "metrics.loss < 2", "as_of_position": 120}),
    ("/api/v1/runs/search", {"columns": ["params.lr", "metrics.loss"]}),
    ("/api/v1/runs/groups", {"group_by": ["params.lr", "status"], "metrics": ["loss", "bits4"]}),
    ("/api/v1/runs/groups", {"group_by": ["tags.team"], "max_results": 1}),
    ("/api/v1/runs/groups", {"filter": "metrics.loss < 2"}),
    (
        "/api/v1/metrics/query",
        {"run_ids": ["run-0", "run-1", "long"], "keys": ["loss", "acc"], "buckets": 20},
    ),
    (
        "/api/2.0/mlflow/runs/search",
        {
            "experiment_ids": ["0", "42"],
            "filter": "params.lr LIKE '0%'",
            "order_by": ["attribute.run_id"],
        },
    ),
    ("/api/2.0/mlflow/experiments/search", {"max_results": 3, "order_by": ["name ASC"]}),
    (
        "/api/2.0/mlflow/logged-models/search",
        {"experiment_ids": ["42"], "filter": "params.depth = '3'"},
    ),
)  # fmt: skip


async def test_every_question_is_answered_alike(servers: Servers) -> None:
    questions: list[Question] = [("GET", path, None) for path in GETS]
    questions += [("POST", path, body) for path, body in POSTS]
    answers = [(question, await both(servers, *question)) for question in questions]

    assert [
        (question, told(one), told(other))
        for question, (one, other) in answers
        if (one.status, told(one)) != (other.status, told(other))
    ] == []
    # Refused is only what should be.
    statuses = Counter(one.status for _, (one, _) in answers)
    assert statuses == {200: len(questions) - 5, 404: 4, 400: 1}


async def test_pages_are_turned_alike_with_the_tokens_of_either(servers: Servers) -> None:
    for order in ORDERS:
        body: dict[str, Any] = {"order_by": order, "max_results": 2, "view": "all"}
        for page in range(5):
            answers = await both(servers, "POST", "/api/v1/runs/search", body)
            assert told(answers[1]) == told(answers[0]), order
            body["page_token"] = answers[page % 2].json["next_page_token"]

        assert body["page_token"] is None


def told(answer: Answer) -> str:
    """The body without the clock of whoever answered, and the names that it gave itself."""
    return OF_THE_SERVER.sub("", answer.body.decode())


async def both(
    servers: Servers, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[Answer, Answer]:
    one, other = [await server.ask(method, path, json=body) for server in servers]
    return one, other


async def test_tables_are_the_same_row_by_row_before_and_after_a_rebuild(
    servers: Servers,
) -> None:
    before = [await verified(server) for server in servers]
    for server in servers:
        asked = await server.ask("POST", "/api/v1/rebuild", json={"projection": "all"})
        assert asked.status == 202, asked.json
        rebuilt = await over(server, "/api/v1/rebuild")
        assert [r["state"] for r in rebuilt["rebuilds"]] == ["done", "done"], rebuilt
    after = [await verified(server) for server in servers]

    assert before[1]["projections"] == before[0]["projections"]
    assert [p["name"] for p in before[0]["projections"]] == ["runs", "series"]
    assert after == before


async def verified(server: TestServer) -> Any:
    """The report of the log and the tables, without what differs between two logs: their times."""
    await server.ask("POST", "/api/v1/verify", json={})
    report = (await over(server, "/api/v1/verify"))["report"]
    assert report["findings"] == []
    runs, _ = report["projections"]
    for table in ("run", "run_writer"):  # with a time and a writer of the server's own
        del runs["hashes"][table]
    return report


async def over(server: TestServer, path: str) -> Any:
    async with asyncio.timeout(60):
        while b'"running"' in (answer := await server.ask("GET", path)).body:
            await asyncio.sleep(0.05)
    return answer.json
