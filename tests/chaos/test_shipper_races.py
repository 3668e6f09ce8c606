"""Several `tracker sync` at once on one spool, some of them killed: all arrives, once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess, environment, run_cli, running_server
from tests.support.spool_scripts import end, log_steps
from tracker.events.ids import new_run_id, new_writer_id
from tracker.events.types import Event
from tracker.spool.folder import SpoolRoot
from tracker.spool.meta import MODE_OFFLINE, WriterMeta
from tracker.spool.writer import SpoolWriter

ROUNDS = 20 if os.environ.get("TRACKER_CHAOS_ROUNDS") == "full" else 3
SEED = int(os.environ.get("TRACKER_CHAOS_SEED", "20261121"))
WRITERS, STEPS = 4, 20_000


def record(root: Path) -> list[SpoolWriter]:
    """Offline runs of several segments each, so that one shipper unlinks under another."""
    root.mkdir(parents=True, exist_ok=True)
    writers = []
    for _ in range(WRITERS):
        meta = WriterMeta(writer_id=new_writer_id(), run_id=new_run_id(), mode=MODE_OFFLINE)
        writer = SpoolWriter.create(SpoolRoot(root), meta, segment_bytes_max=64 * 1024)
        writer.log_event(Event("run.started", time.time_ns() // 1000, {}))
        log_steps(writer, 1, STEPS)
        end(writer)
        writer.close()
        writers.append(writer)
    return writers


def start_sync(home: Path, uri: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tracker", "sync", "--uri", uri],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def events_of(server: ServerProcess, run_id: str) -> list[int]:
    """The positions of sequence in the log: steps of metrics, 0 for anything else."""
    after, steps = 0, list[int]()
    while True:
        url = f"{server.uri}/api/v1/events?run_id={run_id}&limit=10000&after={after}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            rows = [json.loads(line) for line in answer.read().splitlines()]
        if not rows:
            return steps
        after = rows[-1]["position"]
        steps += [row["data"].get("step", 0) for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_syncs_at_once_and_killed_ones_leave_every_record_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with running_server(tmp_path) as server:
        for _ in range(ROUNDS):
            writers = record(tmp_path / "spool")
            syncs = [start_sync(tmp_path, server.uri) for _ in range(3)]
            time.sleep(chance.uniform(0.5, 1.5))
            syncs[0].kill()
            for sync in syncs:
                sync.wait(120)

            last = run_cli(tmp_path, "sync", "--uri", server.uri)

            assert last.returncode == 0, last.stderr
            assert list(SpoolRoot(tmp_path / "spool").writer_folders()) == []
            for writer in writers:
                assert events_of(server, writer.meta.run_id) == [0, *range(1, STEPS + 1), 0]
    verified = run_cli(tmp_path, "verify", f"sqlite:///{server.store_path}")
    assert verified.returncode == 0, verified.stdout + verified.stderr
