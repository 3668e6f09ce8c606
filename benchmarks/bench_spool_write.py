"""The spool's writer alone: what one framed record costs, and where the rest goes.

    python -m benchmarks.bench_spool_write [SECONDS]

The baseline is a bare write(2) of as many bytes in the same run.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import describe_machine, fsync_latency_ms
from tracker.events.ids import new_writer_id
from tracker.spool.meta import WriterMeta
from tracker.spool.writer import SpoolWriter

SECONDS_DEFAULT = 5.0
RECORD_BYTES = 60
NOW_US = 1_700_000_000_000_000


def measure(call: Callable[[int], object], seconds: float) -> array[int]:
    """Nanoseconds of each call, made back to back; the clock's own cost is in them."""
    clock = time.perf_counter_ns
    taken = array("q")
    append = taken.append
    deadline = clock() + int(seconds * 1e9)
    step, after = 0, clock()
    while after < deadline:
        before = clock()
        call(step)
        after = clock()
        append(after - before)
        step += 1
    return taken


def rate(call: Callable[[int], object], seconds: float) -> float:
    """Calls a second without a clock around each."""
    started = time.perf_counter()
    calls = 0
    while time.perf_counter() - started < seconds:
        for step in range(1000):
            call(step)
        calls += 1000
    return calls / (time.perf_counter() - started)


def show(name: str, taken: array[int], per_s: float) -> None:
    us = sorted(taken)
    p50, p99 = us[len(us) // 2] / 1e3, us[len(us) * 99 // 100] / 1e3
    print(f"{name:<24} {p50:>7.2f} {p99:>7.2f} {us[-1] / 1e3:>9.0f} {per_s:>11,.0f}")


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS_DEFAULT
    folder = Path(tempfile.mkdtemp(prefix="bench-spool-"))
    print(describe_machine())
    print(f"fsync here: {fsync_latency_ms(folder):.2f} ms")
    print(f"{'':<24} {'p50 µs':>7} {'p99 µs':>7} {'max µs':>9} {'calls/s':>11}")
    try:
        fd = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        record = bytes(RECORD_BYTES)

        def bare(step: int) -> None:
            os.write(fd, record)

        show("bare os.write", measure(bare, seconds / 2), rate(bare, seconds / 2))
        os.close(fd)

        meta = WriterMeta(writer_id=new_writer_id(), run_id="bench")
        writer = SpoolWriter.create(folder / "spool", meta)
        block = b"\0".join(b"metric_%d" % i for i in range(10))
        values = [0.5 + i for i in range(10)]

        def one(step: int) -> None:
            writer.log_metric(b"loss", 0.5, step, NOW_US)

        def ten(step: int) -> None:
            writer.log_metrics(block, 10, values, step, NOW_US)

        show("log_metric", measure(one, seconds), rate(one, seconds))
        show("log_metrics of 10", measure(ten, seconds), rate(ten, seconds))
        records = writer.next_seq - 1
        started = time.perf_counter()
        writer.close()
        print(f"close {1e3 * (time.perf_counter() - started):.1f} ms after {records:,} records")
        print(f"faults {writer.faults}, dropped {writer.dropped}")
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
