"""What other engines find in the tables that a replay has written."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from ingest.event_stores.sqlite import SqliteEventStore
from ingest.replay import parquet_sink, points
from ingest.replay.copying import LogsDiffer
from ingest.replay.sinks import ExportUnavailable, needed
from tests.support.histories import MODEL_SHA256, RUNS, START_US, fill, make_store, replayed
from tests.support.logs import Metrics, Record, batch_to_append, event

POINTS = 2 * 25 * 4 * RUNS
MODEL = "m-1"


@pytest.fixture
async def original(tmp_path: Path) -> Path:
    path = tmp_path / "original.db"
    await make_store(path)
    return path


async def test_parquet_is_a_dataset_partitioned_by_experiment(
    original: Path, tmp_path: Path
) -> None:
    await replayed(original, f"parquet:{tmp_path / 'out'}")

    metrics = ds.dataset(tmp_path / "out" / "metrics", partitioning="hive").to_table()
    loss = [
        (row["step"], row["value"])
        for row in metrics.to_pylist()
        if (row["run_id"], row["key"]) == ("run-3", "loss")
    ]
    runs = ds.dataset(tmp_path / "out" / "runs", partitioning="hive").to_table().to_pylist()
    experiments = pq.read_table(tmp_path / "out" / "experiments").to_pylist()

    assert metrics.num_rows == POINTS
    assert [step for step, _ in loss] == list(range(100))
    assert math.isnan(loss[7][1])
    assert loss[9][1] == 1 / 10 + 3
    assert {run["status"] for run in runs if run["run_id"] != "run-5"} == {"FINISHED"}
    assert {"vision", "speech", "planned"} <= {each["name"] for each in experiments}
    names = {each["experiment_id"]: each["name"] for each in experiments}
    of_run = {run["run_id"]: names[str(run["experiment_id"])] for run in runs}
    assert (of_run["run-2"], of_run["run-3"]) == ("vision", "speech")


async def test_minus_zero_and_microseconds_are_exact_in_tables(
    original: Path, tmp_path: Path
) -> None:
    await replayed(original, f"duckdb:{tmp_path / 'out.duckdb'}")

    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
        ((value, time_us),) = connection.execute(
            "SELECT value, epoch_us(time) FROM metrics"
            " WHERE run_id = 'run-1' AND key = 'acc' AND step = 33"
        ).fetchall()

    assert math.copysign(1, value) == -1
    assert time_us == START_US + 33_000


async def test_duckdb_has_every_table_and_the_latest_values(original: Path, tmp_path: Path) -> None:
    await replayed(original, f"duckdb:{tmp_path / 'out.duckdb'}")

    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
        params = connection.execute(
            "SELECT value FROM params WHERE run_id = 'run-2' AND key = 'lr'"
        ).fetchall()
        tags = connection.execute(
            "SELECT value FROM tags WHERE run_id = 'run-0' AND key = 'reviewed'"
        ).fetchall()
        (artifact,) = connection.execute(
            "SELECT path, digest FROM artifacts WHERE run_id = 'run-1'"
        ).fetchall()
        latest = connection.execute(
            "SELECT value, step, points FROM latest_metrics WHERE run_id = 'run-1' AND key = 'loss'"
        ).fetchall()

    assert (params, tags) == ([("0.2",)], [("yes",)])
    assert artifact == ("model/weights.bin", MODEL_SHA256)
    assert latest == [(1 / 100 + 1, 99, 100)]


async def test_models_inputs_and_experiments_are_tables_with_all_that_is_said_of_them(
    tmp_path: Path,
) -> None:
    store = await SqliteEventStore.open(tmp_path / "log.db")
    await store.append(batch_to_append("r", "w", 1, _run_with_a_model()))
    await store.append(
        batch_to_append("r", "w2", 1, [event("params.logged", START_US + 9, params={"lr": "2"})])
    )
    tagged = event("experiment.tags_set", START_US, experiment_id="7", tags={"owner": "us"})
    await store.append_decision(run_id="", events=[tagged], decided_at=0)
    await store.aclose()

    await replayed(tmp_path / "log.db", f"duckdb:{tmp_path / 'out.duckdb'}")

    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as connection:
        found = {
            name: connection.execute(f"SELECT * EXCLUDE (experiment_id) FROM {name}").fetchall()
            for name in (
                "param_conflicts", "input_tags", "model_params", "model_tags", "model_links",
                "experiment_tags",
            )
        }  # fmt: skip
        (model,) = connection.execute(
            "SELECT experiment_id, model_id, name, source_run_id, status, lifecycle_stage,"
            " epoch_us(created_time) FROM models"
        ).fetchall()
        metrics = connection.execute(
            "SELECT run_id, key, value, step, dataset_name FROM model_metrics ORDER BY step"
        ).fetchall()
        files = connection.execute("SELECT model_id, path, size FROM model_artifacts").fetchall()

    assert found == {
        "param_conflicts": [("r", "lr", "2", "w2")],
        "input_tags": [("r", "train", "d1", "mlflow.data.context", "training")],
        "model_params": [(MODEL, "alpha", "a\0b")],
        "model_tags": [(MODEL, "stage", "é")],
        "model_links": [("r", "output", MODEL, 3)],
        "experiment_tags": [("owner", "us")],
    }
    assert model == ("7", MODEL, "forest", "r", "READY", "active", START_US)
    assert metrics[0] == ("r", "rmse", 0.5, 1, "train")
    assert math.isnan(metrics[1][2])
    assert files == [(MODEL, "MLmodel", 3)]


def _run_with_a_model() -> list[Record]:
    points = [
        ["rmse", 0.5, 1, START_US, "train", "d1"],
        ["rmse", math.nan, 2, START_US, None, None],
    ]
    return [
        event("run.started", START_US, experiment_id="7"),
        event("params.logged", START_US, params={"lr": "1"}),
        event(
            "input.logged", START_US, name="train", digest="d1",
            tags={"mlflow.data.context": "training"},
        ),
        event(
            "model.created", START_US, model_id=MODEL, experiment_id="7", name="forest",
            source_run_id="r", params={"alpha": "a\0b"}, tags={"stage": "é", "gone": "x"},
        ),
        event("model.tag_deleted", START_US + 1, model_id=MODEL, key="gone"),
        event("model.finalized", START_US + 2, model_id=MODEL, status="READY"),
        event("model.metrics_logged", START_US, model_id=MODEL, metrics=points),
        event("model_output.logged", START_US, model_id=MODEL, step=3),
        event(
            "artifact.logged", START_US, model_id=MODEL, path="MLmodel",
            digest=MODEL_SHA256, size=3,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
async def test_an_export_of_an_experiment_adds_the_runs_that_it_got_since(
    kind: str, original: Path, tmp_path: Path
) -> None:
    """The new run's first points arrive before its run.started, and before the first export."""
    early, late = Metrics({"loss": 5.0}, 1, START_US), Metrics({"loss": 6.0}, 2, START_US)
    started = event("run.started", START_US, experiment_name="vision")
    store = await SqliteEventStore.open(original)
    await store.append(batch_to_append("new", "n1", 1, [early]))
    await store.aclose()
    there = f"{kind}:{tmp_path / 'out'}"
    first = await replayed(original, there, experiments=["vision"])
    store = await SqliteEventStore.open(original)
    await store.append(batch_to_append("new", "n2", 1, [started, late]))
    await store.aclose()

    looked = await replayed(original, there, experiments=["vision"], dry_run=True)
    second = await replayed(original, there, experiments=["vision"])
    again = await replayed(original, there, experiments=["vision"])

    assert (first.is_equal, second.is_equal, again.is_equal) == (True, True, True)
    assert (looked.events, second.events, again.events) == (3, 3, 0)
    assert first.comparison is not None
    assert second.comparison is not None
    assert second.comparison.points == first.comparison.points + 2
    assert "new" in second.comparison.hashes


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
async def test_tables_are_not_taken_for_those_of_an_earlier_position_or_other_runs(
    kind: str, original: Path, tmp_path: Path
) -> None:
    there = f"{kind}:{tmp_path / 'out'}"
    await replayed(original, there)

    with pytest.raises(LogsDiffer, match="reach position"):
        await replayed(original, there, until_position=100)
    with pytest.raises(LogsDiffer, match="of other runs"):
        await replayed(original, there, run_ids=["run-1"])


