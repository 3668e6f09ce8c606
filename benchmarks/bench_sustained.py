"""100,000 log calls a second from one thread, with the shipper and a server beside it.

Prints the calls' p50 and p99 without and with shipping, how far the shipper was behind
when the last call returned, and how long it took to catch up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe_machine, percentiles
from tests.support.processes import environment, running_server

SCRIPT = """
import json, os, sys, time, tracker
seconds, rate, mode = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
run = tracker.start_run(mode=mode)
if mode == "online":
    time.sleep(1.5)  # the helper has started by then
log, clock = tracker.log_metric, time.perf_counter_ns
times = []
began = clock()
step = 0
while (now := clock()) - began < seconds * 1e9:
    due = int((now - began) * rate / 1e9)
    while step < due:
        a = clock()
        log("loss", step * 0.5, step=step)
        times.append(clock() - a)
        step += 1
took = (clock() - began) / 1e9
began = time.perf_counter()
tracker.flush(timeout=60)
caught_up = time.perf_counter() - began
tracker.end_run()
json.dump({"times": times, "took": took, "catch_up_s": caught_up}, sys.stdout)
"""


def measure(home: Path, uri: str, *, seconds: float, rate: int, mode: str) -> dict[str, object]:
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(seconds), str(rate), mode],
        env=environment(home, TRACKER_URI=uri, TRACKER_QUIET="1", TRACKER_EXIT_WAIT_S="60"),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: dict[str, object] = json.loads(printed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--modes", nargs="+", default=["offline", "online"])
    arguments = parser.parse_args()
    print(describe_machine())
    print(f"{'':>10} {'calls/s':>10} {'p50 µs':>8} {'p99 µs':>8} {'max µs':>9} {'catch-up s':>11}")
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        for mode in arguments.modes:
            found = measure(
                Path(folder), server.uri, seconds=arguments.seconds, rate=arguments.rate, mode=mode
            )
            times = found["times"]
            assert isinstance(times, list)
            p50, p99, most = percentiles(times)
            rate = len(times) / float(str(found["took"]))
            late = float(str(found["catch_up_s"])) if mode == "online" else 0.0
            print(f"{mode:>10} {rate:>10,.0f} {p50:>8.2f} {p99:>8.2f} {most:>9.0f} {late:>11.2f}")


if __name__ == "__main__":
    main()
