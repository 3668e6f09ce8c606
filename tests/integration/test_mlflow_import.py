"""`tracker import mlflow` takes over what MLflow's own stores hold, and changes nothing twice."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.mlflow_programs import NEWEST, PROGRAMS
from tests.support.processes import (
    ServerProcess,
    environment,
    run_cli,
    running_server,
    start_script,
)

TABLES = (
    "alembic_version", "experiments", "experiment_tags", "runs", "params", "metrics", "tags",
    "datasets", "inputs", "input_tags", "logged_models", "logged_model_metrics",
    "logged_model_params", "logged_model_tags",
)  # fmt: skip


@dataclass(frozen=True)
class Sources:
    """Stores that MLflow filled, and what its client reads there."""

    home: Path
    database: Path
    folder: Path
    said: dict[str, Any]

    @property
    def database_uri(self) -> str:
        return f"sqlite:///{self.database}"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    home = tmp_path_factory.mktemp("mlflow")
    database, folder = home / "mlflow.db", home / "mlruns"
    said = mlflow_says(
        home,
        *("fill", f"sqlite:///{database}", str(home / "a")),
        *("fill", str(folder), str(home / "b")),
    )
    return Sources(home, database, folder, said)


def mlflow_says(home: Path, *arguments: str) -> dict[str, Any]:
    assert NEWEST.exists(), f"{NEWEST} is missing; `make test` installs it"
    done = subprocess.run(
        [str(NEWEST), "-W", "ignore", str(PROGRAMS / "import_sources.py"), *arguments],
        env=environment(home, MLFLOW_ALLOW_FILE_STORE="true"),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def imported(
    server: ServerProcess, source: str, *options: str, code: int | None = 0
) -> dict[str, Any]:
    done = run_cli(server.home, "import", "mlflow", source, "--to", server.uri, "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path) as running:
        yield running


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    named = {row[0]: row for row in theirs["experiments"] if row[0] != "0"}
    for row in ours["experiments"]:
        if row[0] in named:
            assert row == named.pop(row[0])
    assert not named
    assert ours["runs"].keys() == theirs["runs"].keys()
    for run_id, run in theirs["runs"].items():
        assert ours["runs"][run_id] == run
    assert ours["models"] == theirs["models"]


@pytest.mark.slow
def test_clients_read_from_an_import_what_they_read_from_mlflow(
    sources: Sources, tmp_path: Path
) -> None:
    with (
        running_server(tmp_path / "one") as first,
        running_server(tmp_path / "two") as second,
    ):
        of_database = imported(first, sources.database_uri)
        of_folder = imported(second, str(sources.folder))
        again = imported(first, sources.database_uri), imported(second, str(sources.folder))
        said = mlflow_says(tmp_path, "say", first.uri, "say", second.uri)

        same(said[first.uri], sources.said[sources.database_uri])
        same(said[second.uri], as_recorded(sources.said[str(sources.folder)]))
        for report in (of_database, of_folder):
            assert report["skipped"] == []
            assert (report["runs"], report["models"], report["artifacts"]) == (5, 5, 10)
        for report in again:
            assert (report["records_sent"], report["unchanged_runs"]) == (0, 5)
        run_id = next(iter(sources.said[sources.database_uri]["runs"]))
        listed = first.get(f"/api/v1/runs/{run_id}/artifacts?recursive=true")["artifacts"]
        assert [entry["path"] for entry in listed] == ["deep/er/out.txt", "out.txt"]
        exact = first.get(f"/api/v1/runs/{run_id}")["metrics"]["loss"]
        assert (exact["count"], exact["nan_count"]) == (102, 17)
        assert (exact["min"], exact["max"]) == ("-Infinity", "Infinity")


def as_recorded(said: dict[str, Any]) -> dict[str, Any]:
    """What MLflow says of a folder, with what it recorded there and reads otherwise.

    Over REST an infinity is the largest number, for a folder it is not; and of a metric with
    a dataset MLflow reads back the step 0, though its file has the step.
    """
    text = json.dumps(said)
    for sign in ("-", ""):
        text = text.replace(f'"{sign}inf"', f'"{sign}1.7976931348623157e+308"')
    recorded: dict[str, Any] = json.loads(text)
    for run in recorded["runs"].values():
        run["latest"]["auc"][2] = run["histories"]["auc"][0][1] = 3
    return recorded


async def copied_to_postgres(database: Path, dsn: str) -> None:
    """MLflow's tables as it makes them in PostgreSQL."""
    old = sqlite3.connect(database)
    new = await asyncpg.connect(dsn)
    types = {"INTEGER": "integer", "BIGINT": "bigint", "FLOAT": "double precision"}
    types |= {"BOOLEAN": "boolean", "TEXT": "text"}
    for table in TABLES:
        info = old.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
        columns = ", ".join(f"{name} {types.get(kind, kind)}" for name, kind in info)
        await new.execute(f"CREATE TABLE {table} ({columns})")
        is_flag = [kind == "BOOLEAN" for _, kind in info]
        rows = [
            tuple(
                bool(value) if flag and value is not None else value
                for value, flag in zip(row, is_flag, strict=True)
            )
            for row in old.execute(f"SELECT * FROM {table}")
        ]
        await new.copy_records_to_table(table, records=rows)
    old.close()
    await new.close()


