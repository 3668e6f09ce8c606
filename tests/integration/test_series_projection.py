"""Sealing and reading: whatever is logged, the series is what a slow and obvious reading finds."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from projections import series_fold, series_projection
from projections.log import StoredBatch
from projections.projection import CheckpointMoved, ProjectionStoreFailed
from projections.rounds import decoded, nothing_of
from projections.series_history import WINDOW_POINTS
from projections.series_projection import SeriesProjection
from projections.series_queries import SeriesQueries
from projections.sqlite import open_for_reading
from tests.support.memory_log import MemoryLog, Record
from tests.support.series_model import (
    check_buckets,
    check_exact_buckets,
    expected_series,
    fold,
    stored_series,
)
from tracker.events.errors import TrackerError

VALUES = [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 0.1, 1.5, -3.25, 1e300]


def random_log(seed: int, *, batches: int = 60) -> MemoryLog:
    """Runs with metrics logged together and apart, out of order, repeated, with gaps."""
    dice = random.Random(seed)
    log = MemoryLog()
    steps = {"r1": 0, "r2": -50, "r3": 0}
    for _ in range(batches):
        run_id = dice.choice(list(steps))
        records: list[Record] = []
        for _ in range(dice.randint(1, 30)):
            if run_id == "r3":
                step = 7  # everything at one step
            elif dice.random() < 0.1:
                step = dice.randint(-(2**63), 2**63 - 1) if dice.random() < 0.2 else 3
            else:
                steps[run_id] += dice.randint(-2, 5)
                step = steps[run_id]
            keys = dice.choice([("a", "b"), ("a",), ("a", "b"), ("c",), ("b", "a")])
            values = {
                k: dice.choice(VALUES) if dice.random() < 0.3 else dice.random() for k in keys
            }
            records.append((step, dice.randint(0, 10**15), values))
        log.append(run_id, records)
    return log


@pytest.fixture
def small_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_fold, "TAIL_POINTS_MAX", 60)
    monkeypatch.setattr(series_fold, "TAIL_POINTS_PER_METRIC", 5)
    monkeypatch.setattr(series_fold, "TAIL_BATCHES_MAX", 5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("small_tails")
async def test_history_is_every_point_once_in_order_of_step_then_arrival(
    tmp_path: Path, seed: int
) -> None:
    log = random_log(seed)
    await fold(tmp_path / "series.sqlite", log, log.decoded(), sizes=[1, 4])
    store = SeriesQueries(tmp_path / "series.sqlite", log)

    for run_id in ("r1", "r2", "r3"):
        for key in ("a", "b", "c", "unknown"):
            for start, end in ((None, None), (0, 20), (3, 3), (None, 5), (50, None), (9, 2)):
                expected = expected_series(log.batches, run_id, key, start, end)
                assert await stored_series(store, run_id, key, start, end) == expected
    assert await stored_series(store, "unknown", "a", None, None) == []
    await store.aclose()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("small_tails")
async def test_buckets_are_those_of_the_points_one_by_one(tmp_path: Path, seed: int) -> None:
    log = random_log(seed)
    await fold(tmp_path / "series.sqlite", log, log.decoded())
    store = SeriesQueries(tmp_path / "series.sqlite", log)

    for run_id in ("r1", "r2", "r3"):
        for start, end in ((None, None), (0, 40), (3, 3)):
            points = expected_series(log.batches, run_id, "a", start, end)
            for buckets_max in (1, 2, 7, 1000):
                buckets = await store.buckets(
                    run_id, "a", start_step=start, end_step=end, buckets_max=buckets_max
                )
                check_buckets(buckets, points, buckets_max=buckets_max)
                if buckets.is_reduced:
                    low = points[0].step if start is None else start
                    high = points[-1].step if end is None else end
                    check_exact_buckets(
                        buckets, points, buckets_max=buckets_max, low=low, high=high
                    )
    await store.aclose()


@pytest.mark.usefixtures("small_tails")
async def test_rows_do_not_depend_on_transactions_restarts_or_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = random_log(11, batches=150)
    whole = await fold(tmp_path / "whole.sqlite", log, log.decoded())

    one_by_one = await fold(tmp_path / "one.sqlite", log, log.decoded(), sizes=[1])
    mixed = await fold(tmp_path / "mixed.sqlite", log, log.decoded(), sizes=[3, 1, 17])
    for batch in log.decoded():  # a restart after every batch
        await fold(tmp_path / "restarted.sqlite", log, [batch])
    restarted = await fold(tmp_path / "restarted.sqlite", log, [])
    monkeypatch.setattr(series_projection.TailCache, "take", lambda *_: None)
    without_memory = await fold(tmp_path / "forgetful.sqlite", log, log.decoded(), sizes=[2])

    assert one_by_one == whole
    assert mixed == whole
    assert restarted == whole
    assert without_memory == whole


@pytest.mark.usefixtures("small_tails")
async def test_batches_folded_before_are_skipped(tmp_path: Path) -> None:
    log = random_log(2)
    projection = SeriesProjection(tmp_path / "series.sqlite", log)
    await projection.apply(log.decoded()[:40])
    before = await projection.state_hash()

    await projection.apply(log.decoded()[:40])

    assert await projection.state_hash() == before
    await projection.apply(log.decoded()[30:])
    assert await projection.position() == log.next_position - 1
    assert await projection.state_hash() == await fold(tmp_path / "b.sqlite", log, log.decoded())
    await projection.aclose()


@pytest.mark.usefixtures("small_tails")
async def test_a_second_projection_on_the_file_is_refused_and_changes_nothing(
    tmp_path: Path,
) -> None:
    log = random_log(3)
    first = SeriesProjection(tmp_path / "series.sqlite", log)
    second = SeriesProjection(tmp_path / "series.sqlite", log)
    await first.apply(log.decoded()[:20])

    with pytest.raises(CheckpointMoved):
        await second.apply(log.decoded()[:10])

    await first.apply(log.decoded()[20:])
    assert await first.state_hash() == await fold(tmp_path / "b.sqlite", log, log.decoded())
    await first.aclose()
    await second.aclose()


@pytest.mark.usefixtures("small_tails")
async def test_a_query_sees_one_state_while_the_tail_is_sealed_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = random_log(5, batches=120)
    decoded = log.decoded()
    projection = SeriesProjection(tmp_path / "series.sqlite", log)
    store = SeriesQueries(tmp_path / "series.sqlite", log)
    read_tail = store._tail

    async def seal_in_between(*args: Any) -> Any:
        # The projection moves on after the snapshot was taken and before the rest is read.
        await projection.apply(decoded[: folded + 1])
        return await read_tail(*args)

    for folded in range(1, len(decoded) - 1, 7):
        await projection.apply(decoded[:folded])
        with monkeypatch.context() as patch:
            patch.setattr(store, "_tail", seal_in_between)
            found = await stored_series(store, "r1", "a", None, None)
        assert found == expected_series(log.batches[:folded], "r1", "a", None, None)
    await store.aclose()
    await projection.aclose()


def long_log(n: int, *, seed: int = 0, shuffle: bool = False, batch: int = 10_000) -> MemoryLog:
    noise = np.random.default_rng(seed)
    log = MemoryLog()
    steps = noise.permutation(n) if shuffle else np.arange(n)
    loss = (2 * np.exp(-np.arange(n) / n) + 0.05 * noise.standard_normal(n)).astype("f4")
    values = loss.astype(np.float64)
    values[noise.integers(0, n, 5)] = [1e9, -1e9, math.nan, math.inf, 77.0]
    times = np.cumsum(noise.integers(900, 1100, n)).astype(np.int64)
    for start in range(0, n, batch):
        part = slice(start, start + batch)
        log.append_columns(
            "r", ["loss", "twice"], steps[part], times[part], [values[part], 2 * values[part]]
        )
    return log


async def test_long_series_are_charted_from_roll_ups_and_no_spike_is_lost(tmp_path: Path) -> None:
    log = long_log(400_000)
    await fold(tmp_path / "series.sqlite", log, log.decoded())
    store = SeriesQueries(tmp_path / "series.sqlite", log)
    points = expected_series(log.batches, "r", "loss", None, None)

    buckets = await store.buckets("r", "loss", start_step=None, end_step=None, buckets_max=1000)
    zoomed = await store.buckets("r", "loss", start_step=5_001, end_step=5_900, buckets_max=1000)
    ranged = await store.buckets("r", "loss", start_step=99, end_step=390_001, buckets_max=500)

    assert buckets.is_reduced
    check_buckets(buckets, points, buckets_max=1000)
    width = 400
    assert (buckets.last_step - buckets.first_step <= width + 128).all()
    assert not zoomed.is_reduced
    check_buckets(zoomed, points[5_001:5_901], buckets_max=1000)
    check_buckets(ranged, points[99:390_002], buckets_max=500)
    assert int(ranged.first_step[0]) == 99
    assert int(ranged.last_step[-1]) == 390_001
    await store.aclose()


async def test_chunks_over_the_same_steps_are_merged_in_bounded_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from projections import series_history

    monkeypatch.setattr(series_history, "HELD_POINTS_MAX", 30_000)
    monkeypatch.setattr(series_history, "WINDOW_POINTS", 4_096)
    monkeypatch.setattr(series_history, "DEEP_WINDOW_POINTS", 8_192)
    log = long_log(300_000, shuffle=True)
    await fold(tmp_path / "series.sqlite", log, log.decoded())
    store = SeriesQueries(tmp_path / "series.sqlite", log)

    points = expected_series(log.batches, "r", "twice", None, None)
    sizes = []
    found = []
    async for page in await store.history("r", "twice", start_step=None, end_step=None):
        sizes.append(len(page.steps))
        found += page.steps.tolist()

    assert found == [point.step for point in points]
    assert max(sizes) <= WINDOW_POINTS
    buckets = await store.buckets("r", "twice", start_step=None, end_step=None, buckets_max=300)
    check_buckets(buckets, points, buckets_max=300)
    await store.aclose()


async def test_metrics_logged_together_share_their_axes(tmp_path: Path) -> None:
    log = long_log(140_000)
    path = tmp_path / "series.sqlite"
    await fold(path, log, log.decoded())

    connection = open_for_reading(path)
    ((axes,),) = connection.execute("SELECT count(*) FROM axis").fetchall()
    ((chunks,),) = connection.execute("SELECT count(*) FROM chunk").fetchall()
    ((uses,),) = connection.execute("SELECT sum(uses) FROM axis").fetchall()
    connection.close()

    assert chunks == uses == 2 * axes
    assert axes >= 34


@pytest.mark.usefixtures("small_tails")
async def test_no_axis_or_value_is_left_without_a_chunk(tmp_path: Path) -> None:
    log = random_log(8, batches=300)
    path = tmp_path / "series.sqlite"
    await fold(path, log, log.decoded())

    connection = open_for_reading(path)
    counts = [
        connection.execute(query).fetchone()[0]
        for query in (
            "SELECT count(*) FROM chunk_values WHERE chunk_id NOT IN (SELECT chunk_id FROM chunk)",
            "SELECT count(*) FROM chunk WHERE chunk_id NOT IN (SELECT chunk_id FROM chunk_values)",
            "SELECT count(*) FROM axis a WHERE uses <> "
            "(SELECT count(*) FROM chunk c WHERE c.axis_id = a.axis_id)",
            "SELECT count(*) FROM axis_points WHERE axis_id NOT IN (SELECT axis_id FROM axis)",
            "SELECT count(*) FROM (SELECT metric_no FROM chunk GROUP BY metric_no "
            "HAVING count(*) > 14)",
            "SELECT count(*) FROM metric m WHERE chunks <> "
            "(SELECT 1 + max(chunk_no) FROM chunk c WHERE c.metric_no = m.metric_no) "
            "OR chunks <> (SELECT count(*) FROM chunk c WHERE c.metric_no = m.metric_no)",
        )
    ]
    connection.close()

    assert counts == [0] * 6


class FlakyLog(MemoryLog):
    """Its reads fail while `is_down`."""

    is_down = False

    async def read(self, **asked: Any) -> Sequence[StoredBatch]:
        if self.is_down:
            raise TrackerError("the log cannot be read now")
        return await super().read(**asked)


@pytest.mark.usefixtures("small_tails")
async def test_a_log_that_cannot_be_read_costs_a_retry_and_no_batch(tmp_path: Path) -> None:
    log = FlakyLog()
    log.batches, log.next_position = random_log(4).batches, random_log(4).next_position
    projection = SeriesProjection(tmp_path / "series.sqlite", log)
    log.is_down = True
    failures = 0

    for batch in log.decoded():  # a failure forgets the tails, so the next seal reads the log
        try:
            await projection.apply([batch])
        except ProjectionStoreFailed:
            failures += 1
            log.is_down = False
            await projection.apply([batch])
            log.is_down = True
        if failures == 0:
            projection._forget()

    assert failures > 0
    assert await projection.state_hash() == await fold(tmp_path / "b.sqlite", log, log.decoded())
    await projection.aclose()


async def test_a_damaged_chunk_is_said_to_be_damaged(tmp_path: Path) -> None:
    log = long_log(140_000)
    path = tmp_path / "series.sqlite"
    await fold(path, log, log.decoded())
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE chunk_values SET data = substr(data, 1, 100)")
    connection.close()
    store = SeriesQueries(path, log)

    with pytest.raises(ProjectionStoreFailed, match="rebuild"):
        await stored_series(store, "r", "loss", None, None)

    await store.aclose()


async def test_one_log_read_serves_many_charts_of_a_live_run(tmp_path: Path) -> None:
    log = MemoryLog()
    for step in range(50):
        log.append("r", [(step, step, {f"k{i}": float(i) for i in range(20)})])
    path = tmp_path / "series.sqlite"
    projection = SeriesProjection(path, log)
    await projection.apply(log.decoded())
    store = SeriesQueries(path, log)

    for i in range(20):
        assert len(await stored_series(store, "r", f"k{i}", None, None)) == 50
    reads = log.reads
    log.append("r", [(50, 50, {"k3": 1.0})])
    await projection.apply(log.decoded())
    newest = await stored_series(store, "r", "k3", None, None)

    assert reads == 1
    assert log.reads == 2
    assert newest == expected_series(log.batches, "r", "k3", None, None)
    await store.aclose()
    await projection.aclose()


async def test_a_batch_that_cannot_be_decoded_is_passed_over_by_all_alike(tmp_path: Path) -> None:
    log = MemoryLog()
    for step in range(10):
        log.append("r", [(step, 0, {"k": 1.0})])
    log.append_payload("r", b"not zstd", n=3)
    log.append("r", [(10, 0, {"k": 1.0})])
    path = tmp_path / "series.sqlite"
    projection = SeriesProjection(path, log)
    for batch in log.batches:
        is_bad = batch.payload == b"not zstd"
        await projection.apply([nothing_of(batch) if is_bad else decoded(batch)])
    store = SeriesQueries(path, log)

    points = await stored_series(store, "r", "k", None, None)

    assert [point.step for point in points] == list(range(11))
    await store.aclose()
    await projection.aclose()


async def test_a_run_with_fifty_thousand_keys_is_sealed_and_read(tmp_path: Path) -> None:
    log = MemoryLog()
    for part in range(5):
        log.append("r", [(0, 0, {f"k{part * 10_000 + i}": float(i) for i in range(10_000)})])
    for step in range(300):
        log.append("r", [(step, 0, {"loss": float(step)})])
    path = tmp_path / "series.sqlite"
    await fold(path, log, log.decoded())
    store = SeriesQueries(path, log)

    connection = open_for_reading(path)
    ((metrics,),) = connection.execute("SELECT metrics FROM run").fetchall()
    connection.close()

    assert metrics == 50_001
    for key in ("k0", "k49999", "loss"):
        expected = expected_series(log.batches, "r", key, None, None)
        assert await stored_series(store, "r", key, None, None) == expected
    await store.aclose()
