"""`tracker artifacts gc` and `verify` beside a server that runs, and without one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.http_server import TestServer, events_body, serving
from tests.support.logs import event
from tests.support.spools import meta_for_tests
from tracker.cli.artifacts import command
from tracker.events.types import Event
from tracker.spool.folder import SpoolRoot
from tracker.spool.writer import SpoolWriter

MONTH_S = 30 * 86_400.0


@pytest.fixture(params=["sqlite", "postgres"])
def log_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the server's log is."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_dsn"))
    return f"sqlite:///{tmp_path / 'server' / 'log.db'}"


@pytest.fixture
async def server(tmp_path: Path, log_uri: str) -> AsyncIterator[TestServer]:
    async with serving(tmp_path, backend_store_uri=log_uri) as server:
        await log(server, 1, event("run.started"))
        yield server


async def log(server: TestServer, first_seq: int, *events: Event) -> None:
    answer = await server.append(events_body(first_seq, *events, run_id="r"))
    assert answer.status == 200
    await server.ask("GET", f"/api/v1/runs/r?min_position={answer.json['position']}")


async def put(server: TestServer, path: str, data: bytes) -> str:
    answer = await server.ask("PUT", f"/api/v1/runs/r/artifacts/{path}", data=data)
    assert answer.status == 200
    return str(answer.json["digest"])


def run(home: Path, log_uri: str, *arguments: str) -> Result:
    """`arguments` may name another spool than the home's."""
    places = ("--backend-store-uri", log_uri, "--home", str(home))
    spool = ("--spool-dir", str(home / "spool"))
    name, *given = arguments
    return CliRunner().invoke(command, [name, *places, *spool, *given])


async def beside(home: Path, log_uri: str, *arguments: str) -> dict[str, Any]:
    """What the command says in JSON, while the server runs."""
    done = await asyncio.to_thread(run, home, log_uri, *arguments, "--json")
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def blob_path(home: Path, digest: str) -> Path:
    return home / "server" / "artifacts" / "default" / "blobs" / digest[:2] / digest


def age(home: Path) -> None:
    """Every blob and every note of it is a month old."""
    ago = time.time() - MONTH_S
    for path in (home / "server" / "artifacts").rglob("*/*"):
        if path.is_file():
            os.utime(path, (ago, ago))


async def test_what_was_deleted_from_all_trees_is_collected_beside_a_server(
    server: TestServer, tmp_path: Path, log_uri: str
) -> None:
    kept, gone = await put(server, "kept", b"kept"), await put(server, "gone", b"gone!")
    await put(server, "also", b"kept")
    assert (await server.ask("DELETE", "/api/v1/runs/r/artifacts/also")).status == 200
    assert (await server.ask("DELETE", "/api/v1/runs/r/artifacts/gone")).status == 200
    age(tmp_path)

    dry = await beside(tmp_path, log_uri, "gc", "--dry-run")
    condemned = await beside(tmp_path, log_uri, "gc")
    age(tmp_path)
    undone = await beside(tmp_path, log_uri, "gc", "--undo")
    again = await beside(tmp_path, log_uri, "gc")
    waiting = await beside(tmp_path, log_uri, "gc")
    age(tmp_path)
    removed = await beside(tmp_path, log_uri, "gc")

    assert dry["condemned"]["digests"] == condemned["condemned"]["digests"] == [gone]
    assert undone["restored"]["digests"] == again["condemned"]["digests"] == [gone]
    assert (waiting["waiting"]["blobs"], waiting["removed"]["blobs"]) == (1, 0)
    assert removed["removed"]["digests"] == [gone]
    assert (removed["referred"]["blobs"], removed["workspaces"]) == (1, ["default"])
    assert not blob_path(tmp_path, gone).exists()
    assert blob_path(tmp_path, kept).exists()
    assert (await server.ask("GET", "/api/v1/runs/r/artifacts/kept")).body == b"kept"


async def test_the_files_of_a_deleted_run_are_kept(
    server: TestServer, tmp_path: Path, log_uri: str
) -> None:
    digest = await put(server, "a", b"data")
    await server.ask("DELETE", "/api/v1/runs/r")
    age(tmp_path)

    report = await beside(tmp_path, log_uri, "gc", "--undo-window", "0s")

    assert (report["referred"]["blobs"], report["condemned"]["blobs"]) == (1, 0)
    assert blob_path(tmp_path, digest).exists()


