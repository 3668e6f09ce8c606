"""The same data in MLflow's own store and in this server, and the same questions to both."""

from __future__ import annotations

import asyncio
import json
import os
import re
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.http_server import TestServer, events_body, frames_body
from tests.support.mlflow_programs import NEWEST, PROGRAMS, ROOT
from tests.support.processes import environment
from tracker.events import wire
from tracker.events.types import Event, EventType

API = "/api/2.0/mlflow"
SEED = int(os.environ.get("TRACKER_TEST_SEED", "20261121"))
"""Of what is asked at random."""
IS_LONG = os.environ.get("TRACKER_CHAOS_ROUNDS") == "full"


async def fill(server: TestServer, data: dict[str, Any]) -> None:
    """Append the data that `search_reference.py` puts into MLflow's store."""
    events = []
    for item in data["experiments"]:
        about = {"experiment_id": item["id"]}
        time_us = item["creation_time"] * 1000
        named = {**about, "name": item["name"], "tags": item["tags"]}
        events.append(Event(EventType.EXPERIMENT_CREATED, time_us, named))
        if item["is_deleted"]:
            events.append(Event(EventType.EXPERIMENT_DELETED, time_us + 1, about))
    await _appended(server, events_body(1, *events, run_id="", writer_id="w0"))
    for item in data["runs"]:
        await _fill_run(server, item)


async def _fill_run(server: TestServer, item: dict[str, Any]) -> None:
    writer = f"w{item['run_id'][:24]}"
    events = [
        Event(
            EventType.RUN_STARTED,
            5_000_000,
            {
                "experiment_id": item["experiment_id"],
                "name": item["name"],
                "user": item["user"],
                "start_time_us": item["start_time"] * 1000,
                "tags": {**item["tags"], "mlflow.runName": item["name"]},
            },
        ),
        Event(EventType.PARAMS_LOGGED, 5_000_001, {"params": item["params"]}),
    ]
    for dataset in item["datasets"]:
        tags = {"mlflow.data.context": dataset["context"]} if dataset["context"] else {}
        said = {"name": dataset["name"], "digest": dataset["digest"], "tags": tags}
        events.append(Event(EventType.INPUT_LOGGED, 5_000_002, said))
    if item["end_time"] is not None:
        ended = {"status": item["status"], "end_time_us": item["end_time"] * 1000}
        events.append(Event(EventType.RUN_ENDED, 5_000_003, ended))
    elif item["status"] != "RUNNING":
        events.append(Event(EventType.RUN_UPDATED, 5_000_003, {"status": item["status"]}))
    if item["is_deleted"]:
        events.append(Event(EventType.RUN_DELETED, 5_000_004, {}))
    body = events_body(1, *events, run_id=item["run_id"], writer_id=writer)
    await _appended(server, body)
    frames = [
        wire.metrics_frame(
            offsets=[index],
            keys=[key],
            steps=array("q", [step]),
            times=array("q", [time_ms * 1000]),
            values=[array("d", [float(value)])],
        )
        for index, (key, value, step, time_ms) in enumerate(item["metrics"])
    ]
    if frames:
        first = len(events) + 1
        run_id = item["run_id"]
        await _appended(
            server, frames_body(frames, first, len(frames), writer_id=writer, run_id=run_id)
        )


async def _appended(server: TestServer, body: bytes) -> None:
    answer = await server.append(body)
    assert answer.status == 200, answer.body


def start_reference(
    home: Path, asked: dict[str, Any], *, program: str = "search_reference.py"
) -> list[str]:
    """The command that asks MLflow's own store."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "asked.json"
    path.write_text(json.dumps(asked))
    assert NEWEST.exists(), f"{NEWEST} is missing; `make test` installs it"
    return [
        str(NEWEST),
        "-W",
        "ignore",
        str(PROGRAMS / program),
        str(path),
        str(home),
    ]


@asynccontextmanager
async def running_reference(
    command: Sequence[str], environ: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The reference at work; it does not outlive a test that fails meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def reference_environment(home: Path) -> dict[str, str]:
    return environment(home, PYTHONPATH=str(ROOT))


async def pages_of(
    server: TestServer, path: str, query: dict[str, Any], *, view: str
) -> dict[str, Any]:
    """What this server answers, in the form of the reference's answers."""
    body: dict[str, Any] = {
        "filter": query["filter"],
        "order_by": query["order_by"],
        "max_results": query["max_results"],
        view: query["view"],
    }
    if "experiment_ids" in query:
        body["experiment_ids"] = query["experiment_ids"]
    pages: list[list[str]] = []
    while len(pages) < query["pages"]:
        answer = await server.ask("POST", f"{API}{path}/search", json=body)
        if answer.status != 200:
            return {"status": answer.status, **answer.json}
        if path == "/runs":
            pages.append([run["info"]["run_id"] for run in answer.json.get("runs", [])])
        else:
            found = answer.json.get("experiments", [])
            pages.append([experiment["experiment_id"] for experiment in found])
        body["page_token"] = answer.json.get("next_page_token")
        if body["page_token"] is None:
            break
    return {"pages": pages}


async def history_of(server: TestServer, query: dict[str, Any]) -> dict[str, Any]:
    pages: list[list[Any]] = []
    asked = {"run_id": query["run_id"], "metric_key": query["key"]}
    asked["max_results"] = str(query["max_results"])
    while len(pages) < query["pages"]:
        answer = await server.ask("GET", f"{API}/metrics/get-history", params=asked)
        assert answer.status == 200, answer.body
        pages.append(
            [
                # SQLite does not keep the sign of a zero; here it is kept.
                [point["timestamp"], point["step"], repr(float(point["value"]) + 0.0)]
                for point in answer.json.get("metrics", [])
            ]
        )
        if "next_page_token" not in answer.json:
            break
        asked["page_token"] = answer.json["next_page_token"]
    return {"pages": pages}


def normal(message: str) -> str:
    """MLflow prints sets in any order, and its tokens' objects as Python shows them."""
    return re.sub(r"\{([^{}]*)\}", _sorted_set, message)


def _sorted_set(found: re.Match[str]) -> str:
    return "{" + ", ".join(sorted(found[1].split(", "))) + "}"
