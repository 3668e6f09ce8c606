"""The SDK's artifacts against real servers, with files in a folder and in S3."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

import tracker
from tests.support.processes import ServerProcess, environment
from tests.support.s3_server import BUCKET, running_s3
from tracker.artifacts.trees import part_of
from tracker.client import Client
from tracker.events.errors import InvalidEvent
from tracker.refusals import ArtifactDamaged, ArtifactElsewhere, ArtifactNotFound, RunNotFound

SCRIPT = """
import json, os, sys, tracker
folder = sys.argv[1]
with tracker.start_run(run_name="files") as run:
    tracker.log_artifact(f"{folder}/large.bin", "data")
    tracker.log_artifact(f"{folder}/empty")
    tracker.log_artifacts(f"{folder}/tree", "tree")
    tracker.log_artifact(f"{folder}/large.bin")
    tracker.log_text("grüße", "notes/a.txt")
    tracker.log_dict({"a": 1}, "d.json")
    tracker.log_table([{"x": 1}], "t.json")
    tracker.log_table({"x": [2], "y": ["z"]}, "t.json")
    tracker.log_input("s3://bucket/train.parquet", context="training")
    tracker.log_artifact("s3://bucket/key/weights.pt", "refs", reference=True)
    told = {"run_id": run.run_id, "flushed": tracker.flush(40)}
    if os.environ.get("TRACKER_MODE") != "offline":
        told["listed"] = [entry.path for entry in tracker.list_artifacts()]
        told["loaded"] = [tracker.load_artifact("t.json"), tracker.load_artifact("notes/a.txt")]
        told["by the run"] = [
            [entry.path for entry in run.list_artifacts("notes")],
            run.load_artifact("notes/a.txt"),
            open(run.download_artifacts("d.json", f"{folder}/down")).read(),
        ]