async def test_what_the_spool_still_has_to_say_is_kept(
    server: TestServer, tmp_path: Path, log_uri: str
) -> None:
    digest = hashlib.sha256(b"pending").hexdigest()
    await server.ask("PUT", f"/api/v1/blobs/{digest}", data=b"pending")
    writer = SpoolWriter.create(SpoolRoot(tmp_path / "other" / "spool"), meta_for_tests())
    data = {"path": "p", "digest": digest, "size": 7}
    writer.log_event(Event("artifact.logged", 1, data))
    writer.close()
    age(tmp_path)

    report = await beside(tmp_path, log_uri, "gc", "--spool-dir", str(tmp_path / "other" / "spool"))

    assert (report["referred"]["blobs"], report["condemned"]["blobs"]) == (1, 0)


@pytest.mark.parametrize("log_uri", ["sqlite"], indirect=True)  # PostgreSQL's is always folded
async def test_a_log_without_a_projection_is_folded_for_the_collection(
    tmp_path: Path, log_uri: str
) -> None:
    async with serving(tmp_path) as server:
        await log(server, 1, event("run.started"))
        kept = await put(server, "kept", b"kept")
        gone = await put(server, "gone", b"gone")
        await server.ask("DELETE", "/api/v1/runs/r/artifacts/gone")
    shutil.rmtree(tmp_path / "server" / "log.db-projections")
    age(tmp_path)

    report = await beside(tmp_path, log_uri, "gc")

    assert report["condemned"]["digests"] == [gone]
    assert report["referred"]["blobs"] == 1
    assert blob_path(tmp_path, kept).exists()


@pytest.mark.parametrize("log_uri", ["sqlite"], indirect=True)
async def test_a_log_that_cannot_be_the_stores_own_collects_nothing(
    tmp_path: Path, log_uri: str
) -> None:
    missing = await asyncio.to_thread(run, tmp_path, log_uri, "gc")
    async with serving(tmp_path):
        pass
    empty = await asyncio.to_thread(run, tmp_path, log_uri, "gc")

    assert missing.exit_code != 0
    assert "--backend-store-uri" in str(missing.exception)
    assert empty.exit_code != 0
    assert "is empty" in str(empty.exception)


def test_a_window_that_is_no_length_of_time_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "sqlite://", "gc", "--undo-window", "soon")

    assert done.exit_code == 2
    assert "7d" in done.stderr


# -- verify -------------------------------------------------------------------------------


async def test_verify_names_what_is_lost_damaged_or_of_another_length(
    server: TestServer, tmp_path: Path, log_uri: str
) -> None:
    lost, damaged = await put(server, "lost", b"lost"), await put(server, "d/damaged", b"data")
    short = await put(server, "fine", b"fine")
    await log(server, 2, event("artifact.logged", path="short", digest=short, size=99))
    await log(server, 3, event("artifact.logged", path="ref", uri="s3://b/k"))
    clean = await asyncio.to_thread(run, tmp_path, log_uri, "verify", "r")
    blob_path(tmp_path, lost).unlink()
    blob_path(tmp_path, damaged).write_bytes(b"dat!")

    for which in ("r", "--all"):
        done = await asyncio.to_thread(run, tmp_path, log_uri, "verify", which, "--json")
        report = json.loads(done.stdout)["workspaces"]["default"]

        assert done.exit_code == 1
        assert (report["files"], report["references"]) == (5, 1)
        assert {(each["fault"], each["path"]) for each in report["findings"]} == {
            ("lost", "lost"),
            ("damaged", "d/damaged"),
            ("other_size", "short"),
        }
    assert (clean.exit_code, "other_size" in clean.stdout) == (1, True)
    unknown = await asyncio.to_thread(run, tmp_path, log_uri, "verify", "none")
    assert unknown.exit_code == 1
    assert (await asyncio.to_thread(run, tmp_path, log_uri, "verify")).exit_code == 2


async def test_verify_says_that_a_store_is_clean(
    server: TestServer, tmp_path: Path, log_uri: str
) -> None:
    await put(server, "a", b"data")
    await put(server, "b", b"data")

    done = await asyncio.to_thread(run, tmp_path, log_uri, "verify", "--all")

    assert done.exit_code == 0
    assert "clean: 2 files (0 references), 1 blob, 4 B" in done.stdout


@pytest.mark.parametrize("log_uri", ["sqlite"], indirect=True)
async def test_a_collection_counts_in_words(
    server: TestServer, tmp_path: Path, log_uri: str
) -> None:
    for name in "a", "b":
        await put(server, name, name.encode())
    await put(server, "gone", b"gone")
    await server.ask("DELETE", "/api/v1/runs/r/artifacts/gone")
    age(tmp_path)

    done = await asyncio.to_thread(run, tmp_path, log_uri, "gc", "--undo-window", "1d")

    assert "referred to: 2 blobs, 2 B" in done.stdout
    assert "condemned: 1 blob, 4 B" in done.stdout
    assert "waiting: 0 blobs, 0 B" in done.stdout
    assert "by a collection in 1 day;" in done.stderr
