"""Verify and rebuild asked of a server over HTTP, as the commands do it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner, Result

from ingest.app import build_app
from ingest.settings import load_settings
from projections.builds import Builds
from projections.kinds import KINDS
from tests.support.logs import Metrics, Record, batch_to_append, event
from tracker.cli.rebuild import command as rebuild_command
from tracker.cli.verify import command as verify_command
from tracker.events import wire

Client = TestClient[Any, Any]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "tracker.db"


@pytest.fixture
async def client(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRACKER_SPOOL_DIR", str(tmp_path / "spool"))
    app = build_app(load_settings(backend_store_uri=f"sqlite:///{store}"))
    async with TestClient(TestServer(app)) as client:
        for n in range(20):
            records: list[Record] = [
                event("tags.set", n, tags={"n": str(n)}),
                Metrics({"m": n}, n, n),
            ]
            batch = batch_to_append("run", "w", 1 + 2 * n, records)
            answer = await client.post(
                "/api/v1/append",
                data=wire.encode_batch(batch.header, batch.payload),
                headers={"Content-Type": wire.BATCH_CONTENT_TYPE},
            )
            assert answer.status == 200, await answer.text()
        yield client


async def finished(client: Client, path: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            answer = await (await client.get(path)).json()
            states = [answer] if "state" in answer else answer["rebuilds"]
            if all(each["state"] != "running" for each in states):
                return answer
            await asyncio.sleep(0.01)


async def command(*arguments: str, of: Any) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, of, list(arguments))


async def test_a_server_verifies_itself(client: Client) -> None:
    assert await (await client.get("/api/v1/verify")).json() == {
        "state": "none",
        "progress": None,
        "report": None,
        "error": None,
    }
    begun = await client.post("/api/v1/verify")
    assert begun.status == 202

    answer = await finished(client, "/api/v1/verify")

    assert answer["state"] == "done"
    report = answer["report"]
    assert (report["is_clean"], report["head"], report["points"]) == (True, 40, 20)
    assert {p["name"] for p in report["projections"]} == {kind.name for kind in KINDS}


async def test_a_server_rebuilds_what_it_is_asked_to(client: Client, store: Path) -> None:
    begun = await client.post("/api/v1/rebuild", json={"projection": "runs"})
    assert begun.status == 202

    answer = await finished(client, "/api/v1/rebuild")

    assert [(r["projection"], r["state"]) for r in answer["rebuilds"]] == [("runs", "done")]
    build = Builds.beside(store).current("runs")
    assert build is not None
    assert build.path.name == "runs-2.sqlite"


@pytest.mark.parametrize("body", ['{"projection": "colours"}', '{"x": 1}', "nonsense"])
async def test_a_rebuild_of_what_there_is_not_is_refused(client: Client, body: str) -> None:
    answer = await client.post(
        "/api/v1/rebuild", data=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status == 400
    assert (await answer.json())["error"]["code"] == "invalid_request"


async def test_the_command_verifies_a_server_and_its_file_meanwhile(
    client: Client, store: Path
) -> None:
    for source in (str(client.make_url("/")), str(store)):
        outcome = await command(source, of=verify_command)

        assert outcome.exit_code == 0, outcome.output
        assert "clean: 40 events" in outcome.stdout


async def test_the_command_tells_what_the_server_found(client: Client, store: Path) -> None:
    build = Builds.beside(store).current("runs")
    assert build is not None
    await finished(client, "/api/v1/rebuild")
    while True:
        ready = await (await client.get("/ready")).json()
        if all(p["lag"] == 0 for p in ready["projections"]):
            break
        await asyncio.sleep(0.01)
    connection = sqlite3.connect(build.path)
    with connection:
        connection.execute("UPDATE run_tag SET value = 'x'")
    connection.close()

    outcome = await command(str(client.make_url("/")), "--json", of=verify_command)

    assert outcome.exit_code == 1
    report = json.loads(outcome.stdout)
    assert report["findings"][0]["fault"] == "projection_row_wrong"
    assert "value is 'x', should be '19'" in report["findings"][0]["message"]


async def test_the_command_has_a_server_rebuild(client: Client) -> None:
    outcome = await command("--uri", str(client.make_url("/")), of=rebuild_command)

    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.splitlines() == [
        "runs: built anew up to position 40",
        "series: built anew up to position 40",
    ]


async def test_the_commands_say_when_no_server_answers(unused_tcp_port: int) -> None:
    outcome = await command(f"http://127.0.0.1:{unused_tcp_port}", of=verify_command)

    assert outcome.exit_code == 3
    assert "http://127.0.0.1" in outcome.stderr
