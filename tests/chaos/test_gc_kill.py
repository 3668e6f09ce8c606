"""A collector killed by SIGKILL before every single operation it does on its store.

One process forks a child per point: the child collects and kills itself before its nth call
of the operating system's file operations (through the store's one door to its threads).
Between any two kills nothing that is referred to may be missing, and a last collection that
is left alone must finish the work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.processes import environment

POINTS_MAX = 400
STRIDE = 1 if os.environ.get("TRACKER_CHAOS_ROUNDS") == "full" else 3

SCRIPT = """
import asyncio, hashlib, json, os, signal, sys, time
from pathlib import Path
from ingest.artifact_stores.local import LocalArtifactStore, open_local_store
from ingest.artifact_stores.ledger import Note
from ingest.blob_uploads import digest_of
from ingest.gc import GcPlan, collect

folder, points_max, stride = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
DAY_US = 86_400 * 1_000_000

def sha256_of(data):
    return digest_of(hashlib.sha256(data).hexdigest())

class Named:
    def __init__(self, digests):
        self.digests = frozenset(digests)
    async def of(self, digests):
        return self.digests.intersection(digests)

async def pieces(data):
    yield data

async def fill(number):
    kept = [b"kept %d %d" % (number, n) for n in range(2)]
    gone = [b"gone %d %d" % (number, n) for n in range(3)]
    async with open_local_store(folder, workspace="default") as store:
        for data in kept + gone:
            await store.put(sha256_of(data), pieces(data))
    return [sha256_of(data) for data in kept], [sha256_of(data) for data in gone]

async def collected(kept, days):
    plan = GcPlan(now_us=lambda: time.time_ns() // 1000 + days * DAY_US)
    async with open_local_store(folder, workspace="default") as store:
        return await collect({"default": store}, [Named(kept)], plan)

async def left():
    async with open_local_store(folder, workspace="default") as store:
        blobs = {blob.digest async for blob in store.ledger.blobs()}
        notes = []
        for note in Note:
            notes += [each async for each in store.ledger.notes(note)]
        return blobs, notes

def killed_at(point, kept, days):
    '''Whether the child met the point before it was done.'''
    child = os.fork()
    if child == 0:
        count = 0
        blocking = LocalArtifactStore.blocking
        async def counted(self, function, *arguments, **named):
            nonlocal count
            count += 1
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return await blocking(self, function, *arguments, **named)
        LocalArtifactStore.blocking = counted
        asyncio.run(collected(kept, days))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)

kept_all, kills = set(), {"condemning": 0, "removing": 0}
for what, days in (("condemning", 8), ("removing", 16)):
    for point in range(1, points_max, stride):
        kept, gone = asyncio.run(fill(point * 10 + len(what)))
        kept_all.update(kept)
        if what == "removing":
            asyncio.run(collected(kept_all, 8))
        was_killed = killed_at(point, kept_all, days)
        blobs, _ = asyncio.run(left())
        assert kept_all <= blobs, (what, point, "a blob that is referred to is gone")
        if what == "condemning":
            assert set(gone) <= blobs, (what, point, "removed before it was condemned")
        if not was_killed:
            break
        kills[what] += 1
    else:
        raise AssertionError("the collection has more steps than points_max")
    asyncio.run(collected(kept_all, 8))
    asyncio.run(collected(kept_all, 16))
    blobs, notes = asyncio.run(left())
    assert blobs == kept_all, (what, "the last collection did not finish", len(blobs))
    assert notes == [], notes
print(json.dumps(kills))
"""


def test_a_collector_killed_at_any_point_loses_nothing_and_is_finished_later(
    tmp_path: Path,
) -> None:
    script = tmp_path / "kills.py"
    script.write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "store"), str(POINTS_MAX), str(STRIDE)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    kills = json.loads(done.stdout)
    assert kills["condemning"] >= 20 // STRIDE
    assert kills["removing"] >= 20 // STRIDE
