"""Forked, spawned and launched processes that add to one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment
from tests.support.recorded import RecordedWriter, recorded

OFFLINE = {"TRACKER_MODE": "offline", "TRACKER_QUIET": "1"}


def run_script(home: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    path = home / "script.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(path)],
        env=environment(home, **OFFLINE, **more),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def owner_and_others(home: Path) -> tuple[RecordedWriter, list[RecordedWriter]]:
    """The writers of the only run; fails unless exactly one owns it."""
    writers = recorded(home)
    assert len({writer.meta.run_id for writer in writers}) == 1
    (owner,) = [writer for writer in writers if writer.meta.is_owner]
    assert owner.data_of("run.ended")["status"] == "FINISHED"
    others = [writer for writer in writers if not writer.meta.is_owner]
    assert all(writer.types[0] == "run.joined" for writer in others)
    assert all("run.ended" not in writer.types for writer in others)
    return owner, others


def test_a_forked_child_is_a_further_writer_and_never_ends_the_run(tmp_path: Path) -> None:
    run_script(
        tmp_path,
        """
import os, sys, tracker
with tracker.start_run() as run:
    tracker.log_metric("parent", 1.0)
    for leave in ("exit", "_exit", "raise", "end_run", "block", "start_run"):
        pid = os.fork()
        if pid == 0:
            tracker.log_metric(leave, 1.0)
            run.log_metric(leave, 2.0)
            if leave == "_exit": os._exit(0)
            if leave == "raise": raise RuntimeError("in the child")
            if leave == "end_run": tracker.end_run()
            if leave == "start_run":
                with tracker.start_run() as same:
                    assert same is run
            if leave != "block": sys.exit(0)
            break
        os.waitpid(pid, 0)
    if leave != "block" or pid: tracker.log_metric("parent", 2.0)
""",
    )

    owner, others = owner_and_others(tmp_path)
    assert owner.points == [("parent", 0, 1.0), ("parent", 0, 2.0)]
    leaves = ["exit", "_exit", "raise", "end_run", "block", "start_run"]
    assert [writer.points for writer in others] == [
        [(leave, 0, 1.0), (leave, 0, 2.0)] for leave in leaves
    ]
    assert len({writer.meta.pid for writer in others}) == len(leaves)


def test_a_child_that_logs_nothing_leaves_no_writer(tmp_path: Path) -> None:
    run_script(
        tmp_path,
        """
import os, tracker
with tracker.start_run():
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
""",
    )
    assert owner_and_others(tmp_path)[1] == []


def test_forking_while_threads_log_never_hangs_and_loses_nothing(tmp_path: Path) -> None:
    run_script(
        tmp_path,
        """
import os, threading, tracker
with tracker.start_run():
    is_over = threading.Event()
    counts = [0] * 4
    def log(number):
        while not is_over.is_set():
            tracker.log_metric(f"thread-{number}", counts[number], counts[number])
            tracker.set_tag(f"tag-{number}", counts[number])
            counts[number] += 1
    threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
    for thread in threads: thread.start()
    for number in range(30):
        pid = os.fork()
        if pid == 0:
            tracker.log_metric("child", number)
            os._exit(0)
        os.waitpid(pid, 0)
    is_over.set()
    for thread in threads: thread.join()
    tracker.log_params({f"count-{n}": counts[n] for n in range(4)})
""",
    )

    owner, others = owner_and_others(tmp_path)
    assert sorted(value for writer in others for _, _, value in writer.points) == list(range(30))
    for number in range(4):
        steps = [step for key, step, _ in owner.points if key == f"thread-{number}"]
        assert steps == list(range(int(owner.params[f"count-{number}"])))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_add_to_the_run_even_when_killed(tmp_path: Path, method: str) -> None:
    """Like a data loader's: started by multiprocessing, ended by terminate or kill."""
    run_script(
        tmp_path,
        f"""
import multiprocessing, time, tracker
def work(number, is_logged):
    for step in range(20):
        tracker.log_metric(f"worker-{{number}}", step, step)
    is_logged.set()
    if number: time.sleep(200)
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with tracker.start_run():
        tracker.log_metric("main", 1.0)
        events = [context.Event() for _ in range(3)]
        workers = [context.Process(target=work, args=(n, events[n])) for n in range(3)]
        for worker in workers: worker.start()
        for event in events: assert event.wait(120)
        workers[1].terminate()
        workers[2].kill()
        for worker in workers: worker.join()
        assert [worker.exitcode for worker in workers] == [0, -15, -9]
        tracker.log_metric("main", 2.0)
""",
    )

    owner, others = owner_and_others(tmp_path)
    assert owner.points == [("main", 0, 1.0), ("main", 0, 2.0)]
    assert len(others) == 3
    for writer in others:
        (key,) = {key for key, _, _ in writer.points}
        assert [step for _, step, _ in writer.points] == list(range(20))
        assert key.startswith("worker-")


