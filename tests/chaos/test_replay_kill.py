"""`tracker replay` killed again and again at random moments, and begun again: nothing is missing.

The command runs with small rounds, segments and files, so that there is much to be killed in
the middle of. The moments come from a seed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.histories import make_store
from tests.support.processes import environment, run_cli

KILLS = 20 if os.environ.get("TRACKER_CHAOS_ROUNDS") == "full" else 2

_SLOWLY = """
import sys
import ingest.archive.log as archive
import ingest.replay.copying as copying
import ingest.replay.points as points
copying.ROUND_BATCHES = 4
points.ROUND_BATCHES = 8
points.POINTS_A_FILE = 1_000
archive.SegmentBuffer.__init__.__kwdefaults__["segment_bytes"] = 2_000
from tracker.cli.main import main
print("begun", flush=True)
main()
"""


def replay_and_kill(home: Path, source: Path, destination: str, after_s: float) -> bool:
    """Begin a replay and kill it `after_s` after it was loaded; whether it was cut short."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOWLY, "replay", str(source), destination],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    process.kill()
    process.stdout.close()
    return process.wait() != 0


@pytest.mark.parametrize("kind", ["sqlite", "archive", "parquet", "duckdb", "postgres"])
async def test_a_replay_killed_again_and_again_ends_equal(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = tmp_path / "source.db"
    await make_store(source, runs=12, batches=20)
    destination = {
        "sqlite": str(tmp_path / "copy.db"),
        "postgres": "",
    }.get(kind, f"{kind}:{tmp_path / kind}")
    if kind == "postgres":
        destination = request.getfixturevalue("postgres_dsn")
    chance = random.Random(f"replay {kind}")

    killed = sum(
        replay_and_kill(tmp_path, source, destination, chance.uniform(0.05, 0.8))
        for _ in range(KILLS)
    )
    done = run_cli(tmp_path, "replay", str(source), destination)
    again = run_cli(tmp_path, "replay", str(source), destination)

    assert killed > 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal: 12 runs" in done.stdout
    assert again.stdout.startswith("copied 0 events")