async def test_a_lost_file_of_a_small_table_is_found_by_the_comparison(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = parquet_sink.ParquetSink.rows_of

    async def losing(sink: Any, name: str) -> int:
        if name == "params":
            next(iter((tmp_path / "out" / "params").rglob("*.parquet"))).unlink()
        return await delete(sink, name)

    monkeypatch.setattr(parquet_sink.ParquetSink, "rows_of", losing)

    report = await replayed(original, f"parquet:{tmp_path / 'out'}")

    assert report.comparison is not None
    assert [each.split(":")[0] for each in report.comparison.differences] == ["table 'params'"]


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
async def test_a_dry_run_into_tables_tells_what_is_missing_there(
    kind: str, original: Path, tmp_path: Path
) -> None:
    there = f"{kind}:{tmp_path / 'out'}"
    whole = await replayed(original, there, dry_run=True)
    is_untouched = not (tmp_path / "out").exists()
    part = await replayed(original, there, until_position=300)

    rest = await replayed(original, there, dry_run=True)

    assert is_untouched
    assert rest.events == whole.events - part.events > 0


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
async def test_an_export_that_broke_off_goes_on_where_it_noted(
    kind: str, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points are written and then, before they are noted the third time, it breaks off."""
    monkeypatch.setattr(points, "POINTS_A_FILE", 100)
    monkeypatch.setattr(points, "ROUND_BATCHES", 3)
    there = f"{kind}:{tmp_path / 'out'}"
    written = 0
    put = points._put

    async def breaking(*arguments: object, **named: object) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise RuntimeError("the power went")
        await put(*arguments, **named)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(points, "_put", breaking)
    with pytest.raises(RuntimeError):
        await replayed(original, there)
    monkeypatch.setattr(points, "_put", put)
    report = await replayed(original, there)

    assert report.is_equal, report.comparison
    assert report.comparison is not None
    assert report.comparison.points == POINTS


async def test_files_beyond_the_last_note_are_left_overs(original: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    await replayed(original, f"parquet:{out}", until_position=200)
    leftover = out / "metrics" / "experiment_id=1" / f"{201:020d}-{400:020d}.parquet"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half of a file")

    report = await replayed(original, f"parquet:{out}")

    assert report.is_equal
    assert not leftover.exists()


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
async def test_an_export_adds_what_has_come_since(
    kind: str, original: Path, tmp_path: Path
) -> None:
    there = f"{kind}:{tmp_path / 'out'}"
    await replayed(original, there)
    store = await SqliteEventStore.open(original)
    late = Metrics({"loss": 5.0}, 1, START_US)
    await store.append(batch_to_append("run-1", "late", 1, [late]))
    await store.aclose()

    report = await replayed(original, there)

    assert (report.events, report.is_equal) == (1, True)
    assert report.comparison is not None
    assert report.comparison.points == POINTS + 1


async def test_tables_of_another_log_are_not_added_to(original: Path, tmp_path: Path) -> None:
    other = await SqliteEventStore.open(tmp_path / "other.db")
    await fill(other, runs=1)
    await other.aclose()
    await replayed(tmp_path / "other.db", f"parquet:{tmp_path / 'out'}")

    with pytest.raises(LogsDiffer, match="another log"):
        await replayed(original, f"parquet:{tmp_path / 'out'}")


async def test_a_lost_file_of_points_is_found_by_the_comparison(
    original: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await replayed(original, f"parquet:{out}")
    next(iter((out / "metrics").rglob("*.parquet"))).unlink()

    report = await replayed(original, f"parquet:{out}")

    assert not report.is_equal


def test_a_missing_package_is_told_with_what_to_install() -> None:
    with pytest.raises(ExportUnavailable, match=r"pip install 'tracker\[export\]'"):
        needed("pyarrow", "duckdb", find=lambda name: None)


def test_the_command_line_needs_neither_package_to_start() -> None:
    code = (
        "import sys; import tracker.cli.replay, ingest.replay.job;"
        "print({'pyarrow', 'duckdb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
