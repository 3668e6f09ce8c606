"""`make bench-incumbents`: log calls of tracker, MLflow (SQLite) and W&B (offline) side by side."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe_machine, percentiles

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("log_calls.py")
INCUMBENTS = ROOT / ".venv-incumbents" / "bin" / "python"
# (target, interpreter, calls): MLflow takes milliseconds a call, so it gets fewer.
TARGETS = (
    ("tracker", Path(sys.executable), 20_000),
    ("wandb-offline", INCUMBENTS, 5_000),
    ("mlflow-sqlite", INCUMBENTS, 500),
)


def measure(target: str, python: Path, calls: int, width: int) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        printed = subprocess.run(
            [str(python), str(SCRIPT), target, str(calls), str(width), folder],
            check=True,
            capture_output=True,
            text=True,
            cwd=folder,
        ).stdout
    times: list[int] = json.loads(printed.splitlines()[-1])
    return times


def main() -> None:
    print(describe_machine())
    print(f"{'metrics':>8} {'target':<16} {'p50 µs':>10} {'p99 µs':>10} {'ratio of p50':>13}")
    for width in (1, 10):
        base = 0.0
        for target, python, calls in TARGETS:
            p50, p99, _ = percentiles(measure(target, python, calls, width))
            base = base or p50
            print(f"{width:>8} {target:<16} {p50:>10.1f} {p99:>10.1f} {p50 / base:>12.1f}x")


if __name__ == "__main__":
    main()