def test_a_database_in_postgresql_says_the_same_as_in_sqlite(
    sources: Sources, server: ServerProcess, postgres_dsn: str
) -> None:
    imported(server, sources.database_uri)

    asyncio.run(copied_to_postgres(sources.database, postgres_dsn))
    uri = postgres_dsn.replace("postgresql://", "postgresql+psycopg2://")
    report = imported(server, uri)

    assert (report["records_sent"], report["unchanged_runs"]) == (0, 5)
    assert report["points"] == sum(
        len(points)
        for run in sources.said[sources.database_uri]["runs"].values()
        for points in run["histories"].values()
    )


def test_a_killed_import_goes_on_and_sends_every_point_once(
    sources: Sources, server: ServerProcess, tmp_path: Path
) -> None:
    """Killed as soon as the server has some of a long history."""
    database = tmp_path / "long.db"
    shutil.copy(sources.database, database)
    connection = sqlite3.connect(database)
    (run_id,) = connection.execute("SELECT min(run_uuid) FROM runs").fetchone()
    connection.executemany(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES "
        "('long', ?, ?, ?, ?, 0)",
        ((step / 7, 2_000_000_000_000 + step, run_id, step) for step in range(150_000)),
    )
    connection.commit()
    connection.close()
    source = f"sqlite:///{database}"
    command = ["tracker", "import", "mlflow", source, "--to", server.uri]
    script = f"import sys; sys.argv = {command!r}; from tracker.cli.main import main; main()"

    process = start_script(tmp_path, script)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if sum(stored(server, run_id).values()) > 25_000:
            break
    process.kill()
    process.communicate()
    before = sum(stored(server, run_id).values())
    report = imported(server, source)

    assert 25_000 < before < 150_000
    assert report["records_sent"] < report["points"] + 1_000 - 25_000
    metrics = server.get(f"/api/v1/runs/{run_id}")["metrics"]
    assert metrics["long"]["count"] == 150_000
    assert imported(server, source)["records_sent"] == 0


def stored(server: ServerProcess, run_id: str) -> dict[str, int]:
    try:
        run = server.get(f"/api/v1/runs/{run_id}")
    except OSError:  # not there yet
        return {}
    return {each["writer_id"]: each["next_seq"] - 1 for each in run["writers"]}


def test_an_import_meets_experiments_that_are_here_already(
    sources: Sources, server: ServerProcess
) -> None:
    """The id 1 is another experiment here, and the name `gone` is taken by an active one."""
    made = server.post("/api/v1/experiments", {"name": "gone"})
    append = {"run_id": "", "writer_id": "w", "first_seq": 1, "events": [
        {"type": "experiment.created", "time_us": 1,
         "data": {"experiment_id": "1", "name": "mine"}}]}  # fmt: skip
    server.post("/api/v1/append", append)

    report = imported(server, sources.database_uri)

    assert report["skipped"] == []
    assert len(report["notes"]) == 2
    here = {e["name"]: e for e in server.get("/api/v1/experiments?view=all")["experiments"]}
    assert here["mine"]["experiment_id"] == "1"
    assert here["vision"]["experiment_id"] not in ("1", "2")
    assert here["gone"]["experiment_id"] == made["experiment_id"]
    assert here["gone"]["lifecycle_stage"] == "active"
    assert here["vision"]["run_count"] == 3
    assert here["gone"]["run_count"] == 1


