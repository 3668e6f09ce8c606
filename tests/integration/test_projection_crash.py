"""Killing a server's read side in the middle of what it does: nothing is lost or half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest.event_stores.sqlite import SqliteEventStore
from ingest.read_side import open_read_side
from projections.builds import Builds
from projections.kinds import KINDS
from projections.verify import verify

KILLS = 4


@pytest.mark.parametrize("mode", ["apply", "rebuild"])
async def test_after_sigkill_the_old_build_serves_and_catches_up(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "tracker.db"
    rng = random.Random(mode)
    for _ in range(KILLS):
        acked = run_and_kill(path, mode, after_s=rng.uniform(0.05, 0.8))

        serving = Builds.beside(path).current("runs")
        assert serving is not None
        assert serving.path.exists()

    store = await SqliteEventStore.open(path)
    try:
        async with open_read_side(store, path) as side:
            head = (await store.head()).next_position - 1
            assert head >= acked
            assert await side.wait_for(head, timeout_s=60)
            log = store._reader
            builds = Builds.beside(path)
            report = await verify(log, builds, KINDS, on_progress=lambda _: None)
            assert report.is_clean, report.findings
            # One file each, and that is the serving one: leftovers are gone.
            for kind in KINDS:
                build = builds.current(kind.name)
                assert build is not None
                files = [p.name for p in builds.folder.glob(f"{kind.name}-*.sqlite")]
                assert files == [build.path.name]
    finally:
        await store.aclose()


def run_and_kill(path: Path, mode: str, *, after_s: float) -> int:
    """Start the process, kill it some time after its first ack; return the last position acked."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.read_side_process", str(path), mode],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    lines = [line for line in (first + rest).splitlines() if line.startswith("acked ")]
    return int(lines[-1].split()[1])
