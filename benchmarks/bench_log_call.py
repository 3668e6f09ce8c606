"""The log call as a user makes it: public functions, real spool, every call timed.

    python -m benchmarks.bench_log_call [CALLS]

Also what a process pays around it: import, start to first log, end. The empty write(2) of
as many bytes is printed beside, as most of a call is that one system call. Offline, so no
shipper takes part; the effect of one is measured by bench_pipeline.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import describe_machine, percentiles

CALLS_DEFAULT = 100_000
ROUNDS = 3

Timed = Callable[[int], list[int]]


def time_write(calls: int) -> list[int]:
    clock, times = time.perf_counter_ns, [0] * calls
    with tempfile.NamedTemporaryFile() as file:
        fd, record = file.fileno(), bytes(56)
        for i in range(calls):
            began = clock()
            os.write(fd, record)
            times[i] = clock() - began
    return times


def time_log_metric(calls: int) -> list[int]:
    import tracker

    clock, times = time.perf_counter_ns, [0] * calls
    for i in range(calls):
        value = i * 0.5
        began = clock()
        tracker.log_metric("loss", value, i)
        times[i] = clock() - began
    return times


def time_run_log_metric(calls: int) -> list[int]:
    import tracker

    run = tracker.active_run()
    assert run is not None
    clock, times = time.perf_counter_ns, [0] * calls
    for i in range(calls):
        value = i * 0.5
        began = clock()
        run.log_metric("loss", value, i)
        times[i] = clock() - began
    return times


def time_log_metrics(calls: int) -> list[int]:
    import tracker

    clock, times = time.perf_counter_ns, [0] * calls
    for i in range(calls):
        metrics = {f"metric_{j}": i * 0.5 + j for j in range(10)}
        began = clock()
        tracker.log_metrics(metrics, i)
        times[i] = clock() - began
    return times


def import_ms() -> float:
    """What `import tracker` adds to a bare interpreter, by its own -X importtime."""
    command = [sys.executable, "-X", "importtime", "-c", "import tracker"]
    best = float("inf")
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(r"\|\s+(\d+) \| tracker$", done.stderr, re.MULTILINE)
        assert found is not None
        best = min(best, int(found[1]) / 1000)
    return best


def print_life(folder: Path) -> None:
    """Start, context, first log and end, each in a process of its own."""
    script = (
        "import time, tracker\n"
        "from tracker import context\n"
        "t0 = time.perf_counter(); context.context_tags()\n"
        "t1 = time.perf_counter(); tracker.start_run(); tracker.log_metric('a', 1.0)\n"
        "t2 = time.perf_counter(); tracker.end_run()\n"
        "t3 = time.perf_counter()\n"
        "print(t1 - t0, t2 - t1, t3 - t2)\n"
    )
    times = []
    for _ in range(7):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=folder
        )
        times.append([float(word) * 1000 for word in done.stdout.split()])
    middle = [sorted(column)[len(column) // 2] for column in zip(*times, strict=True)]
    print(f"context capture             {middle[0]:8.2f} ms")
    print(f"start_run to first log      {middle[1]:8.2f} ms")
    print(f"end_run, offline            {middle[2]:8.2f} ms")


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS_DEFAULT
    print(describe_machine())
    print(f"import tracker              {import_ms():8.1f} ms")
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(TRACKER_HOME=home, TRACKER_MODE="offline", TRACKER_QUIET="1")
        os.environ.pop("TRACKER_SPOOL_DIR", None)
        print_life(Path.cwd())
        import tracker

        rows: list[tuple[str, Timed]] = [
            ("write(2) of 56 bytes", time_write),
            ("tracker.log_metric", time_log_metric),
            ("run.log_metric", time_run_log_metric),
            ("tracker.log_metrics of 10", time_log_metrics),
        ]
        with tracker.start_run():
            for name, timed in rows:
                best = min(percentiles(timed(calls))[:2] for _ in range(ROUNDS))
                print(f"{name:<27} {best[0]:8.2f} µs p50 {best[1]:8.2f} µs p99")


if __name__ == "__main__":
    main()
