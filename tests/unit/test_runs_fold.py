"""The rules of the runs fold, one by one. The laws between them: test_runs_fold_laws.py."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from projections.projection import DecodedBatch
from projections.rounds import nothing_of
from projections.runs_store import RunsProjection
from tests.support.logs import Dropped, LogOfBatches, Metrics, Record, event
from tracker.events.ids import experiment_id_for
from tracker.events.limits import INT64_MAX

STARTED = event("run.started", 10, name="first", start_time_us=7, user="ada")


class Folded:
    """A log and its projection, side by side."""

    def __init__(self, folder: Path) -> None:
        self.log = LogOfBatches()
        self.path = folder / "runs.sqlite"
        self.projection = RunsProjection(self.path)

    async def append(self, *records: Record, run: str = "run", writer: str = "w") -> None:
        self.log.append(run, writer, records)
        await self.projection.apply(self.log.decoded()[-1:])

    def rows(self, sql: str, *arguments: object) -> list[Any]:
        connection = sqlite3.connect(self.path)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(sql, arguments).fetchall()
        finally:
            connection.close()

    def run(self, run: str = "run") -> Any:
        return self.rows("SELECT * FROM run WHERE run_id = ?", run)[0]

    def named(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        listed = ", ".join(columns)
        sql = f"SELECT key, {listed} FROM {table} JOIN key USING (key_id) ORDER BY key, {listed}"
        return [tuple(row) for row in self.rows(sql)]


@pytest.fixture
def folded(tmp_path: Path) -> Iterator[Folded]:
    state = Folded(tmp_path)
    yield state
    state.projection._tables.connection.close()  # type: ignore[attr-defined]  # on a file


async def test_a_run_exists_from_its_first_event_whatever_that_is(folded: Folded) -> None:
    await folded.append(Metrics({"loss": 1.0}, 0, 500), writer="worker")

    run = folded.run()
    assert (run["status"], run["experiment_id"], run["start_us"]) == ("RUNNING", "0", 500)

    await folded.append(STARTED, writer="owner")

    run = folded.run()
    assert (run["name"], run["user_id"], run["start_us"]) == ("first", "ada", 7)
    assert run["owner_writer_id"] == "owner"


async def test_the_latest_word_by_the_writers_clocks_stands(folded: Folded) -> None:
    await folded.append(event("tags.set", 200, tags={"a": "late"}), writer="w1")
    await folded.append(event("tags.set", 100, tags={"a": "early", "b": "b"}), writer="w2")
    await folded.append(event("tag.deleted", 300, key="b"), writer="w1")
    await folded.append(event("tags.set", 250, tags={"b": "older than its deletion"}), writer="w2")

    assert folded.named("run_tag", "value") == [("a", "late"), ("b", None)]


async def test_a_writers_own_order_holds_when_its_clock_is_set_back(folded: Folded) -> None:
    day = 86_400_000_000
    await folded.append(event("tags.set", 2 * day, tags={"a": "before"}))
    await folded.append(event("tags.set", 1 * day, tags={"a": "after"}))

    assert folded.named("run_tag", "value", "order_us") == [("a", "after", 2 * day + 1)]


async def test_a_clock_at_the_end_of_time_stays_there(folded: Folded) -> None:
    await folded.append(event("tags.set", INT64_MAX, tags={"a": "1"}))
    await folded.append(event("tags.set", INT64_MAX, tags={"a": "2"}))

    assert folded.named("run_tag", "value") == [("a", "2")]


async def test_the_earliest_value_of_a_param_stands_and_others_are_conflicts(
    folded: Folded,
) -> None:
    await folded.append(event("params.logged", 200, params={"lr": "0.2"}), writer="w1")
    await folded.append(event("params.logged", 100, params={"lr": "0.1"}), writer="w2")
    await folded.append(event("params.logged", 300, params={"lr": "0.2"}), writer="w3")

    assert folded.named("run_param", "value", "writer_id") == [("lr", "0.1", "w2")]
    assert folded.named("run_param_conflict", "value", "writer_id") == [("lr", "0.2", "w1")]


async def test_a_guess_ends_a_silent_run_and_late_data_revives_it(folded: Folded) -> None:
    await folded.append(STARTED)
    await folded.append(guess(status="FAILED", seq=2, reason="lost"), writer="server")

    run = folded.run()
    assert (run["status"], run["end_reason"], run["end_us"]) == ("FAILED", "lost", 99)

    await folded.append(Metrics({"loss": 1.0}, 0, 20))

    run = folded.run()
    assert (run["status"], run["end_reason"], run["end_us"], run["guess"]) == (
        "RUNNING", None, None, None,
    )  # fmt: skip


async def test_a_guess_that_comes_after_the_data_it_missed_changes_nothing(
    folded: Folded,
) -> None:
    await folded.append(STARTED, Metrics({"loss": 1.0}, 0, 20))
    await folded.append(guess(status="FAILED", seq=2), writer="server")

    assert folded.run()["status"] == "RUNNING"


async def test_what_the_writer_said_of_its_end_wins_over_a_guess(folded: Folded) -> None:
    await folded.append(STARTED)
    await folded.append(guess(status="FAILED", seq=2), writer="server")
    await folded.append(event("run.ended", 50, status="FINISHED", reason="done"))

    run = folded.run()
    assert (run["status"], run["end_us"], run["end_reason"]) == ("FINISHED", 50, "done")


async def test_a_guess_counts_again_when_a_run_that_had_ended_was_resumed_before_it(
    folded: Folded,
) -> None:
    await folded.append(STARTED, event("run.ended", 20, status="FINISHED"), writer="w")
    await folded.append(guess(status="FAILED", seq=2, writer="w2"), writer="server")
    assert folded.run()["status"] == "FINISHED"

    await folded.append(event("run.resumed", 30), writer="w2")

    assert folded.run()["status"] == "FAILED"


async def test_an_earlier_guess_stands_again_when_a_later_one_is_refuted(folded: Folded) -> None:
    await folded.append(STARTED)
    await folded.append(guess(80, status="KILLED", seq=9, writer="w"), writer="server")
    await folded.append(guess(90, status="FAILED", seq=1, writer="w2"), writer="server")
    assert folded.run()["status"] == "FAILED"

    await folded.append(Metrics({"a": 1.0}, 0, 20), writer="w2")

    assert folded.run()["status"] == "KILLED"


async def test_a_guess_about_a_writer_of_another_run_is_not_refuted_by_it(
    folded: Folded,
) -> None:
    await folded.append(STARTED)
    await folded.append(Metrics({"a": 1.0}, 0, 20), run="other", writer="w2")
    await folded.append(guess(status="FAILED", seq=1, writer="w2"), writer="server")

    assert folded.run()["status"] == "FAILED"


async def test_an_empty_reason_is_none_whichever_of_two_equal_ends_comes_first(
    folded: Folded,
) -> None:
    await folded.append(event("run.ended", 5, status="FAILED", detail=""), writer="w1")
    await folded.append(event("run.ended", 5, status="FAILED"), writer="w2")

    assert folded.run()["end_detail"] is None


async def test_an_experiment_comes_into_being_by_being_named(folded: Folded) -> None:
    await folded.append(event("run.started", 10, experiment_name="digits"))
    digits = experiment_id_for("digits")

    assert folded.run()["experiment_id"] == digits

    created = event("experiment.created", 5, experiment_id=digits, name="digits", tags={"a": "b"})
    await folded.append(created, run="", writer="w2")

    row = folded.rows("SELECT * FROM experiment WHERE experiment_id = ?", digits)[0]
    assert (row["name"], row["created_us"], row["updated_us"]) == ("digits", 5, 10)
    assert [tuple(r) for r in folded.rows("SELECT key, value FROM experiment_tag")] == [("a", "b")]


async def test_a_renamed_experiment_leaves_its_name_to_a_new_one(folded: Folded) -> None:
    old = experiment_id_for("digits")
    await folded.append(event("run.started", 10, experiment_name="digits"), run="one")
    renamed = event("experiment.renamed", 20, experiment_id=old, name="old digits")
    await folded.append(renamed, run="", writer="server")
    await folded.append(event("run.started", 30, experiment_name="digits"), run="two", writer="w2")
    await folded.append(
        event("run.started", 30, experiment_name="digits", experiment_id="0"),
        run="three",
        writer="w3",
    )

    new = experiment_id_for("digits", salt=1)
    assert [folded.run(r)["experiment_id"] for r in ("one", "two", "three")] == [old, new, new]


async def test_a_deleted_experiment_still_takes_the_runs_that_give_its_id(
    folded: Folded,
) -> None:
    old = experiment_id_for("digits")
    await folded.append(event("run.started", 10, experiment_name="digits"), run="one")
    await folded.append(event("experiment.deleted", 20, experiment_id=old), run="", writer="server")
    await folded.append(
        event("run.started", 15, experiment_name="digits", experiment_id=old),
        run="late",
        writer="w2",
    )

    assert folded.run("late")["experiment_id"] == old


async def test_the_default_experiment_is_there_from_the_start(folded: Folded) -> None:
    row = folded.rows("SELECT * FROM experiment")

    assert [(r["experiment_id"], r["name"], r["lifecycle_stage"]) for r in row] == [
        ("0", "Default", "active")
    ]


async def test_metric_summaries_are_exact_in_their_bits(folded: Folded) -> None:
    nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_BEEF))[0]
    values = [(3, nan), (-5, -0.0), (1, math.inf), (2, 5e-324), (2, -math.inf)]
    await folded.append(*[Metrics({"m": v}, step, 100 + i) for i, (step, v) in enumerate(values)])

    row = folded.rows("SELECT * FROM run_metric")[0]
    assert (row["last_step"], row["last_us"], row["last_value"]) == (3, 100, None)
    assert row["last_bits"] == 0x7FF8_0000_0000_BEEF
    assert (row["first_step"], row["first_bits"]) == (-5, -(2**63))
    assert (row["min_value"], row["min_step"]) == (-math.inf, 2)
    assert (row["max_value"], row["max_step"]) == (math.inf, 1)
    assert (row["count"], row["nan_count"]) == (5, 1)


async def test_a_metric_of_nothing_but_nan_has_no_extremes(folded: Folded) -> None:
    await folded.append(Metrics({"m": math.nan, "n": 1.0}, 0, 5))
    await folded.append(Metrics({"m": math.nan, "n": 0.5}, 1, 6))

    assert folded.named("run_metric", "min_value", "min_step", "max_value", "nan_count") == [
        ("m", None, None, None, 2),
        ("n", 0.5, 1, 1.0, 0),
    ]


async def test_lost_records_and_unknown_events_are_counted(folded: Folded) -> None:
    await folded.append(Dropped(5, 10), event("events.dropped", reason="disk", count=3))
    await folded.append(event("artifact.imagined", path="x"), event("run.resumed"))
    await folded.append(Metrics({"m": 1.0}, 0, 0), run="", writer="w2")

    assert folded.run()["dropped"] == 8
    assert folded.projection.skipped == {"artifact.imagined": 1, "metrics.logged": 1}


async def test_a_joined_writer_says_where_it_runs(folded: Folded) -> None:
    await folded.append(event("run.joined", host="node-1", pid=7, rank=3), writer="w2")

    row = folded.rows("SELECT * FROM run_writer")[0]
    assert (row["writer_id"], row["next_seq"]) == ("w2", 2)
    assert row["about"] == '{"host": "node-1", "pid": 7, "rank": 3}'


async def test_a_batch_that_could_not_be_folded_moves_the_checkpoint_only(
    folded: Folded,
) -> None:
    batch = folded.log.append("run", "w", [STARTED, STARTED])
    empty: DecodedBatch = nothing_of(batch)

    await folded.projection.apply([empty])

    assert await folded.projection.position() == 2
    assert folded.rows("SELECT * FROM run") == []


async def test_a_run_of_many_metrics_is_summarised_without_losing_one(folded: Folded) -> None:
    for step in range(2):
        for part in range(5):
            await folded.append(
                Metrics({f"m{part}/{i}": float(step) for i in range(2_000)}, step, step)
            )

    row = folded.rows("SELECT count(*) AS n, sum(count) AS points FROM run_metric")[0]
    assert (row["n"], row["points"]) == (10_000, 20_000)


def guess(time_us: int = 99, *, status: str, seq: int, writer: str = "w", **data: Any) -> Record:
    return event(
        "run.ended", time_us, status=status, guessed_writer_id=writer, guessed_seq=seq, **data
    )
