"""An import of stores that the newest MLflow filled: its clients read there what they read here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.mlflow_stores import changing, imported, mlflow_says
from tests.support.postgres import fresh_database
from tests.support.processes import ServerProcess, run_cli, running_server

KINDS = ("sqlite", "folder", "postgres")

# The first test of the file waits for MLflow to migrate and to fill its stores.
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Imported:
    """A store that MLflow filled, a server that took it over, and what a client reads of each."""

    source: str
    server: ServerProcess
    report: dict[str, Any]
    theirs: dict[str, Any]
    ours: dict[str, Any]


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, postgres_server_dsn: str
) -> Iterator[dict[str, Imported]]:
    home = tmp_path_factory.mktemp("mlflow")
    with ExitStack() as stack:
        dsn = stack.enter_context(fresh_database(postgres_server_dsn))
        sources = {
            "sqlite": f"sqlite:///{home / 'mlflow.db'}",
            "folder": str(home / "mlruns"),
            "postgres": dsn.replace("postgresql://", "postgresql+psycopg2://"),
        }
        theirs = mlflow_says(
            home, *(word for kind in KINDS for word in ("fill", sources[kind], str(home / kind)))
        )
        servers = {kind: stack.enter_context(running_server(home / f"to-{kind}")) for kind in KINDS}
        # One registered model stays where it is.
        reports = {kind: imported(servers[kind], sources[kind], code=1) for kind in KINDS}
        ours = mlflow_says(home, *(word for kind in KINDS for word in ("say", servers[kind].uri)))
        yield {
            kind: Imported(
                sources[kind],
                servers[kind],
                reports[kind],
                theirs[sources[kind]],
                ours[servers[kind].uri],
            )
            for kind in KINDS
        }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_clients_read_from_an_import_what_they_read_from_mlflow(
    stores: dict[str, Imported], kind: str
) -> None:
    store = stores[kind]

    same(store.ours, as_recorded(store.theirs) if kind == "folder" else store.theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_counts_what_it_took_and_names_what_it_left(
    stores: dict[str, Imported], kind: str
) -> None:
    report = stores[kind].report
    points = sum(
        len(points)
        for run in stores[kind].theirs["runs"].values()
        for points in run["histories"].values()
    )

    assert (report["runs"], report["models"], report["artifacts"]) == (5, 5, 10)
    assert (report["points"], report["model_points"], report["inputs"]) == (points, 15, 5)
    assert [(each["kind"], each["count"]) for each in report["skipped"]] == [
        ("registered model", 1)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_importing_again_changes_nothing(stores: dict[str, Imported], kind: str) -> None:
    store = stores[kind]
    before = store.server.get("/api/v1/experiments")["position"]

    again = imported(store.server, store.source, code=1)

    assert (again["records_sent"], again["unchanged_runs"]) == (0, 5)
    assert store.server.get("/api/v1/experiments")["position"] == before


def test_values_are_exact_and_files_and_families_are_there(stores: dict[str, Imported]) -> None:
    server = stores["sqlite"].server
    named = {run["name"]: run for run in server.post("/api/v1/runs/search", {})["runs"]}
    run_id = named["r0"]["run_id"]

    listed = server.get(f"/api/v1/runs/{run_id}/artifacts?recursive=true")["artifacts"]
    exact = server.get(f"/api/v1/runs/{run_id}")["metrics"]["loss"]

    assert [entry["path"] for entry in listed] == ["deep/er/out.txt", "out.txt"]
    assert (exact["count"], exact["nan_count"]) == (102, 17)
    assert (exact["min"], exact["max"]) == ("-Infinity", "Infinity")
    children = server.post("/api/v1/runs/search", {"filter": f"parent_run_id = '{run_id}'"})
    assert [run["name"] for run in children["runs"]] == ["r1"]


def test_files_that_a_server_keeps_are_read_over_http(
    stores: dict[str, Imported], tmp_path: Path
) -> None:
    """The server that keeps them is one of ours; MLflow's speaks the same protocol."""
    keeper = stores["sqlite"].server
    database = tmp_path / "served.db"
    shutil.copy(stores["sqlite"].source.removeprefix("sqlite:///"), database)
    with changing(database) as connection:
        connection.execute(
            "UPDATE runs SET artifact_uri = "
            "'mlflow-artifacts:/' || experiment_id || '/' || run_uuid || '/artifacts'"
        )
    source = f"sqlite:///{database}"

    with running_server(tmp_path) as server:
        without = imported(server, source, code=1)
        report = imported(server, source, "--artifacts-root", keeper.uri, code=1)
        again = imported(server, source, "--artifacts-root", keeper.uri, code=1)
        runs = server.post("/api/v1/runs/search", {})["runs"]
        listed = server.get(f"/api/v1/runs/{runs[0]['run_id']}/artifacts?recursive=true")

    kept = [each for each in without["skipped"] if "an MLflow server keeps" in each["reason"]]
    assert [each["count"] for each in kept] == [5]
    assert (without["artifacts"], report["artifacts"]) == (0, 10)
    assert again["records_sent"] == 0
    assert [entry["path"] for entry in listed["artifacts"]] == ["deep/er/out.txt", "out.txt"]


def test_a_dry_run_counts_and_sends_nothing(stores: dict[str, Imported]) -> None:
    store = stores["folder"]
    before = store.server.get("/api/v1/experiments")["position"]

    report = imported(store.server, store.source, "--dry-run", code=1)

    kinds = ("experiments", "runs", "params", "points", "models", "artifacts", "skipped")
    assert [report[kind] for kind in kinds] == [store.report[kind] for kind in kinds]
    assert report["dry_run"] is True
    assert store.server.get("/api/v1/experiments")["position"] == before


def test_what_cannot_be_read_in_a_folder_is_skipped_with_its_reason(
    stores: dict[str, Imported], tmp_path: Path
) -> None:
    root = tmp_path / "mlruns"
    shutil.copytree(stores["folder"].source, root)
    folders = sorted(path.parent for path in root.glob("*/*/meta.yaml"))
    runs = [folder for folder in folders if (folder / "metrics").is_dir()]
    (runs[0] / "meta.yaml").write_text("{never: closed")
    (runs[1] / "metrics" / "loss").write_text("1 0.5 1\nnonsense\n2 nan 2\n")
    (runs[2] / "params" / "lr").write_bytes(b"\xff\xfe")

    done = run_cli(tmp_path, "import", "mlflow", str(root), "--dry-run", "--json")

    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert {(each["kind"], each["count"]) for each in report["skipped"]} == {
        ("run", 1), ("point", 1), ("file", 1), ("registered model", 1),
    }  # fmt: skip
    assert report["runs"] == 5 - 1


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
        for key in ("auc", "odd", "far"):
            run["latest"][key][2] = run["histories"][key][0][1] = 3
    return recorded
