"""What other engines find in the tables that a replay has written."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from ingest.event_stores.sqlite import SqliteEventStore
from ingest.replay import tables
from ingest.replay.copying import LogsDiffer
from ingest.replay.tables import ExportUnavailable, needed
from projections import parquet_points
from tests.support.histories import MODEL_SHA256, RUNS, START_US, fill, make_store, replayed
from tests.support.logs import Metrics, batch_to_append

POINTS = 2 * 25 * 4 * RUNS


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


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
async def test_an_export_that_broke_off_goes_on_where_it_noted(
    kind: str, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points are written and then, before they are noted the third time, it breaks off."""
    monkeypatch.setattr(tables, "POINTS_A_FILE", 100)
    monkeypatch.setattr(tables, "ROUND_BATCHES", 3)
    monkeypatch.setattr(parquet_points, "POINTS_A_FILE", 100)
    there = f"{kind}:{tmp_path / 'out'}"
    written = 0
    put = tables._put

    async def breaking(*arguments: object) -> None:
        nonlocal written
        written += 1
        if written == 3:
            raise RuntimeError("the power went")
        await put(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(tables, "_put", breaking)
    with pytest.raises(RuntimeError):
        await replayed(original, there)
    monkeypatch.setattr(tables, "_put", put)
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