print(json.dumps(told))
"""


@pytest.fixture(scope="module", params=["folder", "s3"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("server")
    if request.param == "folder":
        with _running(home, home / "artifacts", {}) as running:
            yield running
    else:
        with (
            running_s3(tmp_path_factory.mktemp("s3")) as s3,
            _running(home, f"s3://{BUCKET}/of-the-sdk", s3.environment) as running,
        ):
            yield running


@contextmanager
def _running(home: Path, destination: object, more: dict[str, str]) -> Iterator[ServerProcess]:
    """A server whose artifacts go to `destination`."""
    server = ServerProcess(home, arguments=("--artifacts-destination", str(destination)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in more.items():
            patch.setenv(name, value)
        server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "tree" / "sub").mkdir(parents=True)
    (folder / "large.bin").write_bytes(os.urandom(20 * 1024 * 1024 + 3))
    (folder / "empty").touch()
    for number in range(30):
        (folder / "tree" / "sub" / f"{number}.txt").write_text(f"file {number} of {tmp_path}")
    return folder


def run(home: Path, files: Path, uri: str, **more: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(files)],
        env=environment(home, TRACKER_URI=uri, **{"TRACKER_EXIT_WAIT_S": "90", **more}),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until_listed(client: Client, run_id: str, path: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(RunNotFound):  # nothing of it has arrived yet
            if path in {each.path for each in client.list_artifacts(run_id, recursive=True)}:
                return
        time.sleep(0.1)
    raise AssertionError(f"{path} has not come")


def check_files(server: ServerProcess, run_id: str, files: Path, into: Path) -> None:
    with Client(server.uri) as client:
        place = Path(client.download_artifacts(run_id, "", into))
        assert (place / "data" / "large.bin").read_bytes() == (files / "large.bin").read_bytes()
        assert (place / "empty").read_bytes() == b""
        assert len(list((place / "tree" / "sub").iterdir())) == 30
        (large,) = [e for e in client.list_artifacts(run_id) if e.path == "large.bin"]
        whole = hashlib.sha256((files / "large.bin").read_bytes()).hexdigest()
        assert (large.digest, large.file_size) == (whole, 20 * 1024 * 1024 + 3)
        with pytest.raises(ArtifactElsewhere, match=r"weights\.pt"):
            client.download_artifacts(run_id, "refs/weights.pt", into)
        with pytest.raises(ArtifactNotFound):
            client.download_artifacts(run_id, "nothing", into)
        (dataset,) = server.get(f"/api/v1/runs/{run_id}")["inputs"]
        assert (dataset["name"], dataset["tags"]) == (
            "train.parquet",
            {"mlflow.data.context": "training"},
        )


def test_what_is_logged_is_listed_loaded_and_downloaded(
    tmp_path: Path, files: Path, server: ServerProcess
) -> None:
    told = run(tmp_path, files, server.uri)
    assert told["flushed"]
    assert told["listed"] == [
        "d.json", "data", "empty", "large.bin", "notes", "refs", "t.json", "tree",
    ]  # fmt: skip
    table, text = told["loaded"]
    assert table == {"columns": ["x", "y"], "data": [[1, None], [2, "z"]]}
    assert text == "grüße"
    assert told["by the run"][:2] == [["notes/a.txt"], "grüße"]
    assert json.loads(told["by the run"][2]) == {"a": 1}
    check_files(server, told["run_id"], files, tmp_path / "into")
    spool = tmp_path / "spool"
    assert [path for path in spool.rglob("blobs/*") if path.is_file()] == []


def test_another_server_than_the_present_one_can_be_asked(
    tmp_path: Path, files: Path, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run(tmp_path, files, server.uri)["run_id"]
    monkeypatch.setenv("TRACKER_URI", "http://127.0.0.1:9")

    listed = tracker.list_artifacts(run_id=run_id, tracking_uri=server.uri)
    place = tracker.download_artifacts(f"runs:/{run_id}/d.json", tracking_uri=server.uri)

    assert "d.json" in [entry.path for entry in listed]
    assert json.loads(Path(place).read_text()) == {"a": 1}


def test_a_logged_model_is_named_by_its_id_and_registered_ones_are_refused(
    tmp_path: Path, server: ServerProcess
) -> None:
    created = server.post("/api/2.0/mlflow/logged-models", {"experiment_id": "0", "name": "net"})
    info = created["model"]["info"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    address = f"{server.uri}/api/2.0/mlflow-artifacts/artifacts/{root}/code/net.py"
    with urlopen(Request(address, b"a net", method="PUT"), timeout=60):
        pass

    of_model = f"models:/{info['model_id']}"
    listed = tracker.list_artifacts(of_model, tracking_uri=server.uri)
    place = tracker.download_artifacts(
        of_model, dst_path=tmp_path / "got", tracking_uri=server.uri, registry_uri=server.uri
    )

    assert [entry.path for entry in listed] == ["code"]
    assert Path(place, "code", "net.py").read_bytes() == b"a net"
    for registered in ("models:/net/3", "models:/net@best", "models:/net/Production/code"):
        with pytest.raises(InvalidEvent, match=r"no model registry.*models:/MODEL_ID"):
            tracker.download_artifacts(registered, tracking_uri=server.uri)
    for nonsense in ("net", "s3://bucket/x", "runs:/", "runs://host/x", "models:/"):
        with pytest.raises(InvalidEvent, match="neither"):
            tracker.download_artifacts(nonsense, tracking_uri=server.uri)


def test_files_of_an_offline_run_travel_with_its_spool(
    tmp_path: Path, files: Path, server: ServerProcess
) -> None:
    told = run(tmp_path, files, server.uri, TRACKER_MODE="offline")
    assert not told["flushed"]
    elsewhere = tmp_path / "carried"
    (tmp_path / "spool").rename(elsewhere)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "tracker", "sync", str(elsewhere), "--uri", server.uri],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    check_files(server, told["run_id"], files, tmp_path / "into")


def test_a_download_that_broke_off_goes_on_unless_what_was_left_is_damaged(
    tmp_path: Path, files: Path, server: ServerProcess
) -> None:
    told = run(tmp_path, files, server.uri)
    into, whole = tmp_path / "into", (files / "large.bin").read_bytes()
    into.mkdir()
    part = part_of(into / "large.bin", hashlib.sha256(whole).hexdigest())
    part.write_bytes(whole[:15_000_000])
    arrived: list[int] = []
    with Client(server.uri) as client:
        client.download_artifacts(
            told["run_id"], "large.bin", into, progress=lambda _, size: arrived.append(size)
        )
        assert (into / "large.bin").read_bytes() == whole
        assert sum(arrived) == len(whole) - 15_000_000
        part.write_bytes(b"x" * 15_000_000)
        client.download_artifacts(told["run_id"], "large.bin", into)
    assert not part.exists()
    assert (into / "large.bin").read_bytes() == whole


def test_equal_files_and_downloads_beside_each_other_do_not_meet(
    tmp_path: Path, server: ServerProcess
) -> None:
    """Ten files with the same bytes, fetched into one folder by four clients at once."""
    created = server.post("/api/2.0/mlflow/runs/create", {"experiment_id": "0"})
    run_id, data = created["run"]["info"]["run_id"], os.urandom(3_000_000)
    for number in range(10):
        address = f"{server.uri}/api/v1/runs/{run_id}/artifacts/equal/{number}"
        with urlopen(Request(address, data, method="PUT"), timeout=60):
            pass

    def fetch(_: int) -> str:
        with Client(server.uri) as client:
            return client.download_artifacts(run_id, "equal", tmp_path)

    with ThreadPoolExecutor(4) as clients:
        places = set(clients.map(fetch, range(4)))

    (place,) = places
    found = {path.name: path.read_bytes() for path in Path(place).iterdir()}
    assert found == {str(number): data for number in range(10)}


def test_nothing_is_written_through_a_link_that_lies_in_the_way(
    tmp_path: Path, files: Path, server: ServerProcess
) -> None:
    told = run(tmp_path, files, server.uri)
    into, outside = tmp_path / "into", tmp_path / "outside"
    into.mkdir()
    outside.mkdir()
    (into / "notes").symlink_to(outside)
    with Client(server.uri) as client, pytest.raises(ArtifactDamaged, match="link out of"):
        client.download_artifacts(told["run_id"], "notes", into)
    assert list(outside.iterdir()) == []


def test_staged_bytes_that_are_lost_or_changed_are_told_and_the_rest_arrives(
    tmp_path: Path, files: Path, server: ServerProcess
) -> None:
    told = run(tmp_path, files, server.uri, TRACKER_MODE="offline")
    damaged = hashlib.sha256((files / "tree" / "sub" / "7.txt").read_bytes()).hexdigest()
    large = hashlib.sha256((files / "large.bin").read_bytes()).hexdigest()
    for path in (tmp_path / "spool").rglob("blobs/*"):
        if path.name.startswith(damaged):
            path.write_bytes(b"FILE 7")
        if path.name.startswith(large):
            path.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "sync", "--uri", server.uri, "--json"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert json.loads(done.stdout)["rejected"] == 3, done.stderr
    with Client(server.uri) as client:
        paths = [e.path for e in client.list_artifacts(told["run_id"], recursive=True)]
    assert "tree/sub/7.txt" not in paths
    assert "large.bin" not in paths
    assert "tree/sub/8.txt" in paths
    assert server.get(f"/api/v1/runs/{told['run_id']}")["dropped"] == 3


def test_a_new_run_keeps_what_it_was_made_with(tmp_path: Path, server: ServerProcess) -> None:
    checkout = tmp_path / "code"
    checkout.mkdir()
    git = ["git", "-C", str(checkout), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    (checkout / "train.py").write_text("API_KEY = 'none'\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (checkout / "train.py").write_text(
        "import tracker\npassword = 'hunter2'\nwith tracker.start_run() as run:\n"
        "    pass\nprint(run.run_id)\n"
    )
    (checkout / "notes.txt").touch()
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=checkout,
        env=environment(tmp_path, TRACKER_URI=server.uri, TRACKER_SNAPSHOT="all"),
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    run_id = done.stdout.strip()
    with Client(server.uri) as client:
        # The run's end waits for a few seconds; what is not uploaded then follows.
        until_listed(client, run_id, "code/untracked.txt")
        diff = client.read_artifact(run_id, "code/changes.diff").decode()
        assert "+import tracker" in diff
        assert "hunter2" not in diff
        assert client.read_artifact(run_id, "code/untracked.txt") == b"notes.txt\n"
        assert b"aiohttp==" in client.read_artifact(run_id, "environment/requirements.txt")
        python = json.loads(client.read_artifact(run_id, "environment/python.json"))
        assert python["python"] == sys.version.split()[0]