def test_what_changed_at_the_source_is_said_again_and_other_points_are_named(
    sources: Sources, server: ServerProcess, tmp_path: Path
) -> None:
    database = tmp_path / "changing.db"
    shutil.copy(sources.database, database)
    source = f"sqlite:///{database}"
    imported(server, source)
    connection = sqlite3.connect(database)
    (run_id,) = connection.execute("SELECT min(run_uuid) FROM runs").fetchone()
    connection.execute("UPDATE tags SET value = 'A' WHERE run_uuid = ? AND key = 't'", (run_id,))
    connection.execute("UPDATE runs SET name = 'renamed' WHERE run_uuid = ?", (run_id,))
    connection.execute(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
        "VALUES ('loss', 1.0, 2000000000000, ?, 5000, 0)",
        (run_id,),
    )
    connection.commit()
    connection.close()

    report = imported(server, source, code=1)

    (skipped,) = report["skipped"]
    assert (skipped["kind"], skipped["examples"]) == ("metrics", [run_id])
    run = server.get(f"/api/v1/runs/{run_id}")
    assert (run["tags"]["t"], run["name"]) == ("A", "renamed")
    assert run["metrics"]["loss"]["count"] == 102


def test_a_dry_run_counts_and_sends_nothing(sources: Sources, server: ServerProcess) -> None:
    before = server.get("/api/v1/experiments")["position"]

    report = imported(server, str(sources.folder), "--dry-run")

    assert (report["runs"], report["models"], report["artifacts"]) == (5, 5, 10)
    assert report["dry_run"] is True
    assert server.get("/api/v1/experiments")["position"] == before


def test_files_that_lie_elsewhere_are_named_or_noted(
    sources: Sources, server: ServerProcess, tmp_path: Path
) -> None:
    database = tmp_path / "elsewhere.db"
    shutil.copy(sources.database, database)
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT run_uuid FROM runs ORDER BY run_uuid").fetchall()
    (one,), (two,), (three,) = rows[:3]
    root = tmp_path / "served"
    (root / "1" / one / "artifacts").mkdir(parents=True)
    (root / "1" / one / "artifacts" / "served.txt").write_text("bytes")
    for run_id, uri in (
        (one, f"mlflow-artifacts:/1/{one}/artifacts"),
        (two, f"s3://bucket/1/{two}/artifacts"),
        (three, "file:///nowhere/at/all/artifacts"),
    ):
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (uri, run_id))
    connection.commit()
    connection.close()
    source = f"sqlite:///{database}"

    without = imported(server, source, code=1)
    report = imported(server, source, "--artifacts-root", str(root), "--references", code=1)

    reasons = {each["reason"].split(" ")[0]: each["count"] for each in without["skipped"]}
    assert reasons == {"an": 1, "they": 1, "the": 1}
    assert [each["examples"][0].split(":")[0] for each in report["skipped"]] == [three]
    listed = server.get(f"/api/v1/runs/{one}/artifacts")["artifacts"]
    assert [entry["path"] for entry in listed] == ["served.txt"]
    (noted,) = server.get(f"/api/v1/runs/{two}/artifacts")["artifacts"]
    assert noted["uri"] == f"s3://bucket/1/{two}/artifacts"


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
        connection = sqlite3.connect(path)
        connection.execute(content)
        connection.close()

    done = run_cli(tmp_path, "import", "mlflow", f"sqlite:///{path}", "--dry-run")

    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_version_of_the_schema_is_said_and_read(
    sources: Sources, tmp_path: Path
) -> None:
    database = tmp_path / "new.db"
    shutil.copy(sources.database, database)
    connection = sqlite3.connect(database)
    connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    connection.commit()
    connection.close()

    done = run_cli(tmp_path, "import", "mlflow", str(database), "--dry-run", "--json")

    report = json.loads(done.stdout)
    assert (report["runs"], done.returncode) == (5, 0)
    assert "ffffffffffff is unknown" in report["notes"][0]


def test_what_cannot_be_read_in_a_folder_is_skipped_with_its_reason(
    sources: Sources, tmp_path: Path
) -> None:
    root = tmp_path / "mlruns"
    shutil.copytree(sources.folder, root)
    folders = sorted(path.parent for path in root.glob("*/*/meta.yaml"))
    runs = [folder for folder in folders if (folder / "metrics").is_dir()]
    (runs[0] / "meta.yaml").write_text("{never: closed")
    (runs[1] / "metrics" / "loss").write_text("1 0.5 1\nnonsense\n2 nan 2\n")
    (runs[2] / "params" / "lr").write_bytes(b"\xff\xfe")

    done = run_cli(tmp_path, "import", "mlflow", str(root), "--dry-run", "--json")

    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert {(each["kind"], each["count"]) for each in report["skipped"]} == {
        ("run", 1), ("point", 1), ("file", 1),
    }  # fmt: skip
    assert report["runs"] == 5 - 1
