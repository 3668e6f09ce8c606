"""The state at any position is the fold of the records up to there, one by one."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.kinds import KINDS
from projections.log import EventLogReader, LogHead, StoredBatch
from projections.past_builds import PastBuilds, PastNotReady, PastUnavailable
from projections.past_log import PastLog
from projections.past_positions import position_at
from projections.rebuild import fold_into
from tests.support.logs import Dropped, LogOfBatches, Metrics, Record, event, width_of
from tests.support.memory_log import MemoryLog

NUMBERS = st.sampled_from([0.0, -0.0, 1.5, -2.0, math.inf, math.nan])
TIMES = st.integers(0, 50)


@st.composite
def records(draw: st.DrawFn) -> Record:
    time_us = draw(TIMES)
    match draw(st.integers(0, 8)):
        case 0:
            name = draw(st.sampled_from(["a", "b"]))
            return event("run.started", time_us, experiment_name=name)
        case 1:
            return event("params.logged", time_us, params={draw(st.sampled_from("pq")): "1"})
        case 2:
            return event("tags.set", time_us, tags={draw(st.sampled_from("tu")): str(time_us)})
        case 3:
            return event("run.ended", time_us, status="FINISHED")
        case 4:
            path = draw(st.sampled_from(["x", "d/y"]))
            return event("artifact.logged", time_us, path=path, digest="ab" * 32, size=time_us)
        case 5:
            return Dropped(draw(st.integers(1, 4)), time_us)
        case _:
            keys = draw(st.sampled_from([("loss",), ("loss", "acc")]))
            values = {key: draw(NUMBERS) for key in keys}
            return Metrics(values, draw(st.integers(0, 9)), time_us)


WRITERS = st.sampled_from([("r1", "w1"), ("r1", "w2"), ("r2", "w3")])
LOGS = st.lists(
    st.tuples(WRITERS, st.lists(records(), min_size=1, max_size=6)), min_size=1, max_size=8
)


class Log:
    """The batches of a LogOfBatches as an EventLogReader."""

    def __init__(self, batches: Sequence[StoredBatch]) -> None:
        self.batches = batches

    async def head(self) -> LogHead:
        return LogHead(self.batches[-1].last_position + 1 if self.batches else 1)

    async def read(
        self,
        *,
        after: int,
        batches_max: int,
        bytes_max: int,
        run_id: str | None = None,
        until: int | None = None,
    ) -> Sequence[StoredBatch]:
        return [
            batch
            for batch in self.batches
            if batch.last_position > after
            and run_id in (None, batch.run_id)
            and (until is None or batch.first_position <= until)
        ][:batches_max]


def log_of(
    batches: Sequence[tuple[tuple[str, str], list[Record]]], *, one_by_one: bool = False
) -> Log:
    log = LogOfBatches()
    for (run_id, writer_id), of_batch in batches:
        for part in [[record] for record in of_batch] if one_by_one else [of_batch]:
            log.append(run_id, writer_id, part)
    return Log(log.batches)


async def states_of(log: EventLogReader, folder: Path, *, until: int) -> list[dict[str, str]]:
    states: list[dict[str, str]] = []
    for kind in KINDS:
        projection = kind.open(folder / f"{kind.name}.sqlite", log)
        await fold_into(projection, log, until=until, on_position=lambda position: None)
        states.append(dict(await projection.state_hash()))
        await projection.aclose()
    return states


def beginning_of_records(
    batches: Sequence[tuple[tuple[str, str], list[Record]]], position: int
) -> Log:
    """The log as it would be if only the records up to a position had been sent."""
    log = LogOfBatches()
    left = position
    for (run_id, writer_id), of_batch in batches:
        sent: list[Record] = []
        for record in of_batch:
            if left <= 0:
                break
            width = min(width_of(record), left)
            sent.append(replace(record, width=width) if isinstance(record, Dropped) else record)
            left -= width
        if sent:
            log.append(run_id, writer_id, sent)
    return Log(log.batches)


@settings(max_examples=40, deadline=None)
@given(batches=LOGS, data=st.data())
def test_a_past_log_folds_to_what_its_records_fold_to(
    batches: list[tuple[tuple[str, str], list[Record]]], data: st.DataObject
) -> None:
    whole = log_of(batches)
    position = data.draw(st.integers(1, whole.batches[-1].last_position))

    async def check() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            past, kept = PastLog(whole, position), beginning_of_records(batches, position)
            return (
                await states_of(past, Path(one), until=position),
                await states_of(kept, Path(other), until=position),
            )

    found, expected = asyncio.run(check())

    # A cut payload is compressed anew: how many bytes a tail has in the log is no fact of it.
    for runs_and_series in (found, expected):
        del runs_and_series[1]["run"]
    assert found == expected


@settings(max_examples=25, deadline=None)
@given(batches=LOGS, data=st.data())
def test_a_past_series_has_the_points_that_had_come(
    batches: list[tuple[tuple[str, str], list[Record]]], data: st.DataObject
) -> None:
    whole, single = log_of(batches), log_of(batches, one_by_one=True)
    position = data.draw(st.integers(0, whole.batches[-1].last_position))
    is_of_run = data.draw(st.booleans())

    async def found() -> list[tuple[int, str]]:
        with tempfile.TemporaryDirectory() as folder:
            builds = PastBuilds(whole, Path(folder))
            stores = await builds.at(position, run_id="r1" if is_of_run else None)
            pages = await stores.series.history("r1", "loss", start_step=None, end_step=None)
            points = [
                (step, value.hex())
                async for page in pages
                for step, value in zip(page.steps.tolist(), page.values.tolist(), strict=True)
            ]
            await builds.aclose()
            return points

    flat = [(writer[0], record) for writer, of_batch in batches for record in of_batch]
    expected = [
        (record.step, float(record.values["loss"]).hex())
        for (run_id, record), batch in zip(flat, single.batches, strict=True)
        if isinstance(record, Metrics) and run_id == "r1" and batch.last_position <= position
    ]
    assert asyncio.run(found()) == sorted(expected, key=lambda point: point[0])


def rows(count: int) -> MemoryLog:
    log = MemoryLog()
    for number in range(count):
        log.append(f"run-{number % 3}", [(number, number, {"loss": float(number)})])
    return log


async def test_builds_are_kept_and_bounded(tmp_path: Path) -> None:
    log = rows(30)
    builds = PastBuilds(log, tmp_path, builds_max=2)

    first = await builds.at(10)
    assert await builds.at(10) is first
    await builds.at(11)
    await builds.at(12)

    assert await builds.at(12) is await builds.at(12)
    assert await builds.at(10) is not first
    await builds.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_two_who_ask_for_one_state_wait_for_one_fold(tmp_path: Path) -> None:
    log = rows(30)
    builds = PastBuilds(log, tmp_path)

    one, other = await asyncio.gather(builds.at(20), builds.at(20))

    assert one is other
    await builds.aclose()


async def test_a_long_fold_is_told_and_goes_on(tmp_path: Path) -> None:
    log = rows(300)
    builds = PastBuilds(log, tmp_path, wait_s=0.0)

    with pytest.raises(PastNotReady, match="ask again"):
        await builds.at(300)
    for _ in range(200):
        await asyncio.sleep(0.02)
        try:
            stores = await builds.at(300)
            break
        except PastNotReady:
            continue

    assert await stores.runs.position() == 300
    await builds.aclose()


async def test_a_state_that_takes_too_much_disk_is_refused(tmp_path: Path) -> None:
    builds = PastBuilds(rows(50), tmp_path, bytes_max=1000)

    with pytest.raises(PastUnavailable, match="past_bytes_max"):
        await builds.at(50)
    await builds.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_time_becomes_the_position_reached_then() -> None:
    log = rows(40)
    log.batches = [replace(b, received_at_us=100 * (i // 3)) for i, b in enumerate(log.batches)]

    for time_us in (-1, 0, 50, 100, 650, 1299, 1300, 10**9):
        expected = [b.last_position for b in log.batches if b.received_at_us <= time_us]
        assert await position_at(log, time_us) == max(expected, default=0)
