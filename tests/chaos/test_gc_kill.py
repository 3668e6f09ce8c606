"""A collector killed by SIGKILL before every single operation it does on its store.

One process forks a child per point: the child collects and kills itself before its nth call
of the operating system's file operations (through the store's one door to its threads), or
before its nth question of what the log refers to. Between any two kills nothing that is
referred to may be missing, and a last collection that is left alone must finish the work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

POINTS_MAX = 400
IS_FULL = os.environ.get("TRACKER_CHAOS_ROUNDS") == "full"

SCRIPT = """
import asyncio, hashlib, json, os, signal, sys, time
from pathlib import Path
from ingest.artifact_stores.local import LocalArtifactStore, open_local_store
from ingest.artifact_stores.ledger import Note
from ingest.blob_uploads import digest_of
from ingest.event_stores.open import open_event_store
from ingest.gc import GcPlan, collect
from ingest.gc_opening import opened_workspaces
from ingest.gc_references import TreeReferences
from ingest.settings import load_settings
from tracker.events.types import Event

folder, points_max, stride = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
settings = load_settings(backend_store_uri=sys.argv[4], artifacts_destination=str(folder))
DAY_US = 86_400 * 1_000_000
PHASES = (("condemning", 8), ("removing", 16))

def sha256_of(data):
    return digest_of(hashlib.sha256(data).hexdigest())

def kept_at(number):
    return [b"kept %d %d" % (number, n) for n in range(2)]

async def log_what_is_kept():
    names = [
        Event("artifact.logged", 1, {"path": data.decode(), "digest": sha256_of(data), "size": 1})
        for phase, _ in PHASES
        for point in range(1, points_max, stride)
        for data in kept_at(number_of(phase, point))
    ]
    store = (await open_event_store(settings)).store
    await store.append_decision(run_id="r", events=names, decided_at=0)
    await store.aclose()

def number_of(phase, point):
    return point * 10 + len(phase)

async def pieces(data):
    yield data

async def fill(number):
    kept = kept_at(number)
    gone = [b"gone %d %d" % (number, n) for n in range(3)]
    async with open_local_store(folder, workspace="default") as store:
        for data in kept + gone:
            await store.put(sha256_of(data), pieces(data))
    return [sha256_of(data) for data in kept], [sha256_of(data) for data in gone]

async def collected(days):
    plan = GcPlan(now_us=lambda: time.time_ns() // 1000 + days * DAY_US)
    async with opened_workspaces(settings, progress=lambda *_: None) as (workspace,):
        references = TreeReferences(workspace.runs, workspace.log)
        return await collect({"default": workspace.store}, [references], plan)

async def left():
    async with open_local_store(folder, workspace="default") as store:
        blobs = {blob.digest async for blob in store.ledger.blobs()}
        notes = []
        for note in Note:
            notes += [each async for each in store.ledger.notes(note)]
        return blobs, notes

def killed_at(point, days):
    '''Whether the child met the point before it was done.'''
    child = os.fork()
    if child == 0:
        count = 0
        def counted(method):
            async def counting(self, *arguments, **named):
                nonlocal count
                count += 1
                if count == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                return await method(self, *arguments, **named)
            return counting
        LocalArtifactStore.blocking = counted(LocalArtifactStore.blocking)
        TreeReferences.of = counted(TreeReferences.of)
        asyncio.run(collected(days))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)

asyncio.run(log_what_is_kept())
kept_all, kills = set(), {"condemning": 0, "removing": 0}
for what, days in PHASES:
    for point in range(1, points_max, stride):
        kept, gone = asyncio.run(fill(number_of(what, point)))
        kept_all.update(kept)
        if what == "removing":
            asyncio.run(collected(8))
        was_killed = killed_at(point, days)
        blobs, _ = asyncio.run(left())
        assert kept_all <= blobs, (what, point, "a blob that is referred to is gone")
        if what == "condemning":
            assert set(gone) <= blobs, (what, point, "removed before it was condemned")
        if not was_killed:
            break
        kills[what] += 1
    else:
        raise AssertionError("the collection has more steps than points_max")
    asyncio.run(collected(8))
    asyncio.run(collected(16))
    blobs, notes = asyncio.run(left())
    assert blobs == kept_all, (what, "the last collection did not finish", len(blobs))
    assert notes == [], notes
print(json.dumps(kills))
"""


@pytest.mark.timeout(660)
@pytest.mark.parametrize(("log", "stride"), [("sqlite", 3), ("postgres", 7)])
def test_a_collector_killed_at_any_point_loses_nothing_and_is_finished_later(
    request: pytest.FixtureRequest, tmp_path: Path, log: str, stride: int
) -> None:
    script = tmp_path / "kills.py"
    script.write_text(SCRIPT)
    stride = 1 if IS_FULL else stride
    uri = f"sqlite:///{tmp_path / 'log.db'}"
    if log == "postgres":
        uri = request.getfixturevalue("postgres_dsn")

    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "store"), str(POINTS_MAX), str(stride), uri],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    kills = json.loads(done.stdout)
    assert kills["condemning"] >= 20 // stride
    assert kills["removing"] >= 20 // stride
