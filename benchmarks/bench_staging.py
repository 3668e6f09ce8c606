"""What logging a file costs its caller: the call stages the bytes and returns.

    python -m benchmarks.bench_staging [MEGABYTES]

The baselines are hashing the same file alone, and copying and hashing it one after the other
(what a copy without overlap would cost). A plain write of as many bytes says what memory costs on
this machine: what is written stays, as what is staged does. Each round begins with another call,
and the file is in memory for all of them. Offline, so no upload takes part; what was written is
brought to disk between the calls, so that no call pays for the one before it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import describe_machine

MEGABYTES_DEFAULT = 100
ROUNDS = 7
SMALL_FILES = 2_000
SMALL_BYTES = 4_096

Timed = Callable[[], object]


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Taken(NamedTuple):
    """Milliseconds. `own`: the processor time of the calling thread, of which another load on
    the machine changes little."""

    wall: float
    own: float


def milliseconds(call: Timed) -> Taken:
    began, own = time.perf_counter(), time.thread_time()
    call()
    return Taken((time.perf_counter() - began) * 1000, (time.thread_time() - own) * 1000)


def rounds_of(calls: dict[str, Timed], settle: Timed) -> dict[str, list[Taken]]:
    """Each call once a round, in turn, so that a slow minute of the machine meets them all."""
    times: dict[str, list[Taken]] = {name: [] for name in calls}
    names = list(calls)
    for first in range(ROUNDS):
        for i in range(len(names)):
            name = names[(first + i) % len(names)]
            times[name].append(milliseconds(calls[name]))
            settle()
    return times


def write_random(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
        os.fsync(file.fileno())


def write_small(folder: Path) -> None:
    folder.mkdir()
    for i in range(SMALL_FILES):
        (folder / f"{i:05}.bin").write_bytes(os.urandom(SMALL_BYTES))


def settle() -> None:
    """Bring what was written to the disk; flush would wait for a server, too."""
    import tracker

    run = tracker.active_run()
    assert run is not None
    run.finish_artifacts(60)
    os.sync()


def print_large(folder: Path, megabytes: int) -> None:
    import tracker

    large, copy = folder / "large.bin", folder / "copy.bin"
    write_random(large, megabytes)

    def copy_then_hash() -> None:
        shutil.copyfile(large, copy)
        hash_file(copy)
        copy.unlink()

    def write_alone() -> None:
        with (folder / f"written-{time.monotonic_ns()}").open("wb", buffering=0) as file:
            for _ in range(megabytes):
                file.write(million)

    million = bytes(1_000_000)
    times = rounds_of(
        {
            "SHA-256 alone": lambda: hash_file(large),
            "write alone": write_alone,
            "copy, then SHA-256": copy_then_hash,
            "log_artifact": lambda: tracker.log_artifact(large),
        },
        settle,
    )
    alone = statistics.median(each.wall for each in times["SHA-256 alone"])
    print(f"one file of {megabytes} MB, median (least, most) of {ROUNDS} rounds")
    for name, taken in times.items():
        walls = [each.wall for each in taken]
        print(
            f"{name:<27} {statistics.median(walls):8.1f} ms ({min(walls):.1f}, {max(walls):.1f})"
            f"   {statistics.median(walls) / alone:5.2f} × hashing,"
            f"   the caller's own {statistics.median(each.own for each in taken):6.1f} ms"
        )


def print_small(folder: Path) -> None:
    import tracker

    small = folder / "small"
    write_small(small)
    hashing = milliseconds(lambda: [hash_file(path) for path in sorted(small.iterdir())]).wall
    staging = milliseconds(lambda: tracker.log_artifacts(small, "small"))
    settle()
    print(f"folder of {SMALL_FILES:,} files of 4 KiB")
    print(f"{'SHA-256 alone':<27} {SMALL_FILES / hashing * 1000:8,.0f} files/s")
    print(
        f"{'log_artifacts':<27} {SMALL_FILES / staging.wall * 1000:8,.0f} files/s"
        f" ({staging.own / SMALL_FILES * 1000:.0f} µs of the caller's own each)"
    )
    text = sorted(
        milliseconds(lambda: tracker.log_text("a word", "note.txt")).wall for _ in range(1000)
    )
    print(
        f"{'log_text of 6 bytes':<27} {text[500] * 1000:8.0f} µs p50 {text[990] * 1000:8.0f} µs p99"
    )


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES_DEFAULT
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="bench-staging-") as folder:
        # A snapshot would be staged beside the first calls.
        os.environ.update(
            TRACKER_HOME=folder, TRACKER_MODE="offline", TRACKER_QUIET="1", TRACKER_SNAPSHOT="none"
        )
        os.environ.pop("TRACKER_SPOOL_DIR", None)
        import tracker

        with tracker.start_run():
            print_large(Path(folder), megabytes)
            print_small(Path(folder))


if __name__ == "__main__":
    main()
