"""What a figure must be printed with: the machine, its load, and its fsync latency."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path


def fsync_latency_ms(folder: Path | None = None, *, rounds: int = 50) -> float:
    """The median time of appending 4 KiB to a file and syncing it, in milliseconds."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def describe_machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"load {load}, fsync {fsync_latency_ms():.2f} ms"
    )


def percentiles(nanoseconds: list[int]) -> tuple[float, float, float]:
    """(p50, p99, max) in microseconds."""
    ordered = sorted(nanoseconds)
    return (
        ordered[len(ordered) // 2] / 1000,
        ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] / 1000,
        ordered[-1] / 1000,
    )
