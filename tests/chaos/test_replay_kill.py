"""`tracker replay` killed again and again at random moments, and begun again: nothing is missing.

The command runs with small rounds, segments and files, so that there is much to be killed in
the middle of, and prints a line for each. It is killed some lines later, as a seed says: so it
gets as far on a slow machine. Every kind of place is a destination once, and every kind of
log a source.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.histories import make_store, replayed
from tests.support.processes import ServerProcess, environment
from tests.support.s3_server import BUCKET, running_s3

KILLS = 20 if os.environ.get("TRACKER_CHAOS_ROUNDS") == "full" else 2

_SLOWLY = """
import contextlib
import ingest.archive.log as archive
import ingest.replay.copying as copying
import ingest.replay.points as points
import tracker.cli.replay as replay
copying.ROUND_BATCHES = 4
points.ROUND_BATCHES = 8
points.POINTS_A_FILE = 1_000
archive.SegmentBuffer.__init__.__kwdefaults__["segment_bytes"] = 2_000
replay._showing = lambda: contextlib.nullcontext(lambda *progress: print("on", flush=True))
from tracker.cli.main import main
print("begun", flush=True)
main()
"""
LINES_MAX = 8


@dataclass
class Places:
    """Makes places by their kind; what has to run runs until the test ends."""

    home: Path
    request: pytest.FixtureRequest
    monkeypatch: pytest.MonkeyPatch
    running: ExitStack

    def make(self, kind: str) -> str:
        match kind:
            case "sqlite":
                return str(self.home / "copy.db")
            case "postgres":
                return str(self.request.getfixturevalue("postgres_dsn"))
            case "server":
                server = ServerProcess(self.home / "server-home")
                server.start()
                self.running.callback(server.kill)
                return server.uri
            case "s3" | "parquet on s3":
                bucket = self.running.enter_context(running_s3(self.home / "s3"))
                for name, value in bucket.environment.items():
                    self.monkeypatch.setenv(name, value)
                scheme = "parquet:" if kind.startswith("parquet") else ""
                return f"{scheme}s3://{BUCKET}/there"
            case _:
                return f"{kind}:{self.home / kind}"


@pytest.fixture
def places(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Places]:
    with ExitStack() as running:
        yield Places(tmp_path, request, monkeypatch, running)


def replay_and_kill(home: Path, source: str, destination: str, chance: random.Random) -> bool:
    """Begin a replay and kill it after some progress, or none; whether it was cut short."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOWLY, "replay", source, destination],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(1 + chance.randrange(LINES_MAX)):
        process.stdout.readline()
    time.sleep(chance.uniform(0, 0.05))
    process.kill()
    process.stdout.close()
    return process.wait() == -signal.SIGKILL


@pytest.mark.timeout(300 + 30 * KILLS)
@pytest.mark.parametrize(("source_kind", "kind"), [
    ("sqlite", "postgres"), ("postgres", "archive"), ("archive", "sqlite"), ("sqlite", "server"),
    ("server", "duckdb"), ("sqlite", "s3"), ("postgres", "parquet"), ("sqlite", "parquet on s3"),
])  # fmt: skip
async def test_a_replay_killed_again_and_again_ends_equal(
    source_kind: str, kind: str, tmp_path: Path, places: Places
) -> None:
    original = tmp_path / "source.db"
    await make_store(original, runs=12, batches=20)
    source = str(original)
    if source_kind != "sqlite":
        source = places.make(source_kind)
        await replayed(original, source, compare="quick")
    destination = places.make(kind)
    chance = random.Random(f"replay {kind}")

    killed = sum(replay_and_kill(tmp_path, source, destination, chance) for _ in range(KILLS))
    done = await replayed(source, destination)
    again = await replayed(source, destination)

    assert killed > 0
    assert done.is_equal, done.comparison
    assert done.comparison is not None
    assert done.comparison.runs == 12
    assert (again.events, again.is_equal) == (0, True)
