"""`python -m benchmarks [NAME…]`: run the benchmarks one after another and print their figures.

Every benchmark is a module `benchmarks.bench_*` that runs alone, too. A machine is never
the same twice: read the ratios, and the fsync latency printed with them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.machine import describe_machine

FOLDER = Path(__file__).parent


def main() -> int:
    names = sorted(path.stem for path in FOLDER.glob("bench_*.py"))
    wanted = sys.argv[1:] or names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    print(describe_machine())
    failed = []
    for name in wanted:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
