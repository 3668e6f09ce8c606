"""Which run a log call belongs to, over threads, asyncio tasks and nesting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path

import pytest

import tracker
from tests.support.recorded import isolated_sdk, recorded, recorded_run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with isolated_sdk(tmp_path, monkeypatch):
        yield tmp_path


def in_thread(call: Callable[[], object]) -> None:
    """Run `call` to its end in a new thread, and raise what it raised."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


def test_a_thread_without_a_run_logs_to_the_run_of_the_process(home: Path) -> None:
    with tracker.start_run() as run:
        in_thread(lambda: tracker.log_metric("from_thread", 1.0))

    assert recorded_run(home, run.run_id).points == [("from_thread", 0, 1.0)]
    assert len(recorded(home)) == 1


def test_what_is_no_metric_goes_to_the_run_of_the_process_too(home: Path) -> None:
    with tracker.start_run() as run:
        in_thread(lambda: tracker.log_param("lr", 1))
        in_thread(lambda: tracker.set_tag("a", "b"))

        assert recorded_run(home, run.run_id).params == {"lr": "1"}
        assert recorded_run(home, run.run_id).tags["a"] == "b"


def test_threads_with_runs_of_their_own_stay_apart(home: Path) -> None:
    meet = threading.Barrier(3)

    def trial(number: int) -> str:
        with tracker.start_run(nested=True) as run:
            meet.wait(90)
            for step in range(100):
                tracker.log_metric("trial", number, step)
            meet.wait(90)
        return run.run_id

    with tracker.start_run() as parent, ThreadPoolExecutor(3) as pool:
        run_ids = list(pool.map(trial, range(3)))
        tracker.log_metric("parent", 1.0)

    for number, run_id in enumerate(run_ids):
        writer = recorded_run(home, run_id)
        assert writer.points == [("trial", step, float(number)) for step in range(100)]
        assert writer.data_of("run.started")["parent_run_id"] == parent.run_id
    assert recorded_run(home, parent.run_id).points == [("parent", 0, 1.0)]


def test_a_thread_does_not_end_the_run_of_another(home: Path) -> None:
    with tracker.start_run() as run:
        in_thread(tracker.end_run)

        assert tracker.active_run() is run


def test_a_thread_may_start_a_run_beside_that_of_the_main_thread(home: Path) -> None:
    with tracker.start_run() as main_run:

        def other() -> None:
            with tracker.start_run() as run:
                assert tracker.active_run() is run

        in_thread(other)
        assert tracker.active_run() is main_run


def test_threads_that_log_first_start_one_run_together(home: Path) -> None:
    meet = threading.Barrier(8)

    def log(number: int) -> None:
        meet.wait(90)
        tracker.log_metric("first", number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log, range(8)))

    (writer,) = recorded(home)
    assert sorted(value for _, _, value in writer.points) == [float(i) for i in range(8)]


def test_tasks_with_runs_of_their_own_stay_apart(home: Path) -> None:
    async def trial(number: int) -> str:
        with tracker.start_run(nested=True) as run:
            for step in range(10):
                await asyncio.sleep(0)
                tracker.log_metric("trial", number, step)
            await asyncio.to_thread(tracker.log_metric, "trial", number, 10)
        return run.run_id

    async def trials() -> list[str]:
        return await asyncio.gather(*[trial(number) for number in range(5)])

    with tracker.start_run():
        run_ids = asyncio.run(trials())

    for number, run_id in enumerate(run_ids):
        points = recorded_run(home, run_id).points
        assert points == [("trial", step, float(number)) for step in range(11)]


def test_a_task_that_outlives_its_run_goes_back_to_the_one_around(home: Path) -> None:
    async def late(ended: asyncio.Event) -> None:
        await ended.wait()
        tracker.log_metric("late", 1.0)

    async def main() -> None:
        ended = asyncio.Event()
        with tracker.start_run(nested=True):
            task = asyncio.create_task(late(ended))
            await asyncio.sleep(0)
        ended.set()
        await task

    with tracker.start_run() as outer:
        asyncio.run(main())

    assert recorded_run(home, outer.run_id).points == [("late", 0, 1.0)]


def test_a_lost_context_still_finds_and_ends_the_run(home: Path) -> None:
    """Notebooks run every cell in a context of its own."""
    run = Context().run(tracker.start_run)

    Context().run(tracker.log_metric, "next_cell", 1.0)
    Context().run(tracker.end_run)

    assert run.is_ended
    assert recorded_run(home, run.run_id).points == [("next_cell", 0, 1.0)]


def test_many_threads_log_to_one_run_without_loss(home: Path) -> None:
    def log(number: int) -> None:
        for step in range(500):
            tracker.log_metric(f"thread-{number}", step * 0.5, step)

    with tracker.start_run() as run, ThreadPoolExecutor(8) as pool:
        list(pool.map(log, range(8)))

    points = recorded_run(home, run.run_id).points
    for number in range(8):
        mine = [(step, value) for key, step, value in points if key == f"thread-{number}"]
        assert mine == [(step, step * 0.5) for step in range(500)]


def test_a_call_that_meets_a_writer_just_closed_still_reaches_the_run(home: Path) -> None:
    run = tracker.start_run()
    held_by_a_slow_thread = run.recording.log_metric, run.recording.log_metrics
    tracker.end_run()
    run.recording.log_metric, run.recording.log_metrics = held_by_a_slow_thread

    run.log_metric("late", 1.0)
    run.log_metrics({"later": 2.0})

    owner, joined = recorded(home)
    assert owner.points == []
    assert joined.points == [("late", 0, 1.0), ("later", 0, 2.0)]
    run.end_run()


def test_ending_while_others_log_loses_nothing(home: Path) -> None:
    """The end closes the writer under the hands of a logging thread, many times."""
    for _ in range(20):
        run = tracker.start_run()
        is_over = threading.Event()
        logged: list[int] = []

        def log(run: tracker.Run, is_over: threading.Event, logged: list[int]) -> None:
            while not is_over.is_set():
                run.log_metric("x", len(logged), len(logged))
                logged.append(len(logged))

        thread = threading.Thread(target=log, args=(run, is_over, logged))
        thread.start()
        tracker.end_run()
        is_over.set()
        thread.join()
        run.end_run()

        writers = [each for each in recorded(home) if each.meta.run_id == run.run_id]
        steps = [step for writer in writers for _, step, _ in writer.points]
        assert sorted(steps) == logged
