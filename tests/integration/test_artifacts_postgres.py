"""Artifacts of servers that keep their log in PostgreSQL: the SDK, the trees, and gc."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner, Result

from ingest.binding import InvalidSettings
from tests.support.postgres import fresh_database
from tests.support.processes import (
    ServerProcess,
    environment,
    free_port,
    run_cli,
    running_server,
)
from tracker.cli.artifacts import command
from tracker.client import Client
from tracker.refusals import ArtifactNotFound

FILES = 10
LARGE = bytes(range(256)) * 5_000  # in parts, not in a batch
MONTH_S = 30 * 86_400.0
SCRIPT = """
import sys, tracker
with tracker.start_run() as run:
    tracker.log_artifacts(sys.argv[1], "tree")
    tracker.log_text(sys.argv[2], "kept.txt")
    assert tracker.flush(60)
print(run.run_id)
"""


@dataclass(frozen=True)
class Place:
    """One log in PostgreSQL and one artifact store, with a server for each of two workspaces."""

    stores: tuple[str, ...]
    artifacts: Path
    default: ServerProcess
    other: ServerProcess


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, postgres_server_dsn: str) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("servers")
    with fresh_database(postgres_server_dsn) as dsn:
        stores = (
            *("--backend-store-uri", dsn),
            *("--artifacts-destination", str(home / "artifacts")),
        )
        with (
            running_server(home / "default", *stores) as default,
            running_server(home / "other", *stores, "--workspace", "other") as other,
        ):
            yield Place(stores, home / "artifacts", default, other)


def logged(home: Path, server: ServerProcess, **more: str) -> str:
    """The id of a run whose tree has files, large.bin among them, and a kept.txt of this test."""
    folder = home / "files"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        (folder / f"{number}.txt").write_text(f"file {number}")
    (folder / "large.bin").write_bytes(LARGE)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), home.name],
        env=environment(home, TRACKER_URI=server.uri, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.strip()
    deadline = time.monotonic() + 60
    # What was logged last is folded last; the answers of a crowded server may be behind.
    while not _lists(server, run_id, "kept.txt"):
        assert time.monotonic() < deadline, "the tree was not folded in a minute"
        time.sleep(0.1)
    return run_id


def _lists(server: ServerProcess, run_id: str, path: str) -> bool:
    try:
        listed = server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]
    except HTTPError as refusal:
        if refusal.code in (404, 503):
            return False
        raise
    return path in [each["path"] for each in listed]


def age(artifacts: Path) -> None:
    """Every blob and every note of it is a month old."""
    ago = time.time() - MONTH_S
    for path in artifacts.rglob("*"):
        if path.is_file():
            os.utime(path, (ago, ago))


def delete(server: ServerProcess, run_id: str, path: str) -> None:
    """Answered with 503, it is asked again: a crowded server's projection may be behind."""
    asked = Request(f"{server.uri}/api/v1/runs/{run_id}/artifacts/{path}", method="DELETE")
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(asked, timeout=30):
                return
        except HTTPError as refusal:
            if refusal.code != 503 or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def run(place: Place, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, *place.stores])


def test_a_tree_in_postgres_is_listed_downloaded_zipped_and_deleted_from(
    place: Place, tmp_path: Path
) -> None:
    run_id = logged(tmp_path, place.default)

    with Client(place.default.uri) as client:
        folder = Path(client.download_artifacts(run_id, "", tmp_path / "into"))
        listed = {each.path for each in client.list_artifacts(run_id)}
        delete(place.default, run_id, "tree/0.txt")
        with pytest.raises(ArtifactNotFound):
            client.read_artifact(run_id, "tree/0.txt")
    with urlopen(f"{place.default.uri}/api/v1/runs/{run_id}/artifacts/tree?format=zip") as answer:
        names = zipfile.ZipFile(BytesIO(answer.read())).namelist()

    assert listed == {"tree", "kept.txt"}
    assert (folder / "tree" / "large.bin").read_bytes() == LARGE
    assert len(names) == FILES


def test_a_collection_counts_the_trees_of_all_workspaces(place: Place, tmp_path: Path) -> None:
    mine = logged(tmp_path, place.default)
    theirs = logged(tmp_path, place.other, TRACKER_WORKSPACE="other")
    delete(place.default, mine, "tree/large.bin")  # the other workspace names these bytes, too
    delete(place.default, mine, "kept.txt")
    delete(place.other, theirs, "kept.txt")
    age(place.artifacts)

    def collect(*arguments: str) -> Any:
        done = run(place, "gc", *arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    dry = collect("--dry-run")
    condemned = collect()
    age(place.artifacts)
    removed = collect()

    gone = hashlib.sha256(tmp_path.name.encode()).hexdigest()
    assert gone in dry["condemned"]["digests"]
    assert dry["condemned"]["digests"] == condemned["condemned"]["digests"]
    assert sorted(removed["removed"]["digests"]) == sorted(condemned["condemned"]["digests"])
    assert removed["workspaces"] == ["default", "other"]
    assert hashlib.sha256(LARGE).hexdigest() not in removed["removed"]["digests"]
    assert run(place, "verify", "--all").exit_code == 0


def test_a_database_without_a_log_collects_nothing(tmp_path: Path, postgres_dsn: str) -> None:
    stores = ("--backend-store-uri", postgres_dsn, "--artifacts-destination", str(tmp_path))
    done = CliRunner().invoke(command, ["gc", *stores])

    assert isinstance(done.exception, InvalidSettings)
    assert "holds no log" in str(done.exception)


def test_a_database_that_is_away_is_said_in_one_line(tmp_path: Path) -> None:
    uri = f"postgresql://nobody@127.0.0.1:{free_port()}/x"
    stores = ("--backend-store-uri", uri, "--artifacts-destination", str(tmp_path))
    done = run_cli(tmp_path, "artifacts", "gc", *stores)

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "the event log cannot be opened" in done.stderr
