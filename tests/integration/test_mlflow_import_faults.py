"""Imports that are killed, repeated after changes, or given what is odd, old or none at all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_proxy import running_proxy
from tests.support.mlflow_stores import changing, imported, old_store, run_named
from tests.support.processes import ServerProcess, run_cli, running_server, start_script

POINTS = 120_000
# When the runs in the stores of older releases began.
START_US = 1_700_000_000_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path) as running:
        yield running


def add_points(path: Path, run_id: str, key: str, count: int) -> None:
    with changing(path) as database:
        database.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "VALUES (?, ?, ?, ?, ?, 0)",
            ((key, n / 7, 2_000_000_000_000 + n, run_id, n) for n in range(count)),
        )


@pytest.mark.parametrize("release", ["1.30", "2.9"])
def test_what_an_older_release_tracked_is_taken_over(
    server: ServerProcess, tmp_path: Path, release: str
) -> None:
    path = tmp_path / "old.db"
    source = old_store(path, release)

    report = imported(server, source, "--no-artifacts")
    again = imported(server, source, "--no-artifacts")

    assert (report["experiments"], report["runs"], report["points"]) == (3, 4, 12)
    assert (report["notes"], again["records_sent"]) == ([], 0)
    parent = server.get(f"/api/v1/runs/{run_named(path, 'parent')}")
    assert (parent["status"], parent["user_id"]) == ("FINISHED", "ann")
    assert (parent["start_time_us"], parent["end_time_us"]) == (START_US, START_US + 9_000_000)
    assert parent["params"] == {"lr": "0.1", "long": "x" * 40}
    assert parent["tags"]["a/b"] == "é\ny"
    assert parent["metrics"]["loss"]["nan_count"] == 1
    assert parent["metrics"]["loss"]["max"] == "Infinity"
    child = server.get(f"/api/v1/runs/{run_named(path, 'child')}")
    assert (child["status"], child["parent_run_id"]) == ("KILLED", parent["run_id"])
    for name in ("deleted", "in a deleted experiment"):
        run = server.get(f"/api/v1/runs/{run_named(path, name)}")
        assert run["lifecycle_stage"] == "deleted"
    inputs = [each["name"] for each in parent["inputs"]]
    assert inputs == (["train"] if release == "2.9" else [])


def test_a_store_from_before_mlflow_1_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ancient.db"
    old_store(path, "1.30")
    with changing(path) as database:
        database.execute("ALTER TABLE metrics RENAME TO steps")
        database.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid)")

    done = run_cli(tmp_path, "import", "mlflow", str(path), "--dry-run")

    assert done.returncode in (1, 2)
    assert "'metrics' lacks step: it is older than MLflow 1.0" in done.stderr
    assert "mlflow db upgrade" in done.stderr


def test_a_killed_import_goes_on_and_sends_every_point_once(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Killed when the server has some of a long history, of which no more passes."""
    path = tmp_path / "long.db"
    source = old_store(path)
    run_id = run_named(path, "parent")
    add_points(path, run_id, "long", POINTS)
    with running_proxy(server.uri) as proxy:
        proxy.records_max = 30_000
        command = ["tracker", "import", "mlflow", source, "--no-artifacts", "--to", proxy.uri]
        script = f"import sys; sys.argv = {command!r}; from tracker.cli.main import main; main()"
        process = start_script(tmp_path, script)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not proxy.met["status_503"]:
            time.sleep(0.01)
        process.kill()
        process.communicate()
    while time.monotonic() < deadline and stored(server, run_id) <= 20_000:
        time.sleep(0.05)
    before = stored(server, run_id)
    report = imported(server, source, "--no-artifacts")

    assert 20_000 < before < POINTS
    assert report["records_sent"] <= report["points"] + 100 - 20_000
    metrics = server.get(f"/api/v1/runs/{run_id}")["metrics"]
    assert metrics["long"]["count"] == POINTS
    assert metrics["loss"]["count"] == 6
    assert imported(server, source, "--no-artifacts")["records_sent"] == 0


def stored(server: ServerProcess, run_id: str) -> int:
    """The records that the server has of a run."""
    try:
        run = server.get(f"/api/v1/runs/{run_id}")
    except OSError:  # not there yet
        return 0
    return sum(each["next_seq"] - 1 for each in run["writers"])


def test_an_import_meets_experiments_that_are_here_already(
    server: ServerProcess, tmp_path: Path
) -> None:
    """The id 1 is another experiment here, and the name `gone` is taken by an active one."""
    made = server.post("/api/v1/experiments", {"name": "gone"})
    append = {"run_id": "", "writer_id": "w", "first_seq": 1, "events": [
        {"type": "experiment.created", "time_us": 1,
         "data": {"experiment_id": "1", "name": "mine"}}]}  # fmt: skip
    server.post("/api/v1/append", append)

    report = imported(server, old_store(tmp_path / "old.db"), "--no-artifacts")

    assert report["skipped"] == []
    assert len(report["notes"]) == 2
    here = {e["name"]: e for e in server.get("/api/v1/experiments?view=all")["experiments"]}
    assert here["mine"]["experiment_id"] == "1"
    assert here["from 2.9"]["experiment_id"] not in ("1", "2")
    assert here["gone"]["experiment_id"] == made["experiment_id"]
    assert here["gone"]["lifecycle_stage"] == "active"
    assert here["from 2.9"]["run_count"] == 2


