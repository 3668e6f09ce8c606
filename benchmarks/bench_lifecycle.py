"""What a run costs besides its log calls: import, start, end, and the server's own start."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.machine import describe_machine
from tests.support.processes import ServerProcess, environment

ROUNDS = 7
IMPORT = "import time; a = time.perf_counter(); import tracker; print(time.perf_counter() - a)"
RUN = """
import json, time, tracker
a = time.perf_counter()
run = tracker.start_run()
tracker.log_metric("loss", 0.5, step=0)
first = time.perf_counter() - a
time.sleep(1.5)
tracker.log_metric("loss", 0.4, step=1)
a = time.perf_counter()
tracker.end_run()
took = time.perf_counter() - a
print(json.dumps({"first": first, "end": took, "ended_at": time.time() - took}))
"""


def run_python(code: str, home: Path, **more: str) -> tuple[str, float]:
    """(what it printed, when it had exited)."""
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home, TRACKER_QUIET="1", **more),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return printed, time.time()


def milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:8.1f} ms (max {max(seconds) * 1000:.1f})"


def main() -> None:
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        imports = [float(run_python(IMPORT, home)[0]) for _ in range(ROUNDS)]
        print(f"import tracker                    {milliseconds(imports)}")

        server = ServerProcess(home)
        starts = []
        for _ in range(3):
            began = time.perf_counter()
            server.start()
            starts.append(time.perf_counter() - began)
            assert server.process is not None
            time.sleep(1)
            idle_mb = psutil.Process(server.process.pid).memory_info().rss / 1e6
            server.stop()
        print(f"tracker server, start to /health  {milliseconds(starts)}")
        print(f"tracker server, idle RSS          {idle_mb:8.1f} MB")

        server.start()
        firsts, ends, exits = [], [], []
        for _ in range(ROUNDS):
            printed, exited_at = run_python(RUN, home, TRACKER_URI=server.uri)
            found = json.loads(printed)
            firsts.append(found["first"])
            ends.append(found["end"])
            exits.append(exited_at - found["ended_at"])
        server.stop()
        print(f"start_run and the first log       {milliseconds(firsts)}")
        print(f"end_run of an online run          {milliseconds(ends)}")
        print(f"last call to process exit         {milliseconds(exits)}")


if __name__ == "__main__":
    main()