def test_a_pool_of_processes_adds_to_the_run(tmp_path: Path) -> None:
    run_script(
        tmp_path,
        """
import tracker
from concurrent.futures import ProcessPoolExecutor
def trial(number):
    tracker.log_metric("trial", number, number)
    with tracker.start_run(nested=True) as run:
        tracker.log_metric("own", number)
    return run.run_id
if __name__ == "__main__":
    with tracker.start_run() as parent, ProcessPoolExecutor(2) as pool:
        run_ids = list(pool.map(trial, range(6)))
    print(parent.run_id, *run_ids)
""",
    )

    writers = recorded(tmp_path)
    shared = [point for writer in writers for point in writer.points if point[0] == "trial"]
    nested = [writer for writer in writers if any(key == "own" for key, _, _ in writer.points)]
    parent_id = next(writer.meta.run_id for writer in writers if writer.meta.is_owner)
    assert sorted(step for _, step, _ in shared) == list(range(6))
    assert len(nested) == 6
    for writer in nested:
        assert writer.data_of("run.started")["parent_run_id"] == parent_id
        assert writer.data_of("run.ended")["status"] == "FINISHED"


def test_a_script_that_the_script_starts_joins_its_run(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(
        "import tracker\nwith tracker.start_run(run_name='ignored'):\n"
        "    tracker.log_metric('child', 1.0)\n"
    )
    run_script(
        tmp_path,
        f"""
import subprocess, sys, tracker
tracker.set_experiment("digits")
with tracker.start_run():
    subprocess.run([sys.executable, {str(tmp_path / "child.py")!r}], check=True, cwd="/")
subprocess.run([sys.executable, {str(tmp_path / "child.py")!r}], check=True, cwd="/")
""",
    )

    owner, child, separate = recorded(tmp_path)
    assert child.meta.run_id == owner.meta.run_id
    assert (child.types, child.points) == (["run.joined"], [("child", 0, 1.0)])
    assert separate.meta.run_id != owner.meta.run_id
    assert separate.data_of("run.started")["experiment_name"] == "digits"


def test_the_ranks_of_a_launcher_share_one_run(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "import os, tracker\nwith tracker.start_run():\n"
        "    tracker.log_metric('rank', float(os.environ['RANK']))\n"
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, str(path)],
            env=environment(tmp_path, **OFFLINE, RANK=str(rank), TRACKER_RUN_ID="shared"),
        )
        for rank in range(3)
    ]
    assert [rank.wait(180) for rank in ranks] == [0, 0, 0]

    owner, others = owner_and_others(tmp_path)
    assert owner.meta.rank == 0
    assert sorted(writer.meta.rank or 0 for writer in others) == [1, 2]
    assert owner.data_of("run.started")["name"]


def test_another_process_logs_to_a_run_by_its_id(tmp_path: Path) -> None:
    run_script(tmp_path, "import tracker\ntracker.start_run(run_id='elsewhere')\n")
    run_script(
        tmp_path,
        """
import tracker
tracker.log_metric("eval", 0.9, run_id="elsewhere")
tracker.log_params({"split": "test"}, run_id="elsewhere")
tracker.set_tag("evaluated", True, run_id="elsewhere")
assert tracker.active_run() is None
""",
    )

    _, (other,) = owner_and_others(tmp_path)
    assert other.points == [("eval", 0, 0.9)]
    assert other.params == {"split": "test"}