def test_what_changed_at_the_source_is_said_again_and_other_points_are_named(
    server: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "changing.db"
    source = old_store(path)
    imported(server, source, "--no-artifacts")
    run_id, deleted = run_named(path, "parent"), run_named(path, "deleted")
    with changing(path) as database:
        database.execute(
            "UPDATE tags SET value = 'A' WHERE run_uuid = ? AND key = 'a/b'", (run_id,)
        )
        database.execute("UPDATE runs SET name = 'renamed' WHERE run_uuid = ?", (run_id,))
        database.execute(
            "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE run_uuid = ?",
            (deleted,),
        )
    add_points(path, run_id, "loss", 1)

    report = imported(server, source, "--no-artifacts", code=1)

    (skipped,) = report["skipped"]
    assert (skipped["kind"], skipped["examples"]) == ("metrics", [run_id])
    run = server.get(f"/api/v1/runs/{run_id}")
    assert (run["tags"]["a/b"], run["name"]) == ("A", "renamed")
    assert run["metrics"]["loss"]["count"] == 6
    assert server.get(f"/api/v1/runs/{deleted}")["lifecycle_stage"] == "active"
    assert imported(server, source, "--no-artifacts", code=1)["records_sent"] == 0


def test_what_cannot_be_recorded_here_is_named_and_the_rest_is_taken(
    server: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "odd.db"
    source = old_store(path)
    run_id = run_named(path, "child")
    with changing(path) as database:
        rows = [("bad\nkey", 1.0, 5, 1), ("late", 2.0, 2**62, 2), ("late", 3.0, 7, 2**63 - 1)]
        database.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "VALUES (?, ?, ?, ?, ?, 0)",
            [(key, value, time_ms, run_id, step) for key, value, time_ms, step in rows],
        )
        database.execute("UPDATE runs SET run_uuid = 'no id' WHERE name = 'deleted'")
        database.execute(
            "INSERT INTO params (key, value, run_uuid) VALUES ('a\nb', '1', ?)", (run_id,)
        )

    report = imported(server, source, "--no-artifacts", code=1)

    assert {(each["kind"], each["count"]) for each in report["skipped"]} == {
        ("point", 1), ("run", 1), ("param", 1),
    }  # fmt: skip
    late = server.get(f"/api/v1/runs/{run_id}")["metrics"]["late"]
    assert (late["count"], late["last"]["step"]) == (2, 2**63 - 1)


def test_files_that_lie_elsewhere_are_named_or_noted(server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.db"
    source = old_store(path)
    names = ("parent", "child", "deleted", "in a deleted experiment")
    served, bucket, lost, beside = (run_named(path, name) for name in names)
    for file in (tmp_path / "root" / "1" / served, tmp_path / "relative"):
        file.mkdir(parents=True)
        (file / "file.txt").write_text("bytes")
    (tmp_path / "relative" / "link").symlink_to("/etc/hostname")
    with changing(path) as database:
        for run_id, uri in (
            (served, f"mlflow-artifacts:/1/{served}"),
            (bucket, f"s3://bucket/1/{bucket}/artifacts"),
            (lost, "file:///nowhere/at/all/artifacts"),
            (beside, "./relative"),
        ):
            database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (uri, run_id))

    without = imported(server, source, code=1)
    root = str(tmp_path / "root")
    report = imported(server, source, "--artifacts-root", root, "--references", code=1)

    owners = {each["examples"][0].partition(":")[0] for each in without["skipped"]}
    assert owners == {served, bucket, lost, beside}
    assert without["artifacts"] == 1
    left = {each["reason"]: each["examples"][0] for each in report["skipped"]}
    assert left == {
        "the folder is not on this machine": f"{lost}: file:///nowhere/at/all/artifacts",
        "it is a link": f"{beside}: link",
    }
    for run_id in (served, beside):
        listed = server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]
        assert [entry["path"] for entry in listed] == ["file.txt"]
    (noted,) = server.get(f"/api/v1/runs/{bucket}/artifacts")["artifacts"]
    assert noted["uri"] == f"s3://bucket/1/{bucket}/artifacts"


def test_a_server_of_mlflows_that_is_away_is_named_and_the_rest_is_taken(
    server: ServerProcess, tmp_path: Path
) -> None:
    source = old_store(tmp_path / "old.db")

    report = imported(server, source, "--artifacts-root", "http://127.0.0.1:1", code=1)

    (skipped,) = report["skipped"]
    assert skipped["count"] == report["runs"] == 4
    assert skipped["reason"].startswith("the server at --artifacts-root cannot be read")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("CREATE TABLE other (a)", "is no tracking store of MLflow's"),
        (None, "the database cannot be read"),
    ],
)
def test_what_is_no_store_of_mlflows_is_told_in_a_sentence(
    tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "odd.db"
    if content is None:
        path.write_bytes(b"not a database at all, but long enough to look at" * 10)
    else:
        with changing(path) as database:
            database.execute(content)

    done = run_cli(tmp_path, "import", "mlflow", f"sqlite:///{path}", "--dry-run")

    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_version_of_the_schema_is_said_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    old_store(path)
    with changing(path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")

    done = run_cli(tmp_path, "import", "mlflow", str(path), "--dry-run", "--json", "--no-artifacts")

    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["runs"], done.returncode) == (4, 0)
    assert "ffffffffffff is unknown" in report["notes"][0]
